"""Labelled tokens: CoNLL columns, JSON Lines, and the source files of installed libraries."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax.config.sections import DataConfig
from rnnjax.data.dataset import Source
from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, digest, parse_json, read_text
from rnnjax.tasks.tagging import python_sources
from rnnjax.tasks.tagging.config import TaggingConfig


class TaggedText(NamedTuple):
    """Tokens with a label each, and the line of its file on which they begin."""

    tokens: Sequence[str]
    labels: Sequence[str]
    line: int = 0


@dataclasses.dataclass(frozen=True)
class TaggingCorpus(Source):
    """Labelled texts and their source.

    The metadata are 'classes', the labels of the training split, 'O' first and the others sorted,
    and 'unit': 'character' if every training token is one, else 'word'.

    Attributes:
      splits: 'train', 'test' and, if it has a file of its own, 'validation'.
    """

    splits: Mapping[str, Sequence[TaggedText]] = dataclasses.field(kw_only=True)


def load_corpus(config: DataConfig, options: TaggingConfig) -> TaggingCorpus:
    """Loads the files of a config, or labels the source files of the installed libraries.

    Raises:
      InputError: a file cannot be read, has other columns, or has a label that the training file
        lacks.
    """
    if config.file:
        names = {"train": config.file, "validation": config.validation_file}
        names |= {"test": config.test_file}
        paths = {name: Path(path) for name, path in names.items() if path}
        splits = {name: read_file(path, options) for name, path in paths.items()}
        fingerprint = hashlib.sha256(b"".join(map(digest, paths.values()))).hexdigest()
        name, source = paths["train"].stem, " and ".join(map(str, paths.values()))
    else:
        sources, fingerprint = python_sources.collect()
        paths, splits = (
            {},
            {
                name: [TaggedText(tokens, labels) for tokens, labels in texts]
                for name, texts in sources.items()
            },
        )
        name, source = "python_sources", python_sources.describe()
    labels = sort_labels(label for text in splits["train"] for label in text.labels)
    for split, texts in splits.items():
        check_labels(texts, labels, paths.get(split, name))
    is_spelled = all(len(token) == 1 for text in splits["train"] for token in text.tokens)
    metadata = {"classes": list(labels), "unit": "character" if is_spelled else "word"}
    return TaggingCorpus(name, source, fingerprint, metadata, splits=splits)


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns each label once, 'O' first and the others sorted."""
    return tuple(sorted(set(labels), key=lambda label: (label != "O", label)))


def check_labels(texts: Sequence[TaggedText], labels: Sequence[str], path: object) -> None:
    """Raises InputError if a text has a label that is not among those of the training split."""
    known = set(labels)
    for text in texts:
        for label in text.labels:
            if label not in known:
                shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
                raise InputError(
                    f"{path}, line {text.line}: the text that begins here has the label {label!r}, "
                    f"which no training text has; expected one of {shown}"
                )


def read_file(path: Path, options: TaggingConfig) -> list[TaggedText]:
    """Reads the labelled texts of a file, CoNLL columns or JSON Lines by its suffix.

    Raises:
      InputError: it cannot be read, or a line of it is not as the config says. The message names
        file and line.
    """
    text = read_text(path, max_line=MAX_LINE)
    if path.suffix in (".jsonl", ".json"):
        texts = list(_parse_json_lines(path, text, options.tokens or "tokens", options.labels))
    else:
        texts = list(_parse_columns(path, text, options))
    if not texts:
        raise InputError(f"{path}: has no labelled tokens; give another file")
    return texts


def _parse_json_lines(path: Path, text: str, tokens: str, labels: str) -> Iterator[TaggedText]:
    labels = labels or "labels"
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = parse_json(line)
        except (json.JSONDecodeError, ValueError) as error:
            raise InputError(f"{where}: is no JSON ({error}); mend the line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: given {type(row).__name__}, expected an object; mend it")
        columns = []
        for key, name in ((tokens, "tokens"), (labels, "labels")):
            values = row.get(key)
            if not isinstance(values, list) or not all(
                isinstance(value, str | int) and not isinstance(value, bool) for value in values
            ):
                raise InputError(
                    f"{where}: {key!r} is no list of strings; its fields are {', '.join(row)}: set "
                    f"config.tagging.{name} to the field of the {name}, or mend the line"
                )
            columns.append([str(value) for value in values])
        yield from _checked(where, number, *columns)


def _parse_columns(path: Path, text: str, options: TaggingConfig) -> Iterator[TaggedText]:
    is_universal = path.suffix == ".conllu"
    defaults = (1, 3) if is_universal else (0, -1)
    indices = [
        _column(value, default, name)
        for value, default, name in zip(
            (options.tokens, options.labels), defaults, ("tokens", "labels"), strict=True
        )
    ]
    rows: list[list[str]] = []
    start = width = 0
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                yield from _checked(f"{path}, line {start}", start, *zip(*rows, strict=True))
            rows = []
            continue
        # In CoNLL-U, comments, and tokens of several words or of none.
        if is_universal and re.match(r"#|\d+[-.]", line):
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        width = width or len(fields)
        if len(fields) != width or len(fields) < 2:
            raise InputError(
                f"{path}, line {number}: has {len(fields)} columns, and expected are "
                f"{width if width > 1 else 'two or more'}, a token and its label: mend the line, "
                "with an empty one between texts"
            )
        for index, name in zip(indices, ("tokens", "labels"), strict=True):
            if not -width <= index < width:
                raise InputError(
                    f"config.tagging.{name}: given column {index}, and {path} has {width}, counted "
                    "from 0"
                )
        start = start if rows else number
        rows.append([fields[index] for index in indices])


def _column(value: str, default: int, name: str) -> int:
    try:
        return int(value) if value else default
    except ValueError:
        raise InputError(
            f"config.tagging.{name}: given {value!r}, expected the number of a column, counted "
            "from 0; names are fields of JSON Lines (.jsonl)"
        ) from None


def _checked(
    where: str, line: int, tokens: Sequence[str], labels: Sequence[str]
) -> Iterator[TaggedText]:
    if len(tokens) != len(labels):
        raise InputError(
            f"{where}: given {len(tokens)} tokens and {len(labels)} labels, expected one label for "
            "each token: mend the line"
        )
    for name, values in (("token", tokens), ("label", labels)):
        if "" in values:
            raise InputError(f"{where}: has an empty {name}; mend the text")
    if tokens:
        yield TaggedText(tokens, labels, line)
