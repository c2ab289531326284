"""Text without labels: the lines of a file, or the texts of a labelled corpus."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.data import array_files
from rnnjax.data.corpora import mapped_lines
from rnnjax.data.corpora.corpus import Corpus, TextColumn
from rnnjax.errors import InputError
from rnnjax.input_files import read_text

TEST_SHARE = 0.05
"""Share of the test split: the last characters of a file."""


@dataclasses.dataclass(frozen=True)
class TextCorpus:
    """Unlabelled text and its source."""

    name: str
    source: str
    """A sentence for people."""
    fallback: str
    """The name of this corpus if it is the fallback of the requested one; '' otherwise."""
    fingerprint: str
    """SHA-256 of the texts, in their order."""
    connected: bool
    """The texts are consecutive pieces of one; otherwise they are documents."""
    splits: Mapping[str, Sequence[str]]
    """'train' and 'test', and 'validation' where it has texts of its own."""

    def describe(self) -> dict[str, Any]:
        """Describes the corpus for the files of a run, ready for JSON."""
        names = ("name", "source", "fallback", "fingerprint", "connected")
        return {name: getattr(self, name) for name in names}


def strip_labels(corpus: Corpus, fields: str) -> TextCorpus:
    """Returns a labelled corpus without its labels, each text a document.

    Args:
      corpus: the labelled corpus.
      fields: names of fields joined by '+', as for `CorpusSplit.texts`.
    """
    splits = {name: split.texts(fields) for name, split in corpus.splits.items()}
    return TextCorpus(
        name=corpus.name,
        source=corpus.source,
        fallback=corpus.fallback,
        fingerprint=_fingerprint(splits),
        connected=False,
        splits=splits,
    )


def load_text_files(
    path: Path, validation_path: Path | None = None, test_path: Path | None = None
) -> TextCorpus:
    """Loads the lines of text files, line ends included.

    Args:
      path: of the training text.
      validation_path: of the validation split; None for none.
      test_path: of the test split; None to split off the last lines of the training text.

    Raises:
      InputError: a file cannot be read, is not UTF-8, or has too few characters.
    """
    files = {
        name: file
        for name, file in (("train", path), ("validation", validation_path), ("test", test_path))
        if file
    }
    is_large = any(map(array_files.is_large, files.values()))
    splits: dict[str, Sequence[str]] = {}
    counts = []
    for name, file in files.items():
        splits[name] = mapped_lines.map_lines(file) if is_large else split_lines(read_text(file))
        counts.append(f"{file.name}, {count_characters(splits[name]):,} characters")
    if not test_path and count_characters(splits["train"]) < 2:
        raise InputError(
            f"{path}: has {count_characters(splits['train'])} characters; expected at least 2, "
            f"since the last {TEST_SHARE:.0%} of them are the test split"
        )
    for name, lines in splits.items():
        if not any(line.strip() for line in lines):
            raise InputError(f"{files[name]}: there is no text; give another file")
    if not test_path:
        splits["train"], splits["test"] = split_off(splits["train"], TEST_SHARE, connected=True)
    source = f"The text of {'; of '.join(counts)}."
    return TextCorpus(path.stem, source, "", _fingerprint(splits), connected=True, splits=splits)


def split_off(
    texts: Sequence[str], share: float, *, connected: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """Splits off about a share of the texts from the end.

    Args:
      texts: documents, or the pieces of one text.
      share: of the texts, possibly none; of the characters if they are connected, up to the next
        line end where there is one.
      connected: as for `TextCorpus`; both results are then lines.
    """
    if not connected:
        count = len(texts) - round(share * len(texts))
        return texts[:count], texts[count:]
    if isinstance(texts, TextColumn):
        return mapped_lines.split_at(texts, _test_position(count_characters(texts), share))
    text = "".join(texts)
    position = _test_position(len(text), share)
    line_end = text.find("\n", position - 1) + 1
    if 0 < line_end < len(text):
        position = line_end
    return split_lines(text[:position]), split_lines(text[position:])


def _test_position(count: int, share: float) -> int:
    """Returns the character at which a share of so many is split off, if no line ends later."""
    return min(max(round((1 - share) * count), 1), count - 1)


def split_lines(text: str) -> list[str]:
    """Splits a text into lines, line ends included."""
    # Not str.splitlines, to which a form feed ends a line as well.
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def count_characters(texts: Sequence[str]) -> int:
    """Returns the number of characters of texts."""
    if isinstance(texts, TextColumn):
        return mapped_lines.count_characters(texts)
    return sum(map(len, texts))


def _fingerprint(splits: Mapping[str, Sequence[str]]) -> str:
    digest = hashlib.sha256()
    for name, texts in splits.items():
        digest.update(f"{name} {len(texts)}".encode())
        if isinstance(texts, TextColumn):
            for block in mapped_lines.frame_texts(texts):
                digest.update(block)
            continue
        for text in texts:
            content = text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
