"""Trials of damaged data files of every format: refused, or read as the reference reads them."""

import gzip
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import mutations
import references
from rnnjax.data import corpora, word_vector_files
from rnnjax.data.corpora import parallel_text, plain_text
from rnnjax.data.corpora.csv_files import AG_NEWS_CLASSES, read_classes
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from verdicts import Outcome, attempt, classify_refusal, difference
from workspace import WORDS, Workspace

QUERY_WORDS = frozenset([*WORDS, "the"])
FEATURES = 6


class Format(NamedTuple):
    """A format of data files.

    Attributes:
      read: by the program.
      reference: reads a content independently; None is to be refused.
      packed: whether the content is damaged before it is packed, in half of the trials.
    """

    read: Callable[[Path], Any]
    reference: Callable[[bytes], Any]
    packed: bool = False


def _read_rows(path: Path) -> Any:
    return [tuple(row) for row in corpora.read_csv(path, [*"abcd"])]


def _read_corpus(path: Path) -> Any:
    """Reads the rows as a training does: prepared in a cache, and read back."""
    cache = path.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    split = corpora.load("ag_news_subset", str(path.parent), "", cache).splits["train"]
    fields = split.fields["title"], split.fields["description"]
    return list(zip(split.labels.tolist(), *fields, strict=True))


def _read_text(path: Path) -> Any:
    corpus = plain_text.load_text_files(path)
    return "".join(text for part in ("train", "test") for text in corpus.splits[part])


def _read_subwords(path: Path) -> Any:
    """Reads a text, and writes it again from the numbers of its subwords."""
    lines = plain_text.split_lines(_read_text(path))
    vocabulary = Vocabulary.fit(lines, 4_000, "subword")
    numbers = vocabulary.encode(lines)
    return "".join(
        vocabulary.decode(numbers.values[first:last])
        for first, last in itertools.pairwise(numbers.offsets)
    )


def _read_pairs(path: Path) -> Any:
    return tuple(parallel_text.read_parallel_text(path.parent, "de", "en").splits["train"].sources)


def _read_vectors(path: Path) -> Any:
    word_vector_files.check_vector_format(path, FEATURES)
    vectors, _ = word_vector_files.read_vectors(path, QUERY_WORDS, FEATURES, str.lower)
    if not vectors:  # as the embedding raises it
        raise InputError(f"{path}: none of the words")
    return {word: vector.astype("<f4").tobytes() for word, vector in sorted(vectors.items())}


def _vectors(content: bytes) -> Any:
    return references.vectors(content, QUERY_WORDS, FEATURES, str.lower)


def _lines(content: bytes) -> Any:
    lines = references.lines(content)
    return lines if lines is not None and len(lines) == 24 else None


def _packed_lines(content: bytes) -> Any:
    inside = references.unpacked(content)
    return None if inside is None else _lines(inside)


def _text(content: bytes) -> Any:
    text = references.text(content)
    return text if text and len(text) >= 2 else None


FORMATS = {
    "rows": Format(_read_rows, references.rows),
    "classes": Format(lambda path: read_classes(path.parent), references.names),
    "text": Format(_read_text, _text),
    "subwords": Format(_read_subwords, _text),
    "pairs": Format(_read_pairs, _lines),
    "packed pairs": Format(_read_pairs, _packed_lines, packed=True),
    "vectors": Format(_read_vectors, _vectors),
    "counted vectors": Format(_read_vectors, _vectors),
    "binary vectors": Format(_read_vectors, _vectors),
    "packed vectors": Format(_read_vectors, _vectors, packed=True),
}
SPECIAL, BOMB, UNDAMAGED = "no regular file", "bomb", "undamaged"
RARE = 0.002
"""Fraction of bombs, which take long."""


def run_trial(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged file."""
    kind = rng.choice(list(FORMATS))
    if fault and ":" in fault:
        kind, fault = fault.split(": ")
    file_format = FORMATS[kind]
    original, content = workspace.files()[kind]
    folder = workspace.folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for source in original.parent.iterdir():
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
    path = folder / original.name
    faults = mutations.BYTES if kind == "binary vectors" else mutations.TEXT
    drawn = BOMB if rng.random() < RARE else rng.choice([*faults, SPECIAL, UNDAMAGED])
    fault = fault or drawn
    if kind == "binary vectors" and fault == "bit flipped" and rng.random() < 0.3:
        fault = "space in a word"
    read = file_format.read
    if kind == "rows" and rng.random() < 0.3:
        read = _read_corpus
    if fault == SPECIAL:
        fault = mutations.special(rng, path)
        expected = None
        if kind == "classes" and fault == "absent":
            expected = AG_NEWS_CLASSES
    else:
        damaged = _damaged(fault, content, rng, file_format)
        path.write_bytes(damaged)
        expected = _expected(fault, content, damaged, file_format, rng)
    call = attempt(lambda: read(path))
    label = f"{kind}: {fault}"
    if call.verdict == "refused":
        if fault == UNDAMAGED:
            return Outcome(label, "rejected", call.message)
        return classify_refusal(label, call.message, [path.name, str(path), path.stem])
    if call.verdict:
        return Outcome(label, call.verdict, call.message)
    if expected is None:
        return Outcome(label, "silent", f"accepted: {str(call.value)[:200]}")
    if call.value == expected:
        return Outcome(
            label, "valid" if expected != file_format.reference(content) else "unchanged"
        )
    return Outcome(label, "silent", difference(call.value, expected))


def _damaged(fault: str, content: bytes, rng: Random, form: Format) -> bytes:
    if fault == UNDAMAGED:
        return content
    if fault == BOMB:
        return mutations.bomb()
    if fault == "space in a word":
        return content.replace(b"striker", b"stri er")
    change = mutations.TEXT[fault]
    if form.packed and rng.random() < 0.5:
        return gzip.compress(change(rng, gzip.decompress(content)), mtime=0)
    return change(rng, content)


def _expected(fault: str, content: bytes, damaged: bytes, form: Format, rng: Random) -> Any:
    if fault == BOMB:
        return None
    if fault == "space in a word":  # the other words can still be read
        return {word: row for word, row in form.reference(content).items() if word != "striker"}
    return form.reference(damaged)
