"""Faults put back: with each of them the campaign has to fail.

A control replaces the part of the package that keeps a fault out by one that does not.
"""

import contextlib
import importlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import tokenizers
from tokenizers import normalizers

from rnnjax.data.text import Vocabulary


class Control(NamedTuple):
    """A fault that can be put back.

    Attributes:
      kind: of the inputs that find it.
      fault: the damage that shows it, as `trial` takes it; '' for any.
      verdicts: the failures that count as having found it.
      replacements: by `module:attribute`, a function of what is there that returns what to put
        there.
    """

    kind: str
    fault: str
    verdicts: tuple[str, ...]
    replacements: dict[str, Callable[[Any], Any]]

    @contextlib.contextmanager
    def put_back(self) -> Iterator[None]:
        """Makes the fault, while it is entered."""
        with contextlib.ExitStack() as stack:
            for place, replacement in self.replacements.items():
                module, _, path = place.partition(":")
                importlib.import_module(module)
                owner = sys.modules[module]  # a package may have a function of that name
                *parents, name = path.split(".")
                for each in parents:
                    owner = getattr(owner, each)
                new = replacement(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, new))
            yield


def _skip(real: Any) -> Any:
    return lambda *arguments, **options: None


def _value(value: Any) -> Callable[[Any], Any]:
    return lambda real: value


def _same(real: Any) -> Any:
    return lambda value, *rest: value


def _without_sums(real: Any) -> Any:
    """Forgets the metrics since the last line when a run goes on."""

    def restore(self: Any, template: Any, repair: bool = False) -> Any:
        found = real(self, template, repair)
        if found is None or not hasattr(found[1], "sums"):
            return found
        step, state = found
        return step, state.replace(sums=jax.tree.map(np.zeros_like, state.sums))

    return restore


def _unchecked_vocabulary(real: Any) -> Any:
    return lambda path: Vocabulary(tokenizers.Tokenizer.from_file(str(path)))


def _composed(real: Any) -> Any:
    """Normalizes the texts of subwords to NFC."""

    def of_unit(unit: str, size: int, special: list[str]) -> Any:
        tokenizer, trainer = real(unit, size, special)
        if unit == "subword":
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), tokenizer.normalizer])
        return tokenizer, trainer

    return of_unit


def _lenient_vectors(real: Any) -> Any:
    """Reads what stands before the last numbers of a line as its word."""

    def read(file: Any, path: Path, kind: Any) -> Iterator[tuple[str, bytes, list[bytes]]]:
        for number, line in enumerate(file, start=1):
            word, *numbers = line.rsplit(None, kind.features) or [b""]
            if word:
                yield f"line {number}", word, numbers

    return read


def _lenient_binary(real: Any) -> Any:
    """Reads words and vectors in turn, whatever they hold."""

    def read(file: Any, path: Path, kind: Any) -> Iterator[tuple[str, bytes, np.ndarray]]:
        for count in range(kind.words):
            word = b"".join(iter(lambda: file.read(1).replace(b" ", b""), b""))
            numbers = np.frombuffer(file.read(4 * kind.features), "<f4")
            yield f"word {count + 1}", word.lstrip(b"\n"), numbers

    return read


def _split_everywhere(real: Any) -> Any:
    """Ends lines wherever Unicode does."""
    return lambda *arguments, **options: "\n".join(real(*arguments, **options).splitlines())


def _blocking(real: Any) -> Any:
    """Opens whatever is at a path, and waits for its writer."""
    import io

    return lambda path: io.FileIO(path)


def _any_draft(real: Any) -> Any:
    """Takes any hidden file that ends in a number for a draft."""
    return lambda path: bool(re.fullmatch(r"\..+\.\d+", path.name))


def _emptying_lock(real: Any) -> Any:
    return lambda path: path.open("w")


@contextlib.contextmanager
def _ends_with_success() -> Iterator[None]:
    """Ends a process whose output has no reader as if it had finished."""
    try:
        yield
    except BrokenPipeError:
        sys.exit(0)


