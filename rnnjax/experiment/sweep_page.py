"""The table and the plot of a sweep: every setting with its score on the validation part."""

import io
from collections.abc import Mapping
from typing import Any

from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.search import COMPLETE, FAILED, PRUNED, minimized_score
from rnnjax.experiment.sweep_plan import Range, describe_setting
from rnnjax.reporting import markdown

PLOT = "sweep.svg"
_COLUMNS = 3
_ROWS = 20
"""Most settings in the table."""
_SEARCHES = {"grid": "Grid search", "random": "Random search", "tpe": "Search by TPE (Optuna)"}
_COMPLETE_COLOUR, _CHOSEN_COLOUR, _PRUNED_COLOUR = "#4477aa", "#cc3311", "#999999"


def table(experiment: Experiment) -> str:
    """Renders the trials as a Markdown table, the best first, with a caption and the plot."""
    sweep, trials = experiment.sweep, experiment.trials
    if not trials:
        return "There are no trials yet."
    ordered = _ordered(experiment)
    scores = [
        score
        for score in dict.fromkeys([sweep.score, "loss", "accuracy"])
        if any(last_score(trial, score) is not None for trial in trials)
    ]
    rows = [
        [
            str(trial["trial"]),
            *(_format(trial["values"].get(key)) for key in sweep.keys),
            *(_score(trial, score) for score in scores),
            "" if trial["state"] == COMPLETE else trial["state"],
        ]
        for trial in ordered[:_ROWS]
    ]
    heads = ["trial", *sweep.keys, *(f"validation {score}" for score in scores), ""]
    states = [trial["state"] for trial in trials]
    endings = "".join(
        f", {states.count(state)} {state}" for state in (PRUNED, FAILED) if state in states
    )
    rest = f", of which the best {_ROWS} are listed" if len(ordered) > _ROWS else ""
    caption = (
        f"{_SEARCHES[sweep.search]}, {len(trials)} of {sweep.budget} trials{rest}{endings}, with "
        f"seed {sweep.seed}, compared by the {sweep.score} on the validation part."
    )
    if chosen := experiment.chosen:
        caption += f" Trial {chosen['trial']} was chosen: {describe_setting(chosen['values'])}."
    return f"{markdown.table(heads, rows)}\n\n{caption}\n\n![Validation {sweep.score}]({PLOT})"


def _ordered(experiment: Experiment) -> list[dict[str, Any]]:
    """Returns the trials from the best on, then those that were not trained to their end."""
    sweep = experiment.sweep
    better = experiment.trial_config().task_schema.better(sweep.score)

    def rank(trial: Mapping[str, Any]) -> tuple[Any, ...]:
        is_complete = trial["state"] == COMPLETE
        score = minimized_score(sweep, trial, better) if is_complete else 0.0
        return not is_complete, trial["state"], score, trial["trial"]

    return sorted(experiment.trials, key=rank)


def last_score(trial: Mapping[str, Any], score: str) -> float | None:
    """Returns the score of a trial, of its last evaluation if it was pruned; None without any."""
    if "validation" in trial:
        return trial["validation"].get(score)
    evaluations = trial["by_evaluation"]
    return evaluations[-1].get(score) if evaluations else None


def _score(trial: Mapping[str, Any], score: str) -> str:
    value = last_score(trial, score)
    return "" if value is None else f"{value:.4f}"


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(experiment: Experiment) -> str:
    """Draws the score of every setting as SVG, a panel for each key.

    A dot is a trial, a cross one that was pruned, at its last evaluation; the chosen one is red.
    """
    import matplotlib
    from matplotlib.figure import Figure

    sweep = experiment.sweep
    keys = list(sweep.keys)
    columns = min(len(keys), _COLUMNS)
    lines = -(-len(keys) // columns)
    style: dict[Any, Any] = {
        "svg.hashsalt": experiment.name,
        "svg.fonttype": "none",
        "font.size": 9.0,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(2.6 * columns + 0.6, 2.3 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for index, key in enumerate(keys):
            _draw_panel(panels[index // columns][index % columns], experiment, key)
        for axes in panels.ravel()[len(keys) :]:
            axes.set_visible(False)
        for row in panels:
            row[0].set_ylabel(f"validation {sweep.score}")
        file = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": describe(experiment)}
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def _draw_panel(axes: Any, experiment: Experiment, key: str) -> None:
    values = experiment.sweep.keys[key]
    chosen = experiment.chosen["trial"] if experiment.chosen else None
    for trial in experiment.trials:
        score = last_score(trial, experiment.sweep.score)
        if score is None or trial["state"] == FAILED:
            continue
        value = trial["values"][key]
        position = value if isinstance(values, Range) else values.index(value)
        is_complete, is_chosen = trial["state"] == COMPLETE, trial["trial"] == chosen
        marker, colour = ("o", _COMPLETE_COLOUR) if is_complete else ("x", _PRUNED_COLOUR)
        colour = _CHOSEN_COLOUR if is_chosen else colour
        axes.plot(position, score, marker, color=colour, markersize=5, zorder=3 + is_chosen)
    if isinstance(values, Range):
        axes.set_xscale("log" if values.log else "linear")
    else:
        axes.set_xticks(range(len(values)), list(map(_format, values)))
        axes.margins(x=0.2)
    axes.set_xlabel(key)
    axes.grid(linewidth=0.3)
    axes.set_axisbelow(True)


def describe(experiment: Experiment) -> str:
    """Describes the plot in words, for its metadata."""
    score = experiment.sweep.score
    trials = sorted(experiment.trials, key=lambda trial: trial["trial"])
    settings = "; ".join(
        f"{describe_setting(trial['values'])}: {_score(trial, score)} {trial['state']}"
        for trial in trials
    )
    return f"Validation {score} by setting: {settings}"
