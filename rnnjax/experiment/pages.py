"""The pages that say what was found, of which the parts between two marks are rendered.

    <!-- runs: begin -->
    <!-- runs: end -->

in the experiment's README.md holds the table of runs.jsonl. Marks with the name of another file of
runs in the folder, `rounding` for rounding.jsonl say, hold its scores by seed: runs that were made
otherwise than by this command. Marks with the name of the experiment, `experiments/lesson` say, in
the README.md where the command is typed, hold a shorter table; they have to be there where an entry
says what it is about. The docstring of a config that names
the experiment holds the sentence of `sentence`, wrapped as it may be.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.experiment import plot
from rnnjax.experiment.claims import in_words
from rnnjax.experiment.folder import PLAN, Entry, Experiment
from rnnjax.experiment.records import Run, number, read_runs
from rnnjax.reporting import markdown
from rnnjax.reporting.files import write_text
from rnnjax.reporting.statistics import interval_of_mean

README = "README.md"
PLOT = "seeds.svg"


def pages(experiment: Experiment) -> dict[Path, str]:
    """Returns the text that each page of an experiment should have.

    Raises:
      InputError: the experiment has no README.md, a page has not the marks it should have, or a run
        has not a score that is to be shown.
    """
    own, above = experiment.folder / README, Path(README)
    first, *_ = scores = experiment.plan.scores
    _check_there(experiment.records, experiment.runs, scores)
    runs = {}
    for name, other in others(experiment).items():
        _check_there(experiment.folder / f"{name}.jsonl", other, [first])
        runs[name] = by_seed(other, first)
    found = {own: markdown.filled(own, {"runs": table(experiment), **runs})}
    if above.exists() and _is_quoted(experiment, above):
        found[above] = markdown.filled(above, {experiment.name: quotation(experiment)})
    return found


def _check_there(path: Path, runs: Sequence[Run], scores: Sequence[str]) -> None:
    for line, run in enumerate(runs, start=1):
        for score in scores:
            if number(run, f"test.{score}") is None:
                raise InputError(
                    f"{path}, line {line}: the test part has no {score}, which {PLAN} shows "
                    f"(scores); it has {', '.join(run['test'])}"
                )


def _is_quoted(experiment: Experiment, page: Path) -> bool:
    """Returns whether a page should have the shorter table."""
    told = any(entry.about for entry in experiment.plan.entry)
    return told or markdown.begin(experiment.name) in markdown.read(page)


def write(experiment: Experiment) -> None:
    """Renders the pages of an experiment, and draws its plot if there are runs."""
    for path, text in pages(experiment).items():
        write_text(path, text)
    if experiment.runs:
        write_text(experiment.folder / PLOT, plot.drawing(experiment))


def others(experiment: Experiment) -> dict[str, list[Run]]:
    """Returns the other files of runs that the experiment's README.md shows, by their names."""
    text = markdown.read(experiment.folder / README)
    return {
        path.stem: read_runs(path)
        for path in sorted(experiment.folder.glob("*.jsonl"))
        if path != experiment.records and markdown.begin(path.stem) in text
    }


def table(experiment: Experiment) -> str:
    """Returns the runs as a Markdown table, a row for each entry, with a caption and the plot."""
    if not experiment.runs:
        return "There are no runs yet."
    score, *rest = experiment.plan.scores
    heads = [
        "config",
        "parameters",
        f"test {_in_words(score)}, mean ± sd",
        "95 % interval",
        "by seed",
        *map(_in_words, rest),
        "training seconds, median",
        *_peers(experiment),
    ]
    rows = []
    for entry, runs in _with_runs(experiment):
        values = _values(runs, score)
        low, high = interval_of_mean(values)
        mean, *spread = _mean_and_sd(values).split(" ", 1)
        rows.append(
            [
                f"`{entry.name}`",
                f"{runs[0]['parameters']:,}",
                " ".join([f"**{mean}**", *spread]),
                f"{low:.4f} to {high:.4f}" if len(runs) > 1 else "",
                " ".join(f"{value:.4f}" for value in values),
                *(f"{statistics.mean(_values(runs, other)):.4f}" for other in rest),
                _seconds(runs),
                *(entry.beside.get(name, "") for name in _peers(experiment)),
            ]
        )
    caption = (
        f"{_rows_and_seeds(experiment)} sd is the standard deviation; the interval is of the mean, "
        "by Student's t. Seconds are those of runs with no other beside them, on "
        f"{'; '.join(_machines(experiment.runs))}."
    )
    shown = f"![Test {_in_words(score)} by seed]({PLOT})"
    return f"{markdown.table(heads, rows)}\n\n{caption}\n\n{shown}"


