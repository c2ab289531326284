"""The folder of a run: what is in it, and that it belongs to one config and one process."""

import dataclasses
import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.files import explain, load_text, parse_json
from rnnjax.reporting.files import is_draft, write_json

_LOCK = ".lock"
"""The system lets go of it when its process ends, however that was."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """What was asked."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """What it was done with."""
        return self.path / "environment.json"

    @property
    def tokenizer(self) -> Path:
        """The vocabulary."""
        return self.path / "tokenizer.json"

    @property
    def metrics(self) -> Path:
        """How it went."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """What came of it."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The page that shows it."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """How to go on."""
        return self.path / "checkpoints"

    def replicates(self, config: Config) -> list[tuple[Config, "RunFolder"]]:
        """Returns config and folder of each replicate of a run; the run's own if it has but one."""
        if config.replicates == 1:
            return [(config, self)]
        each = config_lib.of_replicates(config)
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
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            cause, remedy = explain(error)
            raise InputError(
                f"workdir {self.path}: cannot be written ({cause}); {remedy}, or give another "
                "--workdir"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"workdir {self.path}: another process is running in it; wait for it, or give "
                    "another --workdir"
                ) from None
            for path in filter(is_draft, self.path.iterdir()):
                path.unlink()
            yield

    def check(self, config: Config) -> None:
        """Raises InputError if a run of another config, or something else, is in the folder."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"workdir {self.path}: is a file; give a folder, new or of a run")
        if not self.config.exists():
            strange = self.path.is_dir() and [
                each.name
                for each in self.path.iterdir()
                if each.name != _LOCK and not is_draft(each)
            ]
            if strange:
                raise InputError(
                    f"workdir {self.path}: holds {', '.join(sorted(strange)[:3])} and no "
                    "config.json, so it is not the folder of a run; give another --workdir"
                )
            return
        _, theirs = self.read_config()
        differing = config_lib.differences(config, theirs)
        if differing:
            lines = "\n".join(f"  config.{line}" for line in differing)
            raise InputError(
                f"workdir {self.path}: holds a run of another config (given, there):\n{lines}\n"
                "Give another --workdir, or the config of that run to go on with it."
            )

    def read_config(self) -> tuple[str, Config]:
        """Returns name and config of the run.

        Raises:
          InputError: there is no run in the folder, or its config.json is damaged.
        """
        values = read_json(self.config, "name", "config")
        return values["name"], config_lib.parse(values["config"], f"{self.config}: config")

    def read_data(self, *keys: str) -> dict[str, Any]:
        """Returns what environment.json says of the data.

        Args:
          *keys: what it has to say beside what it says of any data.

        Raises:
          InputError: it is missing or damaged.
        """
        data = read_json(self.environment, "data")["data"]
        return _having(data, ("fingerprint", "fallback", *keys), self.environment)

    def write_config(self, name: str, config: Config, mark: dict[str, str]) -> None:
        """Writes config.json."""
        write_json(self.config, {"name": name, **mark, "config": config.model_dump()})


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Returns what a JSON file of a run says.

    Args:
      path: the file.
      *keys: what it has to say something of.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        values = parse_json(load_text(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected the folder of a run that "
            "`python -m rnnjax.main` has made"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged ({error}); bring it back from a copy, or train again"
        ) from error
    return _having(values, keys, path)


def _having(values: Any, keys: Iterable[str], path: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{path}: is damaged (not a JSON object); bring it back from a copy")
    missing = [key for key in keys if key not in values]
    if missing:
        raise InputError(
            f"{path}: is damaged (it has no {missing[0]!r}); bring it back from a copy"
        )
    return values
