"""Parallel text: sentence pairs of two languages, aligned line by line."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text, reading

FILE_STEMS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
"""The splits of Multi30k and the names of their files, without the language."""


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """A split of parallel text: the target of each source."""

    sources: Sequence[str]
    targets: Sequence[str]

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: Iterable[int]) -> "SentencePairs":
        """Selects pairs by index, in that order."""
        pairs = [(self.sources[row], self.targets[row]) for row in rows]
        return SentencePairs(*map(tuple, zip(*pairs, strict=True)))


@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Texts, their translations, and their source."""

    name: str
    source: str
    """A sentence for people."""
    splits: Mapping[str, SentencePairs]
    """'train', 'validation' and 'test'."""
    fallback: str = ""
    """Always '': parallel text has no fallback."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the texts of all splits, in their order.

        Each text is preceded by its length, so that different corpora differ in the hashed bytes.
        """
        digest = hashlib.sha256()
        for name, pairs in sorted(self.splits.items()):
            digest.update(f"{name} {len(pairs)}\n".encode())
            for side in (pairs.sources, pairs.targets):
                for text in side:
                    content = text.encode()
                    digest.update(b"%d " % len(content) + content)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Describes the corpus for the files of a run, ready for JSON."""
        return {name: getattr(self, name) for name in ("name", "source", "fallback", "fingerprint")}


def read_parallel_text(
    folder: Path, source: str, target: str, stems: Mapping[str, str] = FILE_STEMS
) -> ParallelCorpus:
    """Reads the two aligned files of each split in a folder.

    They are named as those of Multi30k, `train.de` and `train.en` say, each plain or packed with
    gzip (`train.de.gz`). A line may be empty.

    Args:
      folder: of the files.
      source: file ending of the source language.
      target: file ending of the target language.
      stems: names of the files without the language, by split.

    Raises:
      InputError: a file is missing, cannot be read or unpacked, or is not UTF-8, or the two of a
        split are empty or differ in their number of lines.
    """
    if source == target:
        raise InputError(
            f"languages: given {source!r} twice; expected two, as the files of {folder} end"
        )
    with reading(folder):  # the system may refuse the name
        is_folder = folder.is_dir()
    if not is_folder:
        raise InputError(
            f"{folder}: there is no such folder; give one that holds {_file_names(stems, source)} "
            f"and the same of {target!r}"
        )
    return ParallelCorpus(
        name=folder.resolve().name,
        source=f"{folder}, from {source!r} to {target!r}",
        splits={split: _read_split(folder, stem, source, target) for split, stem in stems.items()},
    )


def _read_split(folder: Path, stem: str, source: str, target: str) -> SentencePairs:
    paths = [_find(folder, f"{stem}.{language}") for language in (source, target)]
    sides = [_lines(path) for path in paths]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        raise InputError(
            f"{paths[0]} has {counts[0]:,} lines, and {paths[1]} has {counts[1]:,}; expected a "
            "line in each for each line of the other: fetch both again"
        )
    if not counts[0]:
        raise InputError(f"{paths[0]}: there are no lines; expected a text in each: fetch it again")
    return SentencePairs(*sides)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    stem = name.rpartition(".")[0]
    present = sorted(path.name for path in folder.glob(f"{stem}.*"))
    listing = f"it has {', '.join(present)}" if present else f"it has no {stem}.* at all"
    raise InputError(
        f"{folder}: there is no {name} or {name}.gz, and {listing}; put the file there, or name "
        "languages that are"
    )


def _lines(path: Path) -> tuple[str, ...]:
    text = read_text(path, packed=path.suffix == ".gz", max_line=MAX_LINE)
    # Not splitlines: it ends lines at characters that stand inside a text as well.
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(lines if lines[-1] else lines[:-1])


def _file_names(stems: Mapping[str, str], language: str) -> str:
    return ", ".join(f"{stem}.{language}" for stem in stems.values())
