"""The pages that say what was found, of which the parts between two marks are rendered.

    <!-- runs: begin -->
    <!-- runs: end -->

in the experiment's README.md holds the table of runs.jsonl. Marks with the name of a sentence of
experiment.toml hold that sentence. Marks with the name of the experiment, `experiments/lesson` say,
in the README.md where the command is typed, hold a shorter table; they have to be there where an
entry says what it is about. `rnnjax.experiment.page_rendering` says how a script renders more. The
docstring of a config that names the experiment holds the sentence of `sentence`, wrapped as it may
be.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.experiment import seed_plot
from rnnjax.experiment.claims import in_words
from rnnjax.experiment.page_rendering import README, fill_pages, write_pages
from rnnjax.experiment.plan import PLAN, Entry, Experiment
from rnnjax.experiment.records import Run, number
from rnnjax.experiment.sentence_templates import fill_sentences
from rnnjax.reporting import markdown
from rnnjax.reporting.atomic_files import write_text
from rnnjax.reporting.statistics import interval_of_score

PLOT = "seeds.svg"


def parts(experiment: Experiment) -> dict[str, str]:
    """Returns the parts that are rendered from the runs of an experiment, by their names.

    Raises:
      InputError: the experiment has no README.md, or a run has not a score that is to be shown.
    """
    _check_there(experiment.records, experiment.runs, experiment.plan.scores)
    markdown.read(experiment.folder / README)
    found = {"runs": table(experiment), **fill_sentences(experiment)}
    if Path(README).exists() and _is_quoted(experiment, Path(README)):
        found[experiment.name] = quotation(experiment)
    if experiment.runs:
        found[PLOT] = seed_plot.described(experiment)
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


def fill(experiment: Experiment) -> dict[Path, str]:
    """Returns the text that each page of an experiment should have, as far as its runs render it.

    Raises:
      InputError: a page has not the marks it should have, or as of `parts`.
    """
    return fill_pages(experiment.folder, parts(experiment))


def write(experiment: Experiment) -> None:
    """Renders the pages of an experiment, and draws its plot if there are runs."""
    write_pages(experiment.folder, parts(experiment))
    if experiment.runs:
        write_text(experiment.folder / PLOT, seed_plot.drawing(experiment))


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
        *(["training seconds, median"] if experiment.plan.timed else []),
        *_peers(experiment),
    ]
    rows = []
    for entry, runs in _with_runs(experiment):
        values = _values(runs, score)
        low, high = interval_of_score(values, score)
        mean, *spread = _mean_and_sd(values).split(" ", 1)
        rows.append(
            [
                f"`{entry.name}`",
                f"{runs[0]['parameters']:,}",
                " ".join([f"**{mean}**", *spread]),
                f"{low:.4f} to {high:.4f}" if len(runs) > 1 else "",
                " ".join(f"{value:.4f}" for value in values),
                *(f"{statistics.mean(_values(runs, other)):.4f}" for other in rest),
                *([_seconds(runs)] if experiment.plan.timed else []),
                *(entry.beside.get(name, "") for name in _peers(experiment)),
            ]
        )
    timed = "Seconds are those of runs with no other beside them, on"
    caption = (
        f"{_rows_and_seeds(experiment)} sd is the standard deviation; the interval is of the mean, "
        "by Student's t, cut to the range of the score. "
        f"{timed if experiment.plan.timed else 'Trained on'} "
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


def sentence(experiment: Experiment, entry: Entry) -> str:
    """Returns what the docstring of an entry's config says of its runs."""
    runs, score = experiment.runs_of(entry), experiment.plan.scores[0]
    return (
        f"{experiment.name}, {entry.name}: {runs[0]['parameters']:,} parameters, "
        f"{runs[0]['data']['rows']['train']:,} training rows, test {_in_words(score)} "
        f"{_mean_and_sd(_values(runs, score))} (mean ± sd of seeds {_seeds(runs)})."
    )


def sentences(experiment: Experiment) -> dict[Path, list[str]]:
    """Returns the sentences of entries that have runs, by the file of their config."""
    found: dict[Path, list[str]] = {}
    for entry, _ in _with_runs(experiment):
        found.setdefault(Path(entry.config), []).append(sentence(experiment, entry))
    return found


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