def quotation(experiment: Experiment) -> str:
    """Returns a shorter table, for another page."""
    score = experiment.plan.scores[0]
    heads = ["config", "network", f"test {_in_words(score)}, mean ± sd", *_peers(experiment)]
    rows = [
        [
            f"`{entry.name}`",
            entry.about,
            _mean_and_sd(_values(runs, score)),
            *(entry.beside.get(name, "") for name in _peers(experiment)),
        ]
        for entry, runs in _with_runs(experiment)
    ]
    return f"{markdown.table(heads, rows)}\n\n{_rows_and_seeds(experiment)}"


def by_seed(runs: Sequence[Run], score: str) -> str:
    """Returns a test score as a Markdown table, a row a name, a column a seed, and their mean."""
    seeds = sorted({run["seed"] for run in runs})
    scores = {(run["name"], run["seed"]): run["test"][score] for run in runs}
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        own = [f"{scores[name, seed]:.4f}" if (name, seed) in scores else "" for seed in seeds]
        of_name = [run for run in runs if run["name"] == name]
        rows.append([name, *own, _mean_and_sd(_values(of_name, score))])
    heads = [f"test {_in_words(score)}", *(f"seed {seed}" for seed in seeds), "mean ± sd"]
    return markdown.table(heads, rows)


def sentence(experiment: Experiment, entry: Entry) -> str:
    """Returns what the docstring of an entry's config says of its runs."""
    runs, score = experiment.runs_of(entry), experiment.plan.scores[0]
    return (
        f"{experiment.name}, {entry.name}: {runs[0]['parameters']:,} parameters, "
        f"{runs[0]['data']['rows']['train']:,} training rows, test {_in_words(score)} "
        f"{_mean_and_sd(_values(runs, score))} (mean ± sd of seeds {_seeds(runs)})."
    )


def _with_runs(experiment: Experiment) -> list[tuple[Entry, list[Run]]]:
    pairs = [(entry, experiment.runs_of(entry)) for entry in experiment.plan.entry]
    return [(entry, runs) for entry, runs in pairs if runs]


def _peers(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(name for entry in experiment.plan.entry for name in entry.beside))


def _values(runs: Sequence[Run], score: str) -> list[float]:
    return [run["test"][score] for run in runs]


def _in_words(score: str) -> str:
    return {"macro_f1": "macro-F1", "bleu": "BLEU", "chrf": "chrF"}.get(score, score)


def _mean_and_sd(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def _seeds(runs: Sequence[Run]) -> str:
    return in_words([run["seed"] for run in runs])


def _rows_and_seeds(experiment: Experiment) -> str:
    """Returns on what and how often was trained, each that occurs."""
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
    alike = len(seeds) == 1
    each = [f"{own}" if alike else f"{own} of {', '.join(of)}" for own, of in seeds.items()]
    return " ".join([*data, f"Seeds {'; '.join(each)}."])


def _machines(runs: Sequence[Run]) -> list[str]:
    """Returns each machine that occurs: its kind, its cores, its accelerators if it has any."""
    found = []
    for used in (run["environment"] for run in runs):
        kinds = sorted({each.partition(" ")[2] for each in used["devices"]} - {"cpu"})
        found.append(", ".join([used["platform"], f"{used['cpus']} CPU cores", *kinds]))
    return list(dict.fromkeys(found))


def _seconds(runs: Sequence[Run]) -> str:
    """Returns the median of the runs that one process trained from the start, alone.

    A record from before runs could be side by side says nothing of it: that one was alone.
    """
    whole = [
        run["train_seconds"] for run in runs if run.get("alone", True) and not run["resumed_from"]
    ]
    return f"{statistics.median(whole):.1f}" if whole else ""
