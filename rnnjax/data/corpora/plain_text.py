"""Texts without labels: the lines of a file, or the texts of a labelled corpus."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.data.corpora.corpus import Corpus
from rnnjax.errors import InputError
from rnnjax.input_files import read_text

TEST_SHARE = 0.05
"""Of the characters of a file, the last ones."""


@dataclasses.dataclass(frozen=True)
class TextCorpus:
    """Running text and where it came from."""

    name: str
    source: str
    """A sentence for people."""
    fallback: str
    """The name of this corpus if it stands in for the one asked for; '' otherwise."""
    fingerprint: str
    """SHA-256 of the texts, in their order: the same wherever they are the same."""
    connected: bool
    """Each of the texts goes on where the one before it ends; otherwise they are documents."""
    splits: Mapping[str, Sequence[str]]
    """'train' and 'test'."""

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it, ready for JSON."""
        named = ("name", "source", "fallback", "fingerprint", "connected")
        return {name: getattr(self, name) for name in named}


def strip_labels(corpus: Corpus, fields: str) -> TextCorpus:
    """Returns the texts of a labelled corpus, each a document.

    Args:
      corpus: with its parts.
      fields: names of fields joined by '+', as for `Split.texts`.
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


def load_text_file(path: Path) -> TextCorpus:
    """Returns the lines of a text file, line ends included, the last of them as the test part.

    Raises:
      InputError: the file cannot be read, is not UTF-8, or has fewer than two characters.
    """
    text = read_text(path)
    if len(text) < 2:
        raise InputError(
            f"{path}: has {len(text)} characters; expected at least 2, since the last "
            f"{TEST_SHARE:.0%} of them are the test part"
        )
    train, test = cut([text], TEST_SHARE, connected=True)
    splits = {"train": train, "test": test}
    source = f"The text of {path.name}, {len(text):,} characters."
    return TextCorpus(path.stem, source, "", _fingerprint(splits), connected=True, splits=splits)


def cut(rows: Sequence[str], share: float, *, connected: bool) -> tuple[list[str], list[str]]:
    """Returns the first of some texts, and about a share of them from the end.

    Args:
      rows: the texts.
      share: of the characters, up to the next line end where there is one, if they are connected;
        otherwise of the texts, that may be none.
      connected: as for `TextCorpus`; the two parts are then lines.
    """
    if not connected:
        kept = len(rows) - round(share * len(rows))
        return list(rows[:kept]), list(rows[kept:])
    text = "".join(rows)
    place = min(max(round((1 - share) * len(text)), 1), len(text) - 1)
    line_end = text.find("\n", place - 1) + 1
    if 0 < line_end < len(text):
        place = line_end
    return lines(text[:place]), lines(text[place:])


def lines(text: str) -> list[str]:
    """Returns the lines of a text, line ends included."""
    # Not str.splitlines, to which a form feed ends a line as well.
    found = [f"{line}\n" for line in text.split("\n")]
    found[-1] = found[-1][:-1]
    return [line for line in found if line]


def _fingerprint(parts: Mapping[str, Sequence[str]]) -> str:
    digest = hashlib.sha256()
    for name, texts in parts.items():
        digest.update(f"{name} {len(texts)}".encode())
        for text in texts:
            content = text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
