"""Checks that a run that goes on reads what it has begun with, wherever that is now."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.files import digest
from rnnjax.reporting import run_files
from rnnjax.reporting.progress import say
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.folder import RunFolder
from rnnjax.training.initial import read_source
from rnnjax.training.loop import is_due, metrics_digests
from rnnjax.training.members import Member


def bucketing_epochs(folder: RunFolder, config: Config) -> int:
    """Returns the number of epochs by which the padded lengths of a run's batches were chosen.

    More padded lengths pay in a longer training. A run that is made longer keeps those that it has
    begun with, since they decide which rows share a batch.
    """
    epochs = run_files.read_manifest(folder.path).bucketing_epochs or config.epochs
    if epochs != config.epochs:
        say(f"{config.epochs} epochs; batches keep the padded lengths chosen for {epochs}")
    return epochs


def check_contents(member: Member) -> None:
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


def check_same_data(member: Member, recorded: dict[str, Any]) -> None:
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


def check_metrics(members: Sequence[Member], checkpoints: Checkpoints, step: int) -> None:
    """Raises InputError if metrics up to a step are not those that its checkpoint was saved with.

    Those of a training that has been made longer have lost the lines of its last step by now,
    unless they were due.
    """
    for member, recorded in zip(members, checkpoints.metrics_digests(step), strict=True):
        has_ended = step == member.config.epochs * member.dataset.train.steps_per_epoch
        lines = "all" if has_ended else "due"
        if metrics_digests(member, step)[lines] != recorded[lines]:
            raise run_files.damaged(
                member.folder.metrics,
                f"it is missing, or its lines up to step {step} are not those that were there "
                "when the checkpoint of that step was saved",
            )


def is_of_longer(config: Config, per_epoch: int) -> Callable[[dict[str, Any]], bool]:
    """Returns a function that says whether a line of metrics is one of a training of a config.

    The last step of a training writes lines that a longer one does not have, and test scores.
    """

    def is_kept(line: dict[str, Any]) -> bool:
        step, split = line["step"], line["split"]
        if split == "test":
            return False
        return step == config.epochs * per_epoch or is_due(config, split, step, per_epoch)

    return is_kept
