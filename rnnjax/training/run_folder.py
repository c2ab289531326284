"""The folder of a run: what is in it, and that it belongs to one config and one process."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnjax import config as config_lib
from rnnjax import paths
from rnnjax.config import Config
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.input_files import explain
from rnnjax.reporting import run_files
from rnnjax.reporting.atomic_files import check_regular, is_draft, lock_file
from rnnjax.reporting.run_schema import Manifest
from rnnjax.training.checkpoint import Checkpoints, Owner

_LOCK = ".lock"
"""The system lets go of it when its process ends, however that was."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files."""

    path: Path

    def __post_init__(self) -> None:
        """Raises InputError if no folder can have the name."""
        try:
            paths.check(str(self.path))
        except InputError as error:
            raise InputError(f"workdir: {error}") from None

    @property
    def config(self) -> Path:
        """What was asked."""
        return self.path / run_files.CONFIG

    @property
    def environment(self) -> Path:
        """What it was done with."""
        return self.path / run_files.MANIFEST

    @property
    def tokenizer(self) -> Path:
        """The vocabulary."""
        return self.path / run_files.TOKENIZER

    @property
    def metrics(self) -> Path:
        """How it went."""
        return self.path / run_files.METRICS

    @property
    def result(self) -> Path:
        """What came of it."""
        return self.path / run_files.RESULT

    @property
    def report(self) -> Path:
        """The page that shows it."""
        return self.path / "report.html"

    @property
    def timing(self) -> Path:
        """How long it took."""
        return self.path / "timing.json"

    @property
    def checkpoints(self) -> Path:
        """How to go on."""
        return self.path / "checkpoints"

    def replicates(self, config: Config) -> list[tuple[Config, "RunFolder"]]:
        """Returns config and folder of each replicate of a run; the run's own if it has but one."""
        if config.replicates == 1:
            return [(config, self)]
        each = config_lib.replicate_configs(config)
        return [(single, RunFolder(self.path / f"seed-{single.seed}")) for single in each]

    @contextmanager
    def claim(self, config: Config) -> Iterator[None]:
        """Makes the folder, or takes it up again, and keeps other processes out of it.

        What a process that was killed here was about to write is deleted.

        Args:
          config: what the run does.

        Raises:
          InputError: the folder is that of another config, is no run's folder, cannot be written,
            or is in use.
        """
        self.check(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = lock_file(self.path / _LOCK)
        except BlockingIOError:
            raise InputError(
                f"workdir {self.path}: another process is running in it; wait for it, or give "
                "another --workdir"
            ) from None
        except OSError as error:
            cause, remedy = explain(error)
            raise InputError(
                f"workdir {self.path}: cannot be written ({cause}); {remedy}, or give another "
                "--workdir"
            ) from error
        with lock:
            for path in filter(is_draft, self.path.iterdir()):
                path.unlink()
            yield

    def check(self, config: Config) -> None:
        """Raises InputError if a run of another config, or something else, is in the folder."""
        try:
            self._check_kinds(config)
            strange = [] if self.config.exists() else self._strange_names()
        except OSError as error:
            raise InputError(
                f"workdir {self.path}: cannot be read ({error.strerror}); give another --workdir"
            ) from error
        if strange:
            raise InputError(
                f"workdir {self.path}: holds {', '.join(sorted(strange)[:3])} and no "
                "config.json, so it is not the folder of a run; give another --workdir"
            )
        if not self.config.exists():
            return
        _, theirs = self.read_config()
        differing = {
            key: values
            for key, values in config_lib.changed_values(config, theirs).items()
            if not _are_paths(key, *values)  # `moved_paths` has those whose contents must agree
        }
        if list(differing) == ["epochs"] and config.epochs > theirs.epochs:
            self._check_longer(config, theirs)
            return
        if differing:
            lines = "\n".join(f"  config.{key}: {a!r}, {b!r}" for key, (a, b) in differing.items())
            raise InputError(
                f"workdir {self.path}: holds a run of another config (given, there):\n{lines}\n"
                "Give another --workdir, or the config of that run to go on with it."
            )

    def _check_kinds(self, config: Config) -> None:
        """Raises InputError if a run would write through a symbolic link, or over a folder."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"workdir {self.path}: is a file; give a folder, new or of a run")
        files = self.config, self.environment, self.tokenizer, self.metrics, self.result
        for file in (*files, self.timing, self.report, self.path / _LOCK):
            check_regular(file)
        for folder in (self.checkpoints, *(each.path for _, each in self.replicates(config))):
            if folder == self.path:
                continue  # may be anywhere: the user has named it
            if folder.is_symlink():
                raise InputError(
                    f"{folder}: is a symbolic link, in which a run deletes nothing and writes "
                    "nothing; put the folder itself there, or link the whole --workdir"
                )
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file, expected a folder or nothing; remove it")

    def _strange_names(self) -> list[str]:
        """Returns the names of what is in the folder and not of a run that has just begun."""
        inside = self.path.iterdir() if self.path.is_dir() else []
        return [path.name for path in inside if path.name != _LOCK and not is_draft(path)]

    def moved_paths(self, config: Config) -> list[str]:
        """Returns the keys whose paths lead elsewhere than those of the run: contents must agree.

        A path that is only spelled differently (relative, through a link) is none of them.
        """
        if not self.config.exists():
            return []
        differing = config_lib.changed_values(config, self.read_config()[1])
        return [
            key
            for key, (ours, theirs) in differing.items()
            if _are_paths(key, ours, theirs) and _resolved(ours) != _resolved(theirs)
        ]

    def is_longer(self, config: Config) -> bool:
        """Returns whether a config asks for more epochs than the run of the folder."""
        return self.config.exists() and config.epochs > self.read_config()[1].epochs

    def _check_longer(self, config: Config, theirs: Config) -> None:
        """Raises InputError if more epochs would not end as if they had been asked for at once."""
        reason = ""
        if config.schedule != "constant":
            reason = (
                f"config.schedule={config.schedule!r} has brought the learning rate down for "
                f"{theirs.epochs}: with more, every step would have had another"
            )
        elif self.result.exists():
            result = self.read_result()
            per_epoch = round(result["steps"] / max(result["epochs"], 1e-9))
            every = config.evaluate_every or per_epoch
            if config.early_stopping.patience and theirs.epochs * per_epoch % every:
                reason = (
                    f"its last evaluation, at step {result['steps']}, counted for early "
                    f"stopping, and of one every {every} steps it is none"
                )
            if result["stopped_early"]:
                reason = f"early stopping has ended it at step {result['steps']}"
        if reason:
            raise InputError(
                f"workdir {self.path}: holds a run of {theirs.epochs} epochs, and cannot go on to "
                f"{config.epochs}: {reason}. Begin a new run with its parameters: "
                f"config.init_from={self.path} and another --workdir"
            )

    def read_config(self) -> tuple[str, Config]:
        """Returns name and config of the run, which `read` verifies.

        Raises:
          InputError: there is no run in the folder, or its config.json is damaged.
        """
        begun = run_files.read_config(self.path)
        return begun.name, config_lib.parse(begun.config, f"{self.config}: config")

    def read(self) -> tuple[Config, Manifest]:
        """Returns config and manifest of a run that has begun, and verifies its files by digest.

        Raises:
          InputError: there is no run in the folder, or a file is damaged.
        """
        _, config = self.read_config()
        return config, run_files.read_manifest(self.path)

    def read_data(self, *keys: str) -> dict[str, Any]:
        """Returns what the manifest says of the data.

        Args:
          *keys: what it has to say beside what it says of any data.

        Raises:
          InputError: it is missing or damaged.
        """
        data = run_files.read_manifest(self.path).data.values()
        for key in ("fingerprint", "fallback", *keys):
            if key not in data:
                raise run_files.damaged(self.environment, f"data: has no {key!r}")
        return data

    def read_vocabulary(self) -> Vocabulary | None:
        """Returns the vocabulary of a run that has begun; None where nothing is text.

        Raises:
          InputError: it is missing or damaged, or not of the size that the manifest says.
        """
        manifest = run_files.read_manifest(self.path)
        if not manifest.data.vocabulary:
            return None
        if self.tokenizer.name not in manifest.files:
            raise run_files.damaged(self.environment, f"files: has no {self.tokenizer.name!r}")
        vocabulary = Vocabulary.load(self.tokenizer)
        if len(vocabulary) != manifest.data.vocabulary:
            recorded = f"{manifest.data.vocabulary} were recorded"
            raise run_files.damaged(self.tokenizer, f"{len(vocabulary)} entries, and {recorded}")
        return vocabulary

    def read_result(self) -> dict[str, Any]:
        """Returns the result of a finished run, or of replicates, and verifies its metrics.

        Raises:
          InputError: a file of the run is missing or damaged.
        """
        config, manifest = self.read()
        if config.replicates > 1:
            return run_files.read_replicates_result(self.path, manifest).values()
        return run_files.read_result(self.path, manifest).values()

    def write_result(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the result of a finished run, and returns what the file says."""
        manifest = run_files.read_manifest(self.path)
        return run_files.write_result(self.path, manifest, values)

    def write_resumed(self, step: int, environment: Mapping[str, Any]) -> None:
        """Adds what the steps after a checkpoint are done with to the manifest."""
        manifest = run_files.read_manifest(self.path)
        resumed = [*manifest.resumed, {"step": step, **environment}]
        run_files.write_manifest(self.path, {**manifest.values(), "resumed": resumed})

    def write_longer(self, config: Config) -> None:
        """Drops the outcome of a run that gets more epochs, and writes its new config.

        The configs of replicates come before that of the run: until that is written, `is_longer`,
        and a folder in which a crash came on the way can be mended by `mend_longer`.
        """
        # First of all: a result beside the longer config would be taken for its own.
        self.result.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)
        for each, own in self.replicates(config):
            if own != self and own.is_longer(each):
                own.write_longer(each)
        run_files.replace_config(self.path, config.model_dump())

    def mend_longer(self, config: Config) -> None:
        """Writes a longer config of which a crash has left the manifest alone, of replicates too.

        Raises:
          InputError: a manifest is missing or damaged.
        """
        for each, own in [(config, self), *self.replicates(config)]:
            if own.is_longer(each) and run_files.is_being_replaced(own.path, each.model_dump()):
                run_files.replace_config(own.path, each.model_dump())

    def discard_outcome(self) -> None:
        """Deletes checkpoints, result and report of a run that begins anew."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.result.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, whole or damaged."""
        return bool(Checkpoints(self.checkpoints).steps)

    def open_checkpoints(self) -> Checkpoints:
        """Returns the checkpoints of a run that has begun, which know their run and its seed.

        Raises:
          InputError: a file of the run is missing or damaged.
        """
        config, manifest = self.read()
        owner = Owner(manifest.run, config.seed)
        return Checkpoints(self.checkpoints, config.checkpoint.keep, owner)


def _are_paths(key: str, ours: Any, theirs: Any) -> bool:
    """Returns whether two values of a config are paths, of which neither is ''."""
    return key in config_lib.PATH_KEYS and bool(ours and theirs)


def _resolved(path: str) -> Path:
    return Path(path).resolve()
