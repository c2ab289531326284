"""Resumes a run: verifies that it reads the same data as before, and records the resumption."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.input_files import digest
from rnnjax.reporting import metrics_log, run_files
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.registry import find_task
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.loop import Intervals, metrics_digests
from rnnjax.training.manifest import describe_environment
from rnnjax.training.processes import is_first, wait_for_all
from rnnjax.training.replicates import Replicate, make_replicates
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.warm_start import read_warm_start


def load_resumed_run(folder: RunFolder, config: Config) -> list[Replicate]:
    """Returns the replicates of a run that has a checkpoint.

    Raises:
      InputError: a file of the run is damaged, or its data, word vectors or the run that it started
        from have changed.
    """
    if folder.is_extended_by(config) and is_first():
        with folder.lock(config):
            folder.complete_extension(config)
    wait_for_all()
    folder.read()
    epochs = _bucketing_epochs(folder, config)
    corpus = find_task(config.task).load_corpus(config)
    replicates = make_replicates(config, folder, corpus, is_new=False, epochs=epochs)
    for replicate in replicates:
        _check_inputs(replicate)
    return replicates


def _bucketing_epochs(folder: RunFolder, config: Config) -> int:
    """Returns the number of epochs for which the padded lengths of batches were chosen.

    More padded lengths pay in a longer training. An extended run keeps those that it started with,
    since they decide which rows share a batch.
    """
    epochs = run_files.read_manifest(folder.path).bucketing_epochs or config.epochs
    if epochs != config.epochs:
        write_message(
            f"{config.epochs} epochs; batches keep the padded lengths chosen for {epochs}"
        )
    return epochs


def _check_inputs(replicate: Replicate) -> None:
    """Raises InputError if data, word vectors or the run of `init_from` have changed."""
    config, folder = replicate.config, replicate.folder
    recorded, moved = folder.read_data(), folder.moved_paths(config)
    check_same_data(replicate, recorded)
    if "model.embedding.path" in moved:
        actual = digest(Path(config.model.embedding.path)).hex()
        _check_same(folder, "file of vectors", recorded["vectors"]["fingerprint"], actual)
    if "init_from" in moved:
        report = run_files.read_manifest(folder.path).init_from or {}
        _check_same(folder, "run of init_from", report["digest"], read_warm_start(config).digest)


def check_same_data(replicate: Replicate, recorded: dict[str, Any]) -> None:
    """Raises InputError if the data, or the vectors, are not those recorded in a manifest."""
    actual = replicate.describe()
    pairs = {"data": (recorded, actual)}
    if "vectors" in recorded and "vectors" in actual:
        pairs["file of vectors"] = recorded["vectors"], actual["vectors"]
    for name, descriptions in pairs.items():
        _check_same(replicate.folder, name, *(part["fingerprint"] for part in descriptions))


def _check_same(folder: RunFolder, name: str, recorded: str, actual: str) -> None:
    if recorded != actual:
        raise InputError(
            f"workdir {folder.path}: was begun when the {name} had the fingerprint "
            f"{recorded[:12]}, and the {name} is now {actual[:12]}; bring back the {name}, or give "
            "another --workdir"
        )


def check_metrics(replicates: Sequence[Replicate], checkpoints: Checkpoints, step: int) -> None:
    """Raises InputError if metrics up to a step are not those that its checkpoint was saved with.

    An extended run has lost the lines of its last step by now, unless they were due.
    """
    for replicate, recorded in zip(replicates, checkpoints.metrics_digests(step), strict=True):
        last_step = replicate.config.epochs * replicate.dataset.train.steps_per_epoch
        selection = "all" if step == last_step else "due"
        if metrics_digests(replicate, step)[selection] != recorded[selection]:
            raise run_files.damaged(
                replicate.folder.metrics,
                f"it is missing, or its lines up to step {step} are not those that were there "
                "when the checkpoint of that step was saved",
            )


def record_resumption(
    folder: RunFolder, replicates: Sequence[Replicate], command: str, step: int
) -> None:
    """Records the environment of the steps after a checkpoint, and drops later metrics.

    Of several processes the first one does.

    Args:
      folder: of the run.
      replicates: of the run.
      command: that resumed the run.
      step: of the checkpoint; 0 for a new run, of which metrics alone are dropped.
    """
    if not is_first():
        return
    if step:
        environment = describe_environment(command)
        folder.write_resumed(step, environment)
        for replicate in replicates:
            if replicate.folder != folder:
                values = {**environment, "command": replicate.command(command)}
                replicate.folder.write_resumed(step, values)
    for replicate in replicates:
        drop_later_metrics(replicate, step)


def drop_later_metrics(replicate: Replicate, step: int) -> None:
    """Drops metrics after a step, test scores, and lines that a longer run does not log.

    The last step of a training logs metrics also where they are not due.
    """
    steps_per_epoch = replicate.dataset.train.steps_per_epoch
    intervals = Intervals.of(replicate.config, steps_per_epoch)
    last_step = replicate.config.epochs * steps_per_epoch

    def is_logged(line: dict[str, Any]) -> bool:
        is_due = line["step"] == last_step or intervals.is_due(line["split"], line["step"])
        return line["split"] != "test" and is_due

    metrics_log.truncate(replicate.folder.metrics, step, is_logged)
