"""The results of a run: result.json, the report, and what the terminal displays of them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rnnjax.config import Config
from rnnjax.reporting.progress import write_message
from rnnjax.reporting.run_report import REPORT
from rnnjax.tasks import Task
from rnnjax.tasks.report_page import write_comparison, write_report
from rnnjax.training.processes import is_first
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
    if baselines := task.describe_baselines(results[0]):
        test_scores = f"{test_scores}; {baselines}"
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


def write_reports(folders: Sequence[RunFolder], task: type[Task], finished: bool = True) -> None:
    """Writes a report page in each folder, and one on all replicates beside them if there are some.

    Those of a run that has not finished are without scores.
    """
    for folder in folders:
        write_report(task, folder.path, finished=finished)
    if len(folders) > 1:
        paths = [folder.path for folder in folders]
        write_comparison(paths, paths[0].parent / REPORT)


def report_finished(folder: RunFolder, config: Config, task: type[Task]) -> dict[str, Any]:
    """Returns the result of a finished run, and writes missing reports."""
    result = folder.read_result()
    if not is_first():
        return result
    with folder.lock(config):
        folders = [replicate for _, replicate in folder.replicates(config)]
        unreported = [replicate for replicate in folders if not replicate.report.exists()]
        write_reports(unreported, task)
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


def summarize_seeds(shared: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns mean, standard deviation (of a sample, 'sd') and values ('by_seed') of each score.

    Args:
      shared: entries that all seeds have in common.
      results: of each seed.
    """

    def spread(values: list[float]) -> dict[str, Any]:
        return {
            "mean": statistics.mean(values),
            "sd": statistics.stdev(values),
            "by_seed": values,
        }

    splits = [split for split in ("validation", "test") if split in results[0]]
    return {
        **shared,
        **{
            split: {
                name: spread([result[split][name] for result in results])
                for name in results[0][split]
                if name != "rows"
            }
            | {"rows": results[0][split]["rows"]}
            for split in splits
        },
    }


def format_scores(result: dict[str, Any], metrics: Sequence[str], unit: str) -> str:
    """Formats the test scores of a result, of one seed or of several, as a line.

    Args:
      result: content of result.json.
      metrics: names of the scores.
      unit: what was scored: 'rows', 'tokens'.
    """
    test, seeds = result["test"], result.get("seeds")

    def value(score: Any) -> str:
        return f"{score['mean']:.4f} ± {score['sd']:.4f}" if seeds else f"{score:.4f}"

    scores = ", ".join(f"{name} {value(test[name])}" for name in metrics if name in test)
    spread = f" (mean ± standard deviation of seeds {seeds[0]} to {seeds[-1]})" if seeds else ""
    share, *other_shares = (
        part["mean"] if isinstance(part, dict) else part
        for part in (
            scores.get("unknown_share", 0.0)
            for scores in (test, result.get("validation", {}), result.get("data", {}))
        )
    )
    parts = zip(("validation", "training"), other_shares, strict=True)
    others = ", ".join(f"{part:.1%} of the {name} part" for name, part in parts if part)
    unknown = f", {share:.1%} of the tokens unknown" if share else ""
    unknown += f" ({others})" if share and others else ""
    return f"test {scores} on {test['rows']} {unit}{spread}{unknown}"
