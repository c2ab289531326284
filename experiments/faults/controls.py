"""Fault injection: with each control the campaign has to fail.

A control replaces the part of the package that prevents a fault by one that does not.
"""

import contextlib
import dataclasses
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

from rnnjax.data.vocabulary import Vocabulary


class Control(NamedTuple):
    """A fault that can be injected.

    Attributes:
      kind: of the inputs that find it.
      fault: damage that reveals it, as `run_trial` takes it; '' for any.
      verdicts: failures that count as a detection.
      replacements: by `module:attribute`, a function of the original that returns its replacement.
    """

    kind: str
    fault: str
    verdicts: tuple[str, ...]
    replacements: dict[str, Callable[[Any], Any]]

    @contextlib.contextmanager
    def inject(self) -> Iterator[None]:
        """Injects the fault while the context is entered."""
        with contextlib.ExitStack() as stack:
            for place, replacement in self.replacements.items():
                module, _, path = place.partition(":")
                importlib.import_module(module)
                owner = sys.modules[module]  # a package may have a function of the same name
                *parents, name = path.split(".")
                for parent in parents:
                    owner = getattr(owner, parent)
                new = replacement(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, new))
            yield


def _skip(original: Any) -> Any:
    return lambda *arguments, **options: None


def _replace_by(value: Any) -> Callable[[Any], Any]:
    return lambda original: value


def _return_argument(original: Any) -> Any:
    return lambda value, *rest: value


def _reset_metric_sums(original: Any) -> Any:
    """Forgets the metrics since the last line when a run goes on."""

    def restore(self: Any, template: Any, repair: bool = False) -> Any:
        restored = original(self, template, repair)
        if restored is None or not hasattr(restored[1], "sums"):
            return restored
        step, state = restored
        return step, state.replace(sums=jax.tree.map(np.zeros_like, state.sums))

    return restore


def _load_unchecked_vocabulary(original: Any) -> Any:
    return lambda path: Vocabulary(tokenizers.Tokenizer.from_file(str(path)))


def _compose_subwords(original: Any) -> Any:
    """Normalizes the texts of subwords to NFC."""

    def of_unit(unit: str, size: int, special: list[str]) -> Any:
        tokenizer, trainer = original(unit, size, special)
        if unit == "subword":
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), tokenizer.normalizer])
        return tokenizer, trainer

    return of_unit


def _read_joined_lines(original: Any) -> Any:
    """Reads the text before the last numbers of a line as its word."""

    def read(file: Any, path: Path, kind: Any) -> Iterator[tuple[str, bytes, list[bytes]]]:
        for number, line in enumerate(file, start=1):
            word, *numbers = line.rsplit(None, kind.features) or [b""]
            if word:
                yield f"line {number}", word, numbers

    return read


def _read_misaligned(original: Any) -> Any:
    """Reads words and vectors in turn, whatever they hold."""

    def read(file: Any, path: Path, kind: Any) -> Iterator[tuple[str, bytes, np.ndarray]]:
        for count in range(kind.words):
            word = b"".join(iter(lambda: file.read(1).replace(b" ", b""), b""))
            numbers = np.frombuffer(file.read(4 * kind.features), "<f4")
            yield f"word {count + 1}", word.lstrip(b"\n"), numbers

    return read


def _take_unknown_labels(original: Any) -> Any:
    """Takes labels that are no class for the first class."""

    def make_split(rows: Any, indices: Any, config: Any, classes: Any, *rest: Any) -> Any:
        names = [name if name in classes else classes[0] for name in rows.names]
        return original(dataclasses.replace(rows, names=names), indices, config, classes, *rest)

    return make_split


def _split_unicode_lines(original: Any) -> Any:
    """Ends lines wherever Unicode does."""
    return lambda *arguments, **options: "\n".join(original(*arguments, **options).splitlines())


def _open_blocking(original: Any) -> Any:
    """Opens whatever is at a path, and waits for its writer."""
    import io

    return lambda path: io.FileIO(path)


def _match_any_draft(original: Any) -> Any:
    """Takes any hidden file that ends in a number for a draft."""
    return lambda path: bool(re.fullmatch(r"\..+\.\d+", path.name))


def _open_truncating(original: Any) -> Any:
    return lambda path: path.open("w")


