"""Source files of the installed libraries, each character labelled by its lexical token."""

import hashlib
import io
import keyword
import token
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnjax.data.corpora.docstrings import source_files, versions
from rnnjax.reporting.progress import Progress

Labelled = tuple[str, Sequence[str]]
"""A text and the label of each of its characters."""

_FILES_PER_LIBRARY = 60
_MAX_BYTES = 100_000
_TEXT_CHARACTERS = 200
"""A text has as many whole lines as fit."""
_TEXTS_PER_FILE = 20
SPACE = "space"
_LABELS = {
    token.NUMBER: "number",
    token.STRING: "string",
    token.OP: "operator",
    tokenize.COMMENT: "comment",
}


def describe() -> str:
    """Returns a sentence on the source."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"the source files of {names}, each character labelled by Python's `tokenize`"


def collect() -> tuple[dict[str, list[Labelled]], str]:
    """Returns the texts of the training and the test split, and their fingerprint.

    Files, their texts and their split follow from hashes of the contents, so that they look random
    and are the same on every machine with these versions. No file and no text is in both splits.
    """
    splits: dict[str, dict[str, Labelled]] = {"train": {}, "test": {}}
    fingerprint = hashlib.sha256()
    names = list(versions())
    with Progress("label source files", len(names)) as progress:
        for count, name in enumerate(names, start=1):
            for key, path in _choose_files(name):
                split = "test" if key[-1] < 32 else "train"
                for labelled in _choose_texts(label_source(path.read_bytes())):
                    splits[split][labelled[0]] = labelled
            progress.update(count)
    for text in splits["train"].keys() & splits["test"].keys():  # licences, files that stand twice
        del splits["test"][text]
    results = {name: sorted(texts.values(), key=_digest) for name, texts in splits.items()}
    for name, texts in results.items():
        for text, labels in texts:
            fingerprint.update(f"{name}\0{text}\0{' '.join(labels)}\0".encode())
    return results, fingerprint.hexdigest()


def _digest(labelled: Labelled) -> bytes:
    return hashlib.sha256(labelled[0].encode()).digest()


def label_source(source: bytes) -> Labelled:
    """Returns a source text, and the label of each character; ('', []) if it is no Python.

    Labels are 'name', 'keyword', 'number', 'string', 'comment', 'operator', and 'space' for what is
    between tokens.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = io.TextIOWrapper(io.BytesIO(source), encoding).read()
        lines = io.StringIO(text).readlines()
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        labels = [SPACE] * len(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in code of the libraries
            for item in tokenize.generate_tokens(io.StringIO(text).readline):
                label = _label(item)
                if label:
                    start = starts[item.start[0] - 1] + item.start[1]
                    stop = starts[item.end[0] - 1] + item.end[1]
                    labels[start:stop] = [label] * (stop - start)
    except (SyntaxError, tokenize.TokenError, UnicodeError, IndexError):
        return "", []
    return text, labels


def _label(item: tokenize.TokenInfo) -> str:
    if item.type == token.NAME:
        return "keyword" if keyword.iskeyword(item.string) else "name"
    # The parts of a formatted string are tokens of their own from Python 3.12 on.
    if token.tok_name[item.type].startswith("FSTRING"):
        return "string"
    return _LABELS.get(item.type, "")


def _choose_files(name: str) -> list[tuple[bytes, Path]]:
    """Returns some files of a library by the hash of their contents, with it."""
    files = []
    for path in source_files(name):
        if 1_000 < path.stat().st_size < _MAX_BYTES:
            files.append((hashlib.sha256(path.read_bytes()).digest(), path))
    return sorted(files)[:_FILES_PER_LIBRARY]


def _choose_texts(labelled: Labelled) -> list[Labelled]:
    """Returns texts of a labelled source by the hash of their contents."""
    return sorted(_cut(labelled), key=_digest)[:_TEXTS_PER_FILE]


def _cut(labelled: Labelled) -> Iterator[Labelled]:
    """Yields consecutive texts of whole lines, without lines that are too long."""
    source, labels = labelled
    start = stop = 0
    for line in io.StringIO(source):
        end = stop + len(line)
        if end - start > _TEXT_CHARACTERS:
            if source[start:stop].strip():
                yield source[start:stop], labels[start:stop]
            start = stop if len(line) <= _TEXT_CHARACTERS else end
        stop = end
    if source[start:stop].strip():
        yield source[start:stop], labels[start:stop]
