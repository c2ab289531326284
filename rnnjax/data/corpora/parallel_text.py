"""Texts in two languages, line by line."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text, reading

PARTS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
"""The parts of Multi30k and the names of their files, without the language."""


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """A part of a corpus: a text of the one language for each text of the other."""

    sources: Sequence[str]
    targets: Sequence[str]

    def __len__(self) -> int:
        return len(self.sources)


@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Texts and their translations, and where they came from."""

    name: str
    source: str
    """A sentence for people."""
    splits: Mapping[str, SentencePairs]
    """'train', 'validation' and 'test'."""
    fallback: str = ""
    """No corpus of pairs stands in for another one."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the texts of all parts, in their order: the same wherever they are the same.

        Each text is preceded by its length, so that no two corpora are written alike.
        """
        digest = hashlib.sha256()
        for name, part in sorted(self.splits.items()):
            digest.update(f"{name} {len(part)}\n".encode())
            for side in (part.sources, part.targets):
                for text in side:
                    content = text.encode()
                    digest.update(b"%d " % len(content) + content)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it, ready for JSON."""
        return {name: getattr(self, name) for name in ("name", "source", "fallback", "fingerprint")}


def read_parallel_text(
    folder: Path, source: str, target: str, parts: Mapping[str, str] = PARTS
) -> ParallelCorpus:
    """Returns the corpus of a folder that has two files for each part, aligned line by line.

    They are named as those of Multi30k, `train.de` and `train.en` say, each plain or packed with
    gzip (`train.de.gz`). A line may be empty.

    Args:
      folder: where they are.
      source: the ending of the language that is read.
      target: the ending of the language that is written.
      parts: the names of the files without the language, by the names of the parts.

    Raises:
      InputError: a file is missing, cannot be read or unpacked, or is not UTF-8, or the two of a
        part have not as many lines, or none.
    """
    if source == target:
        raise InputError(
            f"languages: given {source!r} twice; expected two, as the files of {folder} end"
        )
    with reading(folder):  # the system may refuse the name
        is_folder = folder.is_dir()
    if not is_folder:
        raise InputError(
            f"{folder}: there is no such folder; give one that holds {_expected(parts, source)} "
            f"and the same of {target!r}"
        )
    return ParallelCorpus(
        name=folder.resolve().name,
        source=f"{folder}, from {source!r} to {target!r}",
        splits={part: _read_part(folder, name, source, target) for part, name in parts.items()},
    )


def _read_part(folder: Path, name: str, source: str, target: str) -> SentencePairs:
    paths = [_find(folder, f"{name}.{language}") for language in (source, target)]
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
    there = sorted(path.name for path in folder.glob(f"{stem}.*"))
    has = f"it has {', '.join(there)}" if there else f"it has no {stem}.* at all"
    raise InputError(
        f"{folder}: there is no {name} or {name}.gz, and {has}; put the file there, or name "
        "languages that are"
    )


def _lines(path: Path) -> tuple[str, ...]:
    text = read_text(path, packed=path.suffix == ".gz", max_line=MAX_LINE)
    # Not splitlines: it ends lines at characters that stand inside a text as well.
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(lines if lines[-1] else lines[:-1])


def _expected(parts: Mapping[str, str], language: str) -> str:
    return ", ".join(f"{name}.{language}" for name in parts.values())
