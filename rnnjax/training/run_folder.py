"""The folder of a run: the paths of its files, its lock, and the config that it belongs to."""

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
from rnnjax.input_files import check_writable, explain
from rnnjax.reporting import run_files
from rnnjax.reporting.atomic_files import check_regular, is_draft, lock_file
from rnnjax.reporting.run_schema import Manifest
from rnnjax.training.checkpoint import Checkpoints, Owner
from rnnjax.training.processes import is_first

DATA = "training_data"
"""Folder in that of a run where `rnnjax.fit` puts data in memory, before the run starts."""
_LOCK = ".lock"
"""The system releases the lock when its process ends, killed or not."""


_FREE_KEYS = ("devices.", "tensorboard", "profile", "hints")
"""Starts of keys that may change while a run is resumed."""


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
        """The config."""
        return self.path / run_files.CONFIG

    @property
    def manifest(self) -> Path:
        """The manifest: environment, data and digests."""
        return self.path / run_files.MANIFEST

    @property
    def tokenizer(self) -> Path:
        """The vocabulary."""
        return self.path / run_files.TOKENIZER

    @property
    def metrics(self) -> Path:
        """The metrics log."""
        return self.path / run_files.METRICS

    @property
    def result(self) -> Path:
        """The result."""
        return self.path / run_files.RESULT

    @property
    def report(self) -> Path:
        """The report page."""
        return self.path / "report.html"

    @property
    def timing(self) -> Path:
        """The time of training at each checkpoint."""
        return self.path / "timing.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, damaged or not."""
        return bool(Checkpoints(self.checkpoints).steps)

    def replicates(self, config: Config) -> list[tuple[Config, "RunFolder"]]:
        """Returns config and folder of each replicate; those of the run if it has one seed."""
        if config.replicates == 1:
            return [(config, self)]
        configs = config_lib.replicate_configs(config)
        return [(single, RunFolder(self.path / f"seed-{single.seed}")) for single in configs]

    @contextmanager
    def lock(self, config: Config) -> Iterator[None]:
        """Locks the folder, created if need be, and deletes drafts that a killed process left.

        Of several processes of a run the first one does.

        Args:
          config: of the run.

        Raises:
          InputError: the folder is that of another config, is no run's folder, cannot be written,
            or another process has locked it.
        """
        if not is_first():
            yield
            return
        self.check_config(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = lock_file(self.path / _LOCK)
        except BlockingIOError:
            raise InputError(
                f"workdir {self.path}: another process is running in it; wait for it, or give "
                "another --workdir"
            ) from None
        except OSError as error:
            raise self._not_writable(error) from error
        with lock:
            for path in filter(is_draft, self.path.iterdir()):
                path.unlink()
            yield

    def check_writable(self) -> None:
        """Raises InputError if the folder cannot be created or written."""
        try:
            check_writable(self.path)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> InputError:
        cause, remedy = explain(error)
        return InputError(
            f"workdir {self.path}: cannot be written ({cause}); {remedy}, or give another --workdir"
        )

    def check_config(self, config: Config) -> None:
        """Raises InputError if the folder holds a run of another config, or no run."""
        try:
            self._check_kinds(config)
            foreign = [] if self.config.exists() else self._foreign_names()
        except OSError as error:
            raise InputError(
                f"workdir {self.path}: cannot be read ({error.strerror}); give another --workdir"
            ) from error
        if foreign:
            raise InputError(
                f"workdir {self.path}: holds {', '.join(sorted(foreign)[:3])} and no "
                "config.json, so it is not the folder of a run; give another --workdir"
            )
        if not self.config.exists():
            return
        _, saved = self.read_config()
        differing = {
            key: values
            for key, values in config_lib.changed_values(config, saved).items()
            if not _are_paths(key, *values)  # their contents are compared: `moved_paths`
            and not key.startswith(_FREE_KEYS)
        }
        if list(differing) == ["epochs"] and config.epochs > saved.epochs:
            self._check_extension(config, saved)
            return
        if differing:
            lines = "\n".join(f"  config.{key}: {a!r}, {b!r}" for key, (a, b) in differing.items())
            raise InputError(
                f"workdir {self.path}: holds a run of another config (given, there):\n{lines}\n"
                "Give another --workdir, or the config of that run to go on with it."
            )

    def check_is_run(self, name: str) -> None:
        """Raises InputError, which begins with a name, if the folder holds no run."""
        if not self.config.exists():
            raise InputError(
                f"{name}: holds no config.json; expected the folder of a run that "
                "`python -m rnnjax.main --workdir ...` has made"
            )

    def _check_kinds(self, config: Config) -> None:
        """Raises InputError if a file or folder of a run is a link, or of another kind."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"workdir {self.path}: is a file; give a folder, new or of a run")
        files = self.config, self.manifest, self.tokenizer, self.metrics, self.result
        for file in (*files, self.timing, self.report, self.path / _LOCK):
            check_regular(file)
        for folder in (self.checkpoints, *(single.path for _, single in self.replicates(config))):
            if folder == self.path:
                continue  # may be a link: the user has named it
            if folder.is_symlink():
                raise InputError(
                    f"{folder}: is a symbolic link, in which a run deletes nothing and writes "
                    "nothing; put the folder itself there, or link the whole --workdir"
                )
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file, expected a folder or nothing; remove it")

    def _foreign_names(self) -> list[str]:
        """Returns the names in the folder that a run which is just starting does not write."""
        paths = self.path.iterdir() if self.path.is_dir() else []
        return [
            path.name for path in paths if path.name not in (_LOCK, DATA) and not is_draft(path)
        ]

    def moved_paths(self, config: Config) -> list[str]:
        """Returns the keys whose paths differ from those of the run: contents must agree.

        Other spellings of the same path (relative, through a link) do not count.
        """
        if not self.config.exists():
            return []
        differing = config_lib.changed_values(config, self.read_config()[1])
        return [
            key
            for key, (path, saved_path) in differing.items()
            if _are_paths(key, path, saved_path)
            and Path(path).resolve() != Path(saved_path).resolve()
        ]

    def is_extended_by(self, config: Config) -> bool:
        """Returns whether a config has more epochs than the run of the folder."""
        return self.config.exists() and config.epochs > self.read_config()[1].epochs

    def _check_extension(self, config: Config, saved: Config) -> None:
        """Raises InputError if more epochs would end otherwise than a longer run from the start."""
        reason = ""
        if config.schedule != "constant":
            reason = (
                f"config.schedule={config.schedule!r} has brought the learning rate down for "
                f"{saved.epochs}: with more, every step would have had another"
            )
        elif self.result.exists():
            result = self.read_result()
            steps_per_epoch = round(result["steps"] / max(result["epochs"], 1e-9))
            interval = config.evaluate_every or steps_per_epoch
            if config.early_stopping.patience and saved.epochs * steps_per_epoch % interval:
                reason = (
                    f"its last evaluation, at step {result['steps']}, counted for early "
                    f"stopping, and of one every {interval} steps it is none"
                )
            if result["stopped_early"]:
                reason = f"early stopping has ended it at step {result['steps']}"
        if reason:
            raise InputError(
                f"workdir {self.path}: holds a run of {saved.epochs} epochs, and cannot go on to "
                f"{config.epochs}: {reason}. Begin a new run with its parameters: "
                f"config.init_from={self.path} and another --workdir"
            )

    def read_config(self, *, trust: bool = False) -> tuple[str, Config]:
        """Returns name and config of the run, not verified by digest.

        Args:
          trust: as for `rnnjax.config.parse`.

        Raises:
          InputError: there is no run in the folder, or its config.json is damaged.
        """
        recorded = run_files.read_config(self.path)
        name = f"{self.config}: config"
        return recorded.name, config_lib.parse(recorded.config, name, trust=trust)

    def read(self, *, trust: bool = False) -> tuple[Config, Manifest]:
        """Returns config and manifest of a run, and verifies its files by digest.

        Args:
          trust: as for `rnnjax.config.parse`.

        Raises:
          InputError: there is no run in the folder, or a file is damaged.
        """
        _, config = self.read_config(trust=trust)
        return config, run_files.read_manifest(self.path)

    def read_data(self, *keys: str) -> dict[str, Any]:
        """Returns the description of the data in the manifest.

        Args:
          *keys: required beside those of any data.

        Raises:
          InputError: it is missing or damaged.
        """
        data = run_files.read_manifest(self.path).data.values()
        for key in ("fingerprint", "fallback", *keys):
            if key not in data:
                raise run_files.damaged(self.manifest, f"data: has no {key!r}")
        return data

    def read_vocabulary(self) -> Vocabulary | None:
        """Returns the vocabulary of a run; None where nothing is text.

        Raises:
          InputError: it is missing or damaged, or not of the size in the manifest.
        """
        manifest = run_files.read_manifest(self.path)
        if not manifest.data.vocabulary:
            return None
        if self.tokenizer.name not in manifest.files:
            raise run_files.damaged(self.manifest, f"files: has no {self.tokenizer.name!r}")
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
        """Writes the result of a finished run, and returns the content of the file."""
        manifest = run_files.read_manifest(self.path)
        return run_files.write_result(self.path, manifest, values)

    def write_resumed(self, step: int, environment: Mapping[str, Any]) -> None:
        """Adds the environment of the steps after a checkpoint to the manifest."""
        manifest = run_files.read_manifest(self.path)
        resumed = [*manifest.resumed, {"step": step, **environment}]
        run_files.write_manifest(self.path, {**manifest.values(), "resumed": resumed})

    def extend(self, config: Config) -> None:
        """Deletes the result of a run that gets more epochs, and writes its new config.

        The configs of replicates are written before that of the run, so that `is_extended_by` holds
        until all are, and `complete_extension` can finish after a crash.
        """
        # First of all: a result beside the longer config would count as that of the latter.
        self.result.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)
        for single_config, single in self.replicates(config):
            if single != self and single.is_extended_by(single_config):
                single.extend(single_config)
        run_files.replace_config(self.path, config.model_dump())

    def complete_extension(self, config: Config) -> None:
        """Writes longer configs of which a crash let only the manifests be written.

        Raises:
          InputError: a manifest is missing or damaged.
        """
        for single_config, single in [(config, self), *self.replicates(config)]:
            values = single_config.model_dump()
            if not single.is_extended_by(single_config):
                continue
            if run_files.is_being_replaced(single.path, values):
                run_files.replace_config(single.path, values)

    def discard_outputs(self) -> None:
        """Deletes checkpoints, result and report, before a run starts anew."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.result.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    def open_checkpoints(self) -> Checkpoints:
        """Returns the checkpoints of a run, verified by its name and seed.

        Raises:
          InputError: a file of the run is missing or damaged.
        """
        config, manifest = self.read()
        owner = Owner(manifest.run, config.seed)
        return Checkpoints(self.checkpoints, config.checkpoint.keep, owner)


def _are_paths(key: str, path: Any, saved_path: Any) -> bool:
    """Returns whether two values of a key are paths, neither of them ''."""
    return key in config_lib.PATH_KEYS and bool(path and saved_path)
