"""Parts of pages that are rendered from the recorded runs, between marks.

    <!-- runs: begin -->
    <!-- runs: end -->

in the experiment's README.md enclose the table of runs.jsonl, and marks with the name `sweep` that
of search.jsonl. Marks with the name of a sentence of experiment.toml enclose that sentence. Marks
with the name of the experiment, `experiments/lesson` say, in README.md, configs/README.md or
experiments/README.md of the working directory enclose a shorter table; one of them is required to
have them where an entry has `about`. `rnnjax.experiment.page_rendering` renders parts by a script.
The docstring of a config that names the experiment has to quote `sentence`, with any line breaks.

A value in a sentence is `{entry.path.statistic:format}`: the name of an entry, the path of a number
in a line of runs.jsonl, a statistic of it over the seeds, and a format of Python. A divisor may
precede the format, `{gru.cpu_seconds.max/60:.1f}` for minutes.
"""

import re
import statistics
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.experiment import seed_plot, sweep_page
from rnnjax.experiment.claims import format_seeds
from rnnjax.experiment.page_rendering import (
    README,
    fill_pages,
    find_summary_pages,
    write_pages,
)
from rnnjax.experiment.plan import PLAN, Entry, Experiment
from rnnjax.experiment.records import Run, number
from rnnjax.reporting import markdown
from rnnjax.reporting.atomic_files import write_text
from rnnjax.reporting.statistics import mean_interval

PLOT = "seeds.svg"
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "max": max,
    "mean": statistics.mean,
    "median": statistics.median,
    "sum": sum,
}
_VALUE = re.compile(r"\{(\w+)\.([\w.]+)\.(\w+)(?:/(\d+))?(?::([^{}]*))?\}")
_WIDTH = 100


def parts(experiment: Experiment) -> dict[str, str]:
    """Renders the parts of an experiment's pages, by the names of their marks.

    Raises:
      InputError: the experiment has no README.md, or a run lacks a score of the table.
    """
    _check_scores(experiment.records, experiment.runs, experiment.plan.scores)
    markdown.read(experiment.folder / README)
    rendered = {"runs": table(experiment), **fill_sentences(experiment)}
    if Path(README).exists() and _has_summary(experiment):
        rendered[experiment.name] = summary_table(experiment)
    if experiment.runs:
        rendered[PLOT] = seed_plot.describe(experiment)
    if experiment.plan.sweep:
        rendered["sweep"] = sweep_page.table(experiment)
    if experiment.trials:
        rendered[sweep_page.PLOT] = sweep_page.describe(experiment)
    return rendered


def _check_scores(path: Path, runs: Sequence[Run], scores: Sequence[str]) -> None:
    for line, run in enumerate(runs, start=1):
        for score in scores:
            if number(run, f"test.{score}") is None:
                raise InputError(
                    f"{path}, line {line}: the test part has no {score}, which {PLAN} shows "
                    f"(scores); it has {', '.join(run['test'])}"
                )


def _has_summary(experiment: Experiment) -> bool:
    """Returns whether a page has, or should have, the shorter table."""
    pages = find_summary_pages(experiment.folder)
    return any(entry.about for entry in experiment.plan.entry) or any(
        markdown.begin(experiment.name) in markdown.read(page) for page in pages
    )


def fill(experiment: Experiment) -> dict[Path, str]:
    """Returns the expected text of each page of an experiment.

    Raises:
      InputError: a page lacks a mark, or as of `parts`.
    """
    return fill_pages(experiment.folder, parts(experiment))


def write(experiment: Experiment) -> None:
    """Renders the pages of an experiment, and the plots of its runs and trials if there are any."""
    write_pages(experiment.folder, parts(experiment))
    if experiment.runs:
        write_text(experiment.folder / PLOT, seed_plot.draw(experiment))
    if experiment.trials:
        write_text(experiment.folder / sweep_page.PLOT, sweep_page.draw(experiment))


