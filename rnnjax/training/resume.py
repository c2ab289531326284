"""Checks that a run that goes on reads what it has begun with, wherever that is now."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.input_files import digest
from rnnjax.reporting import run_files
from rnnjax.reporting.progress import write_message
from rnnjax.training.loop import is_due
from rnnjax.training.replicates import Replicate
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.warm_start import read_source


def bucketing_epochs(folder: RunFolder, config: Config) -> int:
    """Returns the number of epochs by which the padded lengths of a run's batches were chosen.

    More padded lengths pay in a longer training. A run that is made longer keeps those that it has
    begun with, since they decide which rows share a batch.
    """
    epochs = run_files.read_manifest(folder.path).bucketing_epochs or config.epochs
    if epochs != config.epochs:
        write_message(
            f"{config.epochs} epochs; batches keep the padded lengths chosen for {epochs}"
        )
    return epochs


def check_contents(member: Replicate) -> None:
    """Raises InputError if data, word vectors or first parameters are not those of the run."""
    config, folder = member.config, member.folder
    data, moved = folder.read_data(), folder.moved_paths(config)
    check_same_data(member, data)
    if "model.embedding.path" in moved:
        ours = digest(Path(config.model.embedding.path)).hex()
        _check_same(folder, "file of vectors", data["vectors"]["fingerprint"], ours)
    if "init_from" in moved:
        account = run_files.read_manifest(folder.path).init_from or {}
        _check_same(folder, "run of init_from", account["digest"], read_source(config).digest)


def check_same_data(member: Replicate, recorded: dict[str, Any]) -> None:
    """Raises InputError unless a training reads the data, and the vectors, that were recorded."""
    described = member.describe()
    pairs = {"data": (recorded, described)}
    if "vectors" in recorded and "vectors" in described:
        pairs["file of vectors"] = recorded["vectors"], described["vectors"]
    for name, (before, now) in pairs.items():
        _check_same(member.folder, name, before["fingerprint"], now["fingerprint"])


def _check_same(folder: RunFolder, name: str, before: str, now: str) -> None:
    if before != now:
        raise InputError(
            f"workdir {folder.path}: was begun when the {name} had the fingerprint {before[:12]}, "
            f"and the {name} is now {now[:12]}; bring back the {name}, or give another --workdir"
        )


def is_of_longer(config: Config, per_epoch: int) -> Callable[[dict[str, Any]], bool]:
    """Returns a function that says whether a line of metrics is one of a training of a config.

    The last step of a training writes lines that a longer one does not have, and test scores.
    """

    def keep_line(line: dict[str, Any]) -> bool:
        step, split = line["step"], line["split"]
        if split == "test":
            return False
        return step == config.epochs * per_epoch or is_due(config, split, step, per_epoch)

    return keep_line
