"""Sentences with values of the recorded runs: "A run took {gru.cpu_seconds.max:.0f} seconds".

A value is `{entry.path.statistic:format}`: the name of an entry, the path of a number in a line of
runs.jsonl, a statistic of that number over the seeds, and a format of Python. A factor may stand
before the format, `{gru.cpu_seconds.max/60:.1f}` for minutes.
"""

import re
import statistics
import textwrap
from collections.abc import Callable, Sequence

from rnnjax.errors import InputError
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.records import number

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "max": max,
    "mean": statistics.mean,
    "median": statistics.median,
    "sum": sum,
}
_VALUE = re.compile(r"\{(\w+)\.([\w.]+)\.(\w+)(?:/(\d+))?(?::([^{}]*))?\}")
_WIDTH = 100


def fill_sentences(experiment: Experiment) -> dict[str, str]:
    """Returns the sentences of an experiment with their values, wrapped, by their names.

    Raises:
      InputError: a value is none of the runs.
    """

    def value(match: re.Match[str]) -> str:
        name, path, statistic, divisor, spec = match.groups()
        runs = [run for run in experiment.runs if run["name"] == name]
        if not runs and name in [entry.name for entry in experiment.plan.entry]:
            return "?"  # the entry has no runs yet
        values = [number(run, path) for run in sorted(runs, key=lambda run: run["seed"])]
        known = [each for each in values if each is not None]
        if statistic not in (*STATISTICS, "each") or not known or len(known) < len(values):
            raise InputError(
                f"{experiment.folder / PLAN}: {match[0]} is no value of the runs; expected "
                "{entry.path.statistic:format}, {gru.cpu_seconds.max:.0f} say, with a statistic of "
                f"{', '.join(STATISTICS)} or each"
            )
        scaled = [each / int(divisor or 1) for each in known]
        try:
            if statistic == "each":
                return " ".join(format(each, spec or "") for each in scaled)
            return format(STATISTICS[statistic](scaled), spec or "")
        except ValueError as error:
            raise InputError(f"{experiment.folder / PLAN}: {match[0]}: {error}") from None

    return {
        name: textwrap.fill(
            _VALUE.sub(value, " ".join(template.split())),
            _WIDTH,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, template in experiment.plan.sentences.items()
    }
