"""Lints configs and experiments: names common mistakes of recurrent experiments before they run.

    rnnjax lint configs/lstm.py
    rnnjax lint configs/*.py experiments/lesson
    rnnjax lint --rules

Checks config files, and in the folder of an experiment every entry, the comparison of entries and
the sweep.
Mistakes that only the data show are checked when a run starts. Findings with a reason in
`config.acknowledged` are listed and do not count; in a config file by itself, a reason without its
finding is a finding too. Ends with status 1 if there are findings, and with 2 if something cannot
be read.
"""

import argparse
import inspect
import os
from collections.abc import Sequence
from pathlib import Path

from rnnjax import lint_rules, paths
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser
from rnnjax.config import AcknowledgedConfig, load_config
from rnnjax.config.catalog import find_config, read_docstring
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment.plan import Experiment
from rnnjax.lint_rules import RULES, LintFinding

POSITIONAL = "[CONFIG | EXPERIMENT ...]"

_HEADINGS: dict[lint_rules.Place, str] = {
    "config": "In a config",
    "claim": "In the docstring of a config",
    "data": "In the data of a run, when it starts",
    "experiment": "In an experiment",
    "sweep": "In the sweep of an experiment",
}


def add_flags(parser: Parser) -> None:
    """Adds --rules."""
    parser.add_argument(
        "--rules", action="store_true", help="Print every rule and what breaking it has cost."
    )


def main(args: argparse.Namespace) -> int:
    """Prints the findings, and returns the exit status."""
    if args.rules:
        write_output(describe_rules())
        return 0
    if not args.positional:
        raise InputError(
            "given nothing, expected config files or folders of experiments: configs/lstm.py "
            "experiments/lesson"
        )
    findings = [finding for name in args.positional for finding in lint(paths.expand(name))]
    for place, (rule, message, reason) in findings:
        write_output(f"{place}: {rule}: {f'acknowledged: {reason}' if reason else message}")
    return int(not all(finding.reason for _, finding in findings))


def lint(name: str | os.PathLike[str]) -> list[tuple[str, LintFinding]]:
    """Returns the findings in a config, or in the folder of an experiment, each with its place.

    Raises:
      InputError: it is neither.
    """
    folder = Path(name)
    return _lint_experiment(folder) if folder.is_dir() else _lint_config(name)


def describe_rules() -> str:
    """Returns every rule, and the mistakes that need none, as text."""
    paragraphs = []
    for place, heading in _HEADINGS.items():
        paragraphs.append(f"{heading}:")
        for rule in RULES[place]:
            text = f"{rule.__name__}\n{inspect.getdoc(rule)}".replace("\n", "\n    ")
            paragraphs.append("  " + "\n".join(line.rstrip() for line in text.splitlines()))
    paragraphs.append("No config can express:")
    paragraphs += [
        f"  {tested.mistake}\n    {tested.because}\n    {tested.test}"
        for tested in lint_rules.TESTED_MISTAKES
    ]
    return "\n\n".join(paragraphs)


def _lint_config(name: str | os.PathLike[str]) -> list[tuple[str, LintFinding]]:
    path = find_config(name)
    try:
        config = load_config(path)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    findings = lint_rules.find("config", config.acknowledged, config)
    findings += lint_rules.find("claim", config.acknowledged, read_docstring(path))
    findings += _unused_reasons(config.acknowledged, ("config", "claim"), findings)
    return [(str(path), finding) for finding in findings]


def _lint_experiment(folder: Path) -> list[tuple[str, LintFinding]]:
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    findings = []
    for name, config in configs.items():
        of_entry = lint_rules.find("config", config.acknowledged, config)
        of_entry += lint_rules.find(
            "experiment", config.acknowledged, name, configs, experiment.plan.seeds
        )
        findings += [(f"{folder}, {name}", finding) for finding in of_entry]
    if experiment.plan.sweep:
        config = experiment.trial_config()
        of_sweep = lint_rules.find("sweep", config.acknowledged, config)
        findings += [(f"{folder}, sweep", finding) for finding in of_sweep]
    return findings


def _unused_reasons(
    acknowledged: AcknowledgedConfig,
    places: Sequence[lint_rules.Place],
    findings: Sequence[LintFinding],
) -> list[LintFinding]:
    """Returns a finding for each reason whose rule was checked and found nothing."""
    checked = {rule.__name__ for place in places for rule in RULES[place]}
    unused = checked - {finding.rule for finding in findings}
    return [
        LintFinding(name, f"is not there; remove its reason ({reason})", "")
        for name, reason in acknowledged
        if reason and name in unused
    ]


if __name__ == "__main__":
    launch("lint")