def table(experiment: Experiment) -> str:
    """Renders the runs as a Markdown table, a row for each entry, with a caption and the plot."""
    if not experiment.runs:
        return "There are no runs yet."
    score, *rest = experiment.plan.scores
    heads = [
        "config",
        "parameters",
        f"test {_display_name(score)}, mean ± sd",
        "95 % interval",
        "by seed",
        *map(_display_name, rest),
        *(["training seconds, median"] if experiment.plan.timed else []),
        *_peers(experiment),
    ]
    rows = []
    for entry, runs in _with_runs(experiment):
        values = _values(runs, score)
        low, high = mean_interval(values, score)
        mean, *spread = _mean_and_sd(values).split(" ", 1)
        rows.append(
            [
                f"`{entry.name}`",
                f"{runs[0]['parameters']:,}",
                " ".join([f"**{mean}**", *spread]),
                f"{low:.4f} to {high:.4f}" if len(runs) > 1 else "",
                " ".join(f"{value:.4f}" for value in values),
                *(f"{statistics.mean(_values(runs, name)):.4f}" for name in rest),
                *([_seconds(runs)] if experiment.plan.timed else []),
                *(entry.beside.get(name, "") for name in _peers(experiment)),
            ]
        )
    timed = "Seconds are those of runs with no other beside them, on"
    caption = (
        f"{_describe_runs(experiment)} sd is the standard deviation; the interval is of the mean, "
        "by Student's t, cut to the range of the score. "
        f"{timed if experiment.plan.timed else 'Trained on'} "
        f"{'; '.join(_machines(experiment.runs))}."
    )
    plot = f"![Test {_display_name(score)} by seed]({PLOT})"
    return f"{markdown.table(heads, rows)}\n\n{caption}\n\n{plot}"


def summary_table(experiment: Experiment) -> str:
    """Renders a shorter table, for the pages above the experiments."""
    score = experiment.plan.scores[0]
    heads = ["config", "network", f"test {_display_name(score)}, mean ± sd", "trained in"]
    heads += _peers(experiment)
    rows = [
        [
            f"`{entry.name}`",
            entry.about,
            _mean_and_sd(_values(runs, score)),
            _training_time(experiment, runs),
            *(entry.beside.get(name, "") for name in _peers(experiment)),
        ]
        for entry, runs in _with_runs(experiment)
    ]
    return f"{markdown.table(heads, rows)}\n\n{_describe_runs(experiment)}"


def sentence(experiment: Experiment, entry: Entry) -> str:
    """Renders the sentence that the docstring of an entry's config has to quote."""
    runs, score = experiment.runs_of(entry), experiment.plan.scores[0]
    duration = _training_time(experiment, runs)
    return (
        f"{experiment.name}, {entry.name}: {runs[0]['parameters']:,} parameters, "
        f"{runs[0]['data']['rows']['train']:,} training rows, test {_display_name(score)} "
        f"{_mean_and_sd(_values(runs, score))} (mean ± sd of seeds {_seeds(runs)})"
        f"{', trained in ' if duration else ''}{duration}."
    )


def _training_time(experiment: Experiment, runs: Sequence[Run]) -> str:
    """Returns the median training time of runs that were alone, else their processor time.

    An experiment that is not `timed` had other work beside its runs, each of which was alone only
    among them.
    """
    complete = [run for run in runs if not run["resumed_from"]]
    is_timed = experiment.plan.timed
    alone = [run["train_seconds"] for run in complete if is_timed and run.get("alone")]
    seconds = alone or [run["cpu_seconds"] for run in complete if "cpu_seconds" in run]
    if not seconds:
        return ""
    median = statistics.median(seconds)
    duration = f"{median:.0f} s" if median < 60 else f"{median / 60:.0f} min"
    kind = "" if alone else " of processor time"
    return f"{duration}{kind} on {' or '.join(dict.fromkeys(map(_processor, runs)))}"


def sentences(experiment: Experiment) -> dict[Path, list[str]]:
    """Renders the sentences of entries with runs, by the file of their config."""
    by_config: dict[Path, list[str]] = {}
    for entry, _ in _with_runs(experiment):
        by_config.setdefault(Path(entry.config), []).append(sentence(experiment, entry))
    return by_config


