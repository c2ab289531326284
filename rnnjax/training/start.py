"""Starts a run: its data and replicates, and the files that are fixed from then on."""

from collections.abc import Sequence
from typing import Any

from rnnjax.config import Config
from rnnjax.data.pretrained_embeddings import check_word_vectors
from rnnjax.errors import InputError
from rnnjax.reporting import metrics_log, run_files
from rnnjax.reporting.progress import write_message
from rnnjax.reporting.run_schema import RecordedConfig
from rnnjax.tasks.registry import find_task
from rnnjax.training.manifest import describe_environment
from rnnjax.training.processes import is_first
from rnnjax.training.replicates import Replicate, make_replicates
from rnnjax.training.resume import check_same_data
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.warm_start import WarmStart, read_warm_start


def load_new_run(folder: RunFolder, config: Config) -> tuple[list[Replicate], WarmStart | None]:
    """Returns the replicates of a new run, and the parameters of `config.init_from`, if any.

    Raises:
      InputError: the data, the file of vectors or the run of `config.init_from` cannot be used.
    """
    if config.model.embedding.path:
        check_word_vectors(config.model.embedding)
    warm_start = read_warm_start(config) if config.init_from else None
    corpus = find_task(config.task).load_corpus(config)
    return make_replicates(config, folder, corpus), warm_start


def start_run(
    folder: RunFolder,
    config: Config,
    name: str,
    replicates: Sequence[Replicate],
    command: str,
    warm_start_reports: Sequence[dict[str, Any]],
) -> None:
    """Writes configs, vocabularies and manifests of a new run and of its replicates.

    Of several processes the first one does.

    Args:
      folder: of the run.
      config: of the run.
      name: of the run.
      replicates: of the run.
      command: that started it.
      warm_start_reports: of each replicate, as `match_warm_start` returns them; none without one.

    Raises:
      InputError: another process has trained in the folder in the meantime, or steps were trained
        on other data.
    """
    if folder.has_checkpoint:
        raise InputError(
            f"workdir {folder.path}: another process has trained in it while this one read the "
            "data; repeat the command, which goes on from there"
        )
    if not is_first():
        return
    for replicate in replicates:
        path = replicate.folder.path
        if replicate.folder.metrics.exists() and metrics_log.read(replicate.folder.metrics):
            check_same_data(replicate, run_files.load_manifest(path).data.values())
    if folder.manifest.exists():
        write_message("there is no checkpoint to go on from; the training begins again")
    manifest = {**describe_environment(command), "bucketing_epochs": config.epochs}
    reports = [{"init_from": report} for report in warm_start_reports] or [{}] * len(replicates)
    for replicate, report in zip(replicates, reports, strict=True):
        if replicate.folder != folder:
            replicate.folder.discard_outputs()
            values = {**manifest, **report, "command": replicate.command(command)}
            _write_files(replicate.folder, replicate.config, name, replicate, values)
    folder.result.unlink(missing_ok=True)
    _write_files(folder, config, name, replicates[0], {**manifest, **reports[0]})


def _write_files(
    folder: RunFolder, config: Config, name: str, replicate: Replicate, manifest: dict[str, Any]
) -> None:
    dataset = replicate.dataset
    # The folder of several replicates has no vocabulary: each of theirs has its own.
    vocabulary = dataset.vocabulary if folder == replicate.folder else None
    run_files.begin(
        folder.path,
        RecordedConfig(name=name, config=config.model_dump(), **dataset.fallback_fields),
        vocabulary.to_json() if vocabulary else "",
        {**manifest, "data": replicate.describe()},
    )