@contextlib.contextmanager
def _exit_with_success() -> Iterator[None]:
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
        {"rnnjax.training.run_loading:_check_classes": _skip},
    ),
    "hidden files that end in a number are deleted": Control(
        "runs",
        "resume: notes alone",
        ("lost",),
        {"rnnjax.training.run_folder:is_draft": _match_any_draft},
    ),
    "the lock follows a link and empties its target": Control(
        "runs",
        "resume: lock is a link",
        ("lost",),
        {
            "rnnjax.training.run_folder:lock_file": _open_truncating,
            "rnnjax.training.run_folder:check_regular": _skip,
        },
    ),
    "folders are patterns": Control(
        "runs",
        "predict: folder renamed",
        ("rejected", "lost"),
        {"rnnjax.paths:without_special_characters": _return_argument},
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
            "rnnjax.data.vocabulary:Vocabulary.load": _load_unchecked_vocabulary,
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
            "rnnjax.training.run_loading:write_message": _skip,
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
        {"rnnjax.data.corpora.prepared:_fingerprint": lambda original: lambda *columns: "the same"},
    ),
    "a label that is no class is the first class": Control(
        "tables",
        "several labels: letters inserted",
        ("silent",),
        {"rnnjax.data.corpora.labelled_files:_make_split": _take_unknown_labels},
    ),
    "numbers that are not finite are saved and reported": Control(
        "configs",
        "diverging",
        ("silent",),
        {
            "rnnjax.training.loop:check_loss": _skip,
            "rnnjax.training.loop:check_state": _skip,
            "rnnjax.training.evaluation:check_scores": _skip,
            "rnnjax.training.run_loading:check_params": _skip,
        },
    ),
    "a nested value is shown whole": Control(
        "configs", "nested", ("traceback",), {"rnnjax.config.parsing:_shorten": _replace_by(repr)}
    ),
    "messages are printed with their control characters": Control(
        "configs", "key that is no text", ("unclear",), {"rnnjax.console:escape": _return_argument}
    ),
    "a packed file may be a bomb": Control(
        "files",
        "packed pairs: bomb",
        ("memory",),
        {
            "rnnjax.input_files:MAX_RATIO": _replace_by(10**9),
            "rnnjax.input_files:MAX_BYTES": _replace_by(2**40),
            "rnnjax.data.corpora.parallel_text:MAX_LINE": _replace_by(2**40),
        },
    ),
    "a pipe is waited for": Control(
        "files",
        "text: no regular file",
        ("hang",),
        {"rnnjax.input_files:open_regular": _open_blocking},
    ),
    "JSON may be nested as deep as it likes": Control(
        "runs",
        "predict: JSON changed",
        ("traceback",),
        {"rnnjax.reporting.run_files:parse_json": _replace_by(json.loads)},
    ),
    "two lines of vectors may be one": Control(
        "files",
        "vectors: lines joined",
        ("silent",),
        {"rnnjax.data.word_vector_files:_read_text": _read_joined_lines},
    ),
    "binary vectors may be out of step": Control(
        "files",
        "binary vectors: space in a word",
        ("silent",),
        {"rnnjax.data.word_vector_files:_read_binary": _read_misaligned},
    ),
    "names of classes end where Unicode ends lines": Control(
        "files",
        "classes: separator",
        ("silent", "rejected"),
        {"rnnjax.data.corpora.csv_files:read_text": _split_unicode_lines},
    ),
    "subwords are composed": Control(
        "files",
        "subwords: separator",
        ("silent",),
        {"rnnjax.data.vocabulary:make_tokenizer": _compose_subwords},
    ),
    "metrics since the last line are forgotten": Control(
        "kills",
        "",
        ("different",),
        {"rnnjax.training.checkpoint:Checkpoints.restore": _reset_metric_sums},
    ),
    "damaged metrics of an unfinished run are taken up": Control(
        "runs", "resume: lines", ("silent",), {"rnnjax.training.launch:check_metrics": _skip}
    ),
    "metrics after a checkpoint are left": Control(
        "kills", "", ("different",), {"rnnjax.reporting.metrics_log:truncate": _skip}
    ),
    "a broken pipe ends a training as a success": Control(
        "pipes",
        "without a reader",
        ("lost", "traceback"),
        {"rnnjax.console:standard_streams": _replace_by(_exit_with_success)},
    ),
    "a hang-up kills a training": Control(
        "signals",
        "SIGHUP",
        ("lost",),
        {
            f"rnnjax.{name}:is_ignored": _replace_by(lambda number: number == signal.SIGHUP)
            for name in ("cli.signals", "interrupt")
        },
    ),
}