CONTROLS: dict[str, Control] = {
    "a run's folder names code that is imported": Control(
        "runs",
        "predict: cell from outside",
        ("executed",),
        {"rnnjax.training.trained:check_in_package": _skip},
    ),
    "hidden files that end in a number are deleted": Control(
        "runs", "resume: notes alone", ("lost",), {"rnnjax.training.folder:is_draft": _any_draft}
    ),
    "the lock follows a link and empties its target": Control(
        "runs",
        "resume: lock is a link",
        ("lost",),
        {
            "rnnjax.training.folder:lock_file": _emptying_lock,
            "rnnjax.training.folder:check_regular": _skip,
        },
    ),
    "folders are patterns": Control(
        "runs",
        "predict: folder renamed",
        ("rejected", "lost"),
        {"rnnjax.paths:without_special_characters": _same},
    ),
    "digests of a run's files are not compared": Control(
        "runs",
        "predict: letter of a token",
        ("silent",),
        {"rnnjax.reporting.run_files:_verify": _skip},
    ),
    "a token may have any number": Control(
        "runs",
        "predict: number of a token",
        ("silent", "traceback"),
        {
            "rnnjax.reporting.run_files:_verify": _skip,
            "rnnjax.data.text:Vocabulary.load": _unchecked_vocabulary,
        },
    ),
    "a checkpoint of another step is read": Control(
        "runs",
        "predict: steps swapped",
        ("silent",),
        {"rnnjax.training.checkpoint:Checkpoints._verify_owner": _skip},
    ),
    "a renamed checkpoint is read": Control(
        "runs",
        "predict: step renamed",
        ("silent",),
        {
            "rnnjax.training.checkpoint:Checkpoints._verify_owner": _skip,
            "rnnjax.training.trained:say": _skip,
        },
    ),
    "a checkpoint of another seed is read": Control(
        "runs",
        "predict: checkpoint of another seed",
        ("silent",),
        {"rnnjax.training.checkpoint:Checkpoints._verify_owner": _skip},
    ),
    "columns of a cache are not compared": Control(
        "caches",
        "labels shifted",
        ("silent",),
        {"rnnjax.data.corpora.cache:_fingerprint": lambda real: lambda *columns: "the same"},
    ),
    "numbers that are not finite are saved and reported": Control(
        "configs",
        "diverging",
        ("silent",),
        {
            "rnnjax.training.loop:check_loss": _skip,
            "rnnjax.training.loop:check_state": _skip,
            "rnnjax.training.run:check_scores": _skip,
            "rnnjax.training.trained:check_params": _skip,
        },
    ),
    "a nested value is shown whole": Control(
        "configs", "nested", ("traceback",), {"rnnjax.config:_shown": _value(repr)}
    ),
    "messages are printed with their control characters": Control(
        "configs", "key that is no text", ("unclear",), {"rnnjax.console:escape": _same}
    ),
    "a packed file may be a bomb": Control(
        "files",
        "packed pairs: bomb",
        ("memory",),
        {
            "rnnjax.files:MAX_RATIO": _value(10**9),
            "rnnjax.files:MAX_BYTES": _value(2**40),
            "rnnjax.data.corpora.pairs:MAX_LINE": _value(2**40),
        },
    ),
    "a pipe is waited for": Control(
        "files", "text: no regular file", ("hang",), {"rnnjax.files:open_regular": _blocking}
    ),
    "JSON may be nested as deep as it likes": Control(
        "runs",
        "predict: JSON changed",
        ("traceback",),
        {"rnnjax.reporting.run_files:parse_json": _value(json.loads)},
    ),
    "two lines of vectors may be one": Control(
        "files",
        "vectors: lines joined",
        ("silent",),
        {"rnnjax.data.vector_files:_read_text": _lenient_vectors},
    ),
    "binary vectors may be out of step": Control(
        "files",
        "binary vectors: space in a word",
        ("silent",),
        {"rnnjax.data.vector_files:_read_binary": _lenient_binary},
    ),
    "names of classes end where Unicode ends lines": Control(
        "files",
        "classes: separator",
        ("silent", "rejected"),
        {"rnnjax.data.corpora.csv_files:read_text": _split_everywhere},
    ),
    "subwords are composed": Control(
        "files", "subwords: separator", ("silent",), {"rnnjax.data.text:_of_unit": _composed}
    ),
    "metrics since the last line are forgotten": Control(
        "kills",
        "",
        ("different",),
        {"rnnjax.training.checkpoint:Checkpoints.restore": _without_sums},
    ),
    "damaged metrics of an unfinished run are taken up": Control(
        "runs", "resume: lines", ("silent",), {"rnnjax.training.run:check_metrics": _skip}
    ),
    "metrics after a checkpoint are left": Control(
        "kills", "", ("different",), {"rnnjax.reporting.metrics:truncate": _skip}
    ),
    "a broken pipe ends a training as a success": Control(
        "pipes",
        "without a reader",
        ("lost", "traceback"),
        {"rnnjax.console:standard_streams": _value(_ends_with_success)},
    ),
    "a hang-up kills a training": Control(
        "signals",
        "SIGHUP",
        ("lost",),
        {
            f"rnnjax.{name}:is_ignored": _value(lambda number: number == signal.SIGHUP)
            for name in ("command", "interrupt")
        },
    ),
}
