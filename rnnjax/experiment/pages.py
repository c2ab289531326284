"""The pages that say what was found, of which the parts between two marks are rendered.

    <!-- runs: begin -->
    <!-- runs: end -->

in the experiment's README.md holds the table of runs.jsonl. Marks with the name of another file of
runs in the folder, `rounding` for rounding.jsonl say, hold its scores by seed: runs that were made
otherwise than by this command. Marks with the name of the experiment, `experiments/lesson` say, in
the README.md where the command is typed, hold a shorter table. The docstring of a config that names
the experiment holds the sentence of `sentence`, wrapped as it may be.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.experiment import plot
from rnnjax.experiment.claims import in_words
from rnnjax.experiment.folder import Entry, Experiment
from rnnjax.experiment.records import Run, read_runs
from rnnjax.reporting.files import write_text
from rnnjax.reporting.statistics import interval_of_mean

README = "README.md"
PLOT = "seeds.svg"


def pages(experiment: Experiment) -> dict[Path, str]:
    """Returns the text that each page of an experiment should have.

    Raises:
      InputError: the experiment has no README.md, or a page has not the marks it should have.
    """
    own, above = experiment.folder / README, Path(README)
    runs = {name: by_seed(other) for name, other in others(experiment).items()}
    found = {own: _filled(own, {"runs": table(experiment), **runs})}
    if above.exists() and _begin(experiment.name) in _read(above):
        found[above] = _filled(above, {experiment.name: quotation(experiment)})
    return found


def write(experiment: Experiment) -> None:
    """Renders the pages of an experiment, and draws its plot if there are runs."""
    for path, text in pages(experiment).items():
        write_text(path, text)
    if experiment.runs:
        write_text(experiment.folder / PLOT, plot.drawing(experiment))


def others(experiment: Experiment) -> dict[str, list[Run]]:
    """Returns the other files of runs that the experiment's README.md shows, by their names."""
    text = _read(experiment.folder / README)
    return {
        path.stem: read_runs(path)
        for path in sorted(experiment.folder.glob("*.jsonl"))
        if path != experiment.records and _begin(path.stem) in text
    }


def table(experiment: Experiment) -> str:
    """Returns the runs as a Markdown table, a row for each entry, with a caption and the plot."""
    if not experiment.runs:
        return "There are no runs yet."
    heads = [
        "config",
        "parameters",
        "test accuracy, mean ± sd",
        "95 % interval",
        "by seed",
    ]
    heads += ["macro-F1", "training seconds, median", *_peers(experiment)]
    rows = []
    for entry, runs in _with_runs(experiment):
        accuracies = _accuracies(runs)
        low, high = interval_of_mean(accuracies)
        mean, *spread = _mean_and_sd(accuracies).split(" ", 1)
        rows.append(
            [
                f"`{entry.name}`",
                f"{runs[0]['parameters']:,}",
                " ".join([f"**{mean}**", *spread]),
                f"{low:.4f} to {high:.4f}" if len(runs) > 1 else "",
                " ".join(f"{accuracy:.4f}" for accuracy in accuracies),
                f"{statistics.mean(run['test']['macro_f1'] for run in runs):.4f}",
                _seconds(runs),
                *(entry.beside.get(name, "") for name in _peers(experiment)),
            ]
        )
    caption = (
        f"{_rows_and_seeds(experiment)} sd is the standard deviation; the interval is of the mean, "
        "by Student's t. Seconds are those of runs with no other beside them, on "
        f"{'; '.join(_machines(experiment.runs))}."
    )
    shown = f"![Test accuracy by seed]({PLOT})"
    return f"{_markdown(heads, rows)}\n\n{caption}\n\n{shown}"


def quotation(experiment: Experiment) -> str:
    """Returns a shorter table, for another page."""
    heads = ["config", "network", "test accuracy, mean ± sd", *_peers(experiment)]
    rows = [
        [
            f"`{entry.name}`",
            entry.about,
            _mean_and_sd(_accuracies(runs)),
            *(entry.beside.get(name, "") for name in _peers(experiment)),
        ]
        for entry, runs in _with_runs(experiment)
    ]
    return f"{_markdown(heads, rows)}\n\n{_rows_and_seeds(experiment)}"


def by_seed(runs: Sequence[Run]) -> str:
    """Returns the test accuracies as a Markdown table, a row a name and a column a seed."""
    seeds = sorted({run["seed"] for run in runs})
    scores = {(run["name"], run["seed"]): run["test"]["accuracy"] for run in runs}
    rows = [
        [name, *(f"{scores[name, seed]:.4f}" if (name, seed) in scores else "" for seed in seeds)]
        for name in dict.fromkeys(run["name"] for run in runs)
    ]
    return _markdown(["test accuracy", *(f"seed {seed}" for seed in seeds)], rows)


def sentence(experiment: Experiment, entry: Entry) -> str:
    """Returns what the docstring of an entry's config says of its runs."""
    runs = experiment.runs_of(entry)
    return (
        f"{experiment.name}, {entry.name}: {runs[0]['parameters']:,} parameters, "
        f"{runs[0]['data']['rows']['train']:,} training rows, test accuracy "
        f"{_mean_and_sd(_accuracies(runs))} (mean ± sd of seeds {_seeds(runs)})."
    )


def _with_runs(experiment: Experiment) -> list[tuple[Entry, list[Run]]]:
    pairs = [(entry, experiment.runs_of(entry)) for entry in experiment.plan.entry]
    return [(entry, runs) for entry, runs in pairs if runs]


def _peers(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(name for entry in experiment.plan.entry for name in entry.beside))


def _accuracies(runs: Sequence[Run]) -> list[float]:
    return [run["test"]["accuracy"] for run in runs]


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


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _begin(name: str) -> str:
    return f"<!-- {name}: begin -->"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); write one that has a line "
            f"{_begin('runs')} and a line {_begin('runs').replace('begin', 'end')}"
        ) from error


def _filled(path: Path, parts: Mapping[str, str]) -> str:
    """Returns a page with each part between its marks."""
    text = _read(path)
    for name, part in parts.items():
        begin, end = _begin(name), f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise InputError(f"{path}: expected one line {begin} and one line {end}")
        before, rest = text.split(begin)
        if end not in rest:
            raise InputError(f"{path}: the line {end} stands before the line {begin}")
        after = rest.split(end)[1]
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text