def fill_sentences(experiment: Experiment) -> dict[str, str]:
    """Fills the sentences of experiment.toml with their values, wrapped, by their names.

    Raises:
      InputError: a value is none of the runs.
    """

    def fill_value(match: re.Match[str]) -> str:
        name, path, statistic, divisor, spec = match.groups()
        runs = [run for run in experiment.runs if run["name"] == name]
        if not runs and name in [entry.name for entry in experiment.plan.entry]:
            return "?"  # the entry has no runs yet
        runs.sort(key=lambda run: run["seed"])
        values = [value for run in runs if (value := number(run, path)) is not None]
        if statistic not in (*STATISTICS, "each") or not values or len(values) < len(runs):
            raise InputError(
                f"{experiment.folder / PLAN}: {match[0]} is no value of the runs; expected "
                "{entry.path.statistic:format}, {gru.cpu_seconds.max:.0f} say, with a statistic of "
                f"{', '.join(STATISTICS)} or each"
            )
        scaled = [value / int(divisor or 1) for value in values]
        results = scaled if statistic == "each" else [STATISTICS[statistic](scaled)]
        try:
            return " ".join(format(result, spec or "") for result in results)
        except ValueError as error:
            raise InputError(f"{experiment.folder / PLAN}: {match[0]}: {error}") from None

    return {
        name: textwrap.fill(
            _VALUE.sub(fill_value, " ".join(template.split())),
            _WIDTH,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, template in experiment.plan.sentences.items()
    }


def _with_runs(experiment: Experiment) -> list[tuple[Entry, list[Run]]]:
    pairs = [(entry, experiment.runs_of(entry)) for entry in experiment.plan.entry]
    return [(entry, runs) for entry, runs in pairs if runs]


def _peers(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(name for entry in experiment.plan.entry for name in entry.beside))


def _values(runs: Sequence[Run], score: str) -> list[float]:
    return [run["test"][score] for run in runs]


def _display_name(score: str) -> str:
    return {"macro_f1": "macro-F1", "bleu": "BLEU", "chrf": "chrF"}.get(score, score)


def _mean_and_sd(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def _seeds(runs: Sequence[Run]) -> str:
    return format_seeds([run["seed"] for run in runs])


def _describe_runs(experiment: Experiment) -> str:
    """Describes the data and the seeds of the runs."""
    pairs = _with_runs(experiment)
    data = dict.fromkeys(
        f"Trained on {run['data']['rows']['train']:,} rows and tested on {run['test']['rows']:,} "
        f"of `{run['data']['name']}`, fingerprint `{run['data']['fingerprint'][:12]}`."
        for _, runs in pairs
        for run in runs
    )
    seeds: dict[str, list[str]] = {}
    for entry, runs in pairs:
        seeds.setdefault(_seeds(runs), []).append(f"`{entry.name}`")
    shared = len(seeds) == 1
    texts = [text if shared else f"{text} of {', '.join(names)}" for text, names in seeds.items()]
    return " ".join([*data, f"Seeds {'; '.join(texts)}."])


def _machines(runs: Sequence[Run]) -> list[str]:
    """Returns each machine that occurs: its kind, its cores, its accelerators if it has any."""
    pairs = zip(runs, map(_processor, runs), strict=True)
    return list(dict.fromkeys(f"{run['environment']['platform']}, {name}" for run, name in pairs))


def _processor(run: Run) -> str:
    """Returns the cores and the accelerators that a run had."""
    environment = run["environment"]
    kinds = sorted({device.partition(" ")[2] for device in environment["devices"]} - {"cpu"})
    return ", ".join([f"{environment['cpus']} CPU cores", *kinds])


def _seconds(runs: Sequence[Run]) -> str:
    """Returns the median time of runs in one process that had no other beside it."""
    seconds = [run["train_seconds"] for run in runs if run["alone"] and not run["resumed_from"]]
    return f"{statistics.median(seconds):.1f}" if seconds else ""
