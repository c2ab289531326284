"""Names what spoils recurrent experiments, before it is run.

    python -m rnnjax.lint configs/lstm.py
    python -m rnnjax.lint configs/*.py experiments/lesson
    python -m rnnjax.lint --rules

Looks at config files, and in the folders of experiments at every entry and at how they compare.
What only the data can tell is looked for when a run begins. What a config acknowledges, by a
reason in `config.acknowledged`, is listed and does no harm; where a config is looked at by itself,
a reason for what is not there is a finding too. Ends with status 1 where something was found, and
with 2 where something cannot be read.
"""

import inspect
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rnnjax import command, lint_rules, paths
from rnnjax import config as config_lib
from rnnjax.config import AcknowledgedConfig
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment.plan import Experiment
from rnnjax.input_files import open_regular
from rnnjax.lint_rules import RULES, LintFinding

_RULES = flags.DEFINE_bool("rules", False, "Print every rule and what breaking it has cost.")

_PLACES: dict[lint_rules.Place, str] = {
    "config": "In a config",
    "claim": "In the docstring of a config",
    "data": "In what a run reads, when it begins",
    "experiment": "In an experiment",
}


def main(arguments: list[str]) -> None:
    """Looks at the files and folders that are given."""
    if _RULES.value:
        write_output(told())
        return
    if not arguments:
        raise InputError(
            "nothing is given; expected config files or folders of experiments: configs/lstm.py "
            "experiments/lesson"
        )
    found = [each for path in arguments for each in look(Path(paths.expand(path)))]
    for where, (rule, says, reason) in found:
        write_output(f"{where}: {rule}: {f'acknowledged: {reason}' if reason else says}")
    if not all(finding.reason for _, finding in found):
        sys.exit(1)


def look(path: Path) -> list[tuple[str, LintFinding]]:
    """Returns what the rules find in a config file or in the folder of an experiment, and where.

    Raises:
      InputError: it is neither.
    """
    return _in_experiment(path) if path.is_dir() else _in_config(path)


def told() -> str:
    """Returns every rule, and what needs none, as text."""
    parts = []
    for place, heading in _PLACES.items():
        parts.append(f"{heading}:")
        for rule in RULES[place]:
            said = f"{rule.__name__}\n{inspect.getdoc(rule)}".replace("\n", "\n    ")
            parts.append("  " + "\n".join(line.rstrip() for line in said.splitlines()))
    parts.append("No config can say:")
    parts += [
        f"  {each.mistake}\n    {each.because}\n    {each.test}"
        for each in lint_rules.TESTED_MISTAKES
    ]
    return "\n\n".join(parts)


def _in_config(path: Path) -> list[tuple[str, LintFinding]]:
    try:
        open_regular(path).close()  # Python would wait for the writer of a pipe
        names = runpy.run_path(str(path))
        values = names["get_config"]().to_dict()
    except Exception as error:  # whatever the file raises
        raise InputError(
            f"{path}: expected a Python file with a get_config() that returns a ConfigDict, or the "
            f"folder of an experiment. It said: {type(error).__name__}: {command.in_short(error)}"
        ) from error
    config = config_lib.parse(values, str(path))
    found = lint_rules.find("config", config.acknowledged, config)
    found += lint_rules.find("claim", config.acknowledged, names["__doc__"] or "")
    found += _unused(config.acknowledged, ("config", "claim"), found)
    return [(str(path), finding) for finding in found]


def _in_experiment(folder: Path) -> list[tuple[str, LintFinding]]:
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    found = []
    for name, config in configs.items():
        own = lint_rules.find("config", config.acknowledged, config)
        own += lint_rules.find(
            "experiment", config.acknowledged, name, configs, experiment.plan.seeds
        )
        found += [(f"{folder}, {name}", finding) for finding in own]
    return found


def _unused(
    acknowledged: AcknowledgedConfig,
    places: Sequence[lint_rules.Place],
    found: Sequence[LintFinding],
) -> list[LintFinding]:
    """Returns a finding for each reason for what was looked for and is not there."""
    looked_for = {rule.__name__ for place in places for rule in RULES[place]}
    needless = looked_for - {finding.rule for finding in found}
    return [
        LintFinding(name, f"is not there; take its reason away ({reason})", "")
        for name, reason in acknowledged
        if reason and name in needless
    ]


if __name__ == "__main__":
    command.run(main)
