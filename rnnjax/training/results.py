"""The results of a run: result.json, the report, and what the terminal displays of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnjax.config import Config
from rnnjax.reporting.progress import write_message
from rnnjax.reporting.run_report import write_report
from rnnjax.tasks import Task
from rnnjax.tasks.classification_metrics import format_scores, summarize_seeds
from rnnjax.training.replicates import Replicate
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.timing import TimingTotals


def write_results(
    folder: RunFolder,
    replicates: Sequence[Replicate],
    task: Task,
    training: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes the result of each replicate and of the run, and returns that of the run.

    Args:
      folder: of the run.
      replicates: of the run.
      task: of the run.
      training: values that all results share.
      scores: of each replicate, as `evaluate_replicate` returns them.
    """
    results = [{**training, **replicate_scores} for replicate_scores in scores]
    result, *_ = [
        replicate.folder.write_result(values)
        for replicate, values in zip(replicates, results, strict=True)
    ]
    if len(replicates) > 1:
        seeds = [replicate.config.seed for replicate in replicates]
        result = folder.write_result(summarize_seeds({**training, "seeds": seeds}, results))
    test_scores = format_scores(result, task.headline_metrics, task.score_unit)
    ending = ", stopped early" if training["stopped_early"] else ""
    write_message(
        f"{test_scores}; trained {training['timed_steps']} steps in "
        f"{training['train_seconds']:.1f} s{ending}; "
        f"compilations: {training['compilations']['train']}, "
        f"padded lengths: {len(replicates[0].dataset.train.boundaries)}"
    )
    return result


def timing_values(totals: TimingTotals, unit: str) -> dict[str, float]:
    """Returns the time of a training for its result, with rows or tokens a second."""
    values = {
        "timed_steps": totals.steps,
        "train_seconds": round(totals.train_seconds, 3),
        "cpu_seconds": round(totals.cpu_seconds, 1),  # of all cores, from the start of processes
    }
    if totals.train_seconds:
        values[f"{unit}_per_second"] = round(totals.examples / totals.train_seconds, 1)
    return values


def write_reports(folders: Sequence[RunFolder]) -> None:
    """Writes a report page in each folder."""
    for folder in folders:
        write_report(folder.path)


def report_finished(folder: RunFolder, config: Config) -> dict[str, Any]:
    """Returns the result of a finished run, and writes missing reports."""
    result = folder.read_result()
    with folder.lock(config):
        folders = [replicate for _, replicate in folder.replicates(config)]
        unreported = [replicate for replicate in folders if not replicate.report.exists()]
        write_reports(unreported)
        if not unreported:
            write_message(f"{folder.path} holds a finished run; nothing is left to do")
    return result


def format_layers(layers: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of a network's layers with their parameter counts, as aligned text."""
    total = sum(row["parameters"] for row in layers)
    cells = [["layer", "type", "output", "parameters"]]
    cells += [[*list(row.values())[:3], f"{row['parameters']:,}"] for row in layers]
    cells += [["total", "", "", f"{total:,}"]]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        f"{layer:<{widths[0]}}  {kind:<{widths[1]}}  {output:<{widths[2]}}  {count:>{widths[3]}}"
        for layer, kind, output, count in cells
    )
