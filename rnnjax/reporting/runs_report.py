"""Pages over several runs: curves overlaid, scores with intervals, differing keys; and an index."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from rnnjax.config import flat
from rnnjax.reporting import plots, run_files
from rnnjax.reporting.run_report import REPORT, wilson
from rnnjax.reporting.templates import fill

INDEX = "index.html"
_MAX_RUNS = 8
"""Most runs on a page, as many as there are colours."""
_SEED = "seed"


class RunSummary(NamedTuple):
    """A run on a page over several.

    Attributes:
      name: short and unique among them.
      folder: of the run.
      record: its files.
      metric: name of its most important test score; '' if it has none.
      score: the value; None if the run has not finished.
      interval: 95 % interval over the test rows, where the score is a share of them.
    """

    name: str
    folder: Path
    record: run_files.Record
    metric: str
    score: float | None
    interval: tuple[float, float] | None

    @property
    def config(self) -> dict[str, Any]:
        """The keys of the config with their values, by dotted path."""
        return dict(flat(self.record.config.config))


class SeedMean(NamedTuple):
    """The mean score of runs that differ in their seeds alone."""

    names: str
    mean: float
    sd: float
    interval: tuple[float, float]


def find_runs(folder: Path) -> list[Path]:
    """Returns the folders of runs in a folder, one or two levels below it, replicates included."""
    configs = [*folder.glob(f"*/{run_files.CONFIG}"), *folder.glob(f"*/*/{run_files.CONFIG}")]
    return sorted(path.parent for path in configs if (path.parent / run_files.METRICS).exists())


def summarize(
    folder: Path, name: str, metrics: Sequence[str], is_share_of_rows: bool
) -> RunSummary:
    """Reads a run, finished or not.

    Args:
      folder: of the run.
      name: on the page.
      metrics: names of its test scores, the most important one first.
      is_share_of_rows: whether an accuracy counts test rows.

    Raises:
      InputError: a file is missing or damaged.
    """
    finished = (folder / run_files.RESULT).exists()
    record = run_files.read(folder) if finished else run_files.read_unfinished(folder)
    scores = record.result.test.values()
    metric = next((key for key in metrics if scores.get(key) is not None), "")
    score = float(scores[metric]) if metric else None
    interval = None
    if metric == "accuracy" and is_share_of_rows and (limits := wilson(score, scores.get("rows"))):
        interval = limits.low, limits.high
    return RunSummary(name, folder, record, metric, score, interval)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Returns the last parts of paths, as many as tell them apart."""
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return list(map(str, folders))


def render_runs(title: str, runs: Sequence[RunSummary]) -> str:
    """Renders the page that compares runs.

    Args:
      title: of the page.
      runs: at most eight are drawn; the tables have all.
    """
    drawn = runs[:_MAX_RUNS]
    curves = []
    for name in ("loss", "accuracy"):
        lines = {
            run.name: [
                plots.series(run.record.metrics, split, name) for split in ("train", "validation")
            ]
            for run in drawn
        }
        if any(len(part.steps) for parts in lines.values() for part in parts):
            curves.append((name, plots.overlay(name, lines, name == "accuracy")))
    return fill(
        "runs.html.j2",
        title=title,
        runs=runs,
        drawn=drawn,
        curves=curves,
        means=seed_means(runs),
        differences=differing_keys(runs),
        colour_class=_colour_class,
    )


def render_index(folder: Path, runs: Sequence[RunSummary], failures: Mapping[str, str]) -> str:
    """Renders the index of a folder of runs, the newest first.

    Args:
      folder: which the links are relative to.
      runs: in it.
      failures: reasons why a run could not be read, by its folder.
    """
    newest = sorted(runs, key=lambda run: run.record.environment.started, reverse=True)
    return fill(
        "index.html.j2",
        title=f"Runs in {folder}",
        runs=newest,
        failures=failures,
        means=seed_means(runs),
        reports={
            run.name: Markup.escape((run.folder / REPORT).relative_to(folder).as_posix())
            for run in runs
            if (run.folder / REPORT).exists()
        },
    )


def differing_keys(runs: Sequence[RunSummary]) -> list[tuple[str, list[str]]]:
    """Returns each key in which configs differ, with its value in each run."""
    configs = [run.config for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [(key, [str(config.get(key, "")) for config in configs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def seed_means(runs: Sequence[RunSummary]) -> list[SeedMean]:
    """Returns the means over runs of one config, data and metric that differ in their seeds."""
    from rnnjax.reporting.statistics import mean_interval  # scipy.stats takes most of a second

    groups: dict[Any, list[RunSummary]] = {}
    for run in runs:
        if run.score is not None:
            config = {key: str(value) for key, value in run.config.items() if key != _SEED}
            key = run.record.data.fingerprint, run.metric, tuple(sorted(config.items()))
            groups.setdefault(key, []).append(run)
    means = []
    for members in groups.values():
        scores = [run.score for run in members if run.score is not None]
        if len({run.config.get(_SEED) for run in members}) == len(members) > 1:
            interval = mean_interval(np.array(scores), members[0].metric)
            names = f"{members[0].metric} of {', '.join(run.name for run in members)}"
            mean, sd = statistics.mean(scores), statistics.stdev(scores)
            means.append(SeedMean(names, mean, sd, (interval.low, interval.high)))
    return means


def _colour_class(index: int) -> str:
    """Returns the class of the colour of a run."""
    return f"outcome-{index % _MAX_RUNS}"
