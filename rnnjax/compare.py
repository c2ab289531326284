"""Compares runs over their seeds: the first group of runs with each of the others.

    rnnjax compare experiments/lesson:gru experiments/lesson:bilstm
    rnnjax compare experiments/lesson:gru experiments/lesson --metric=test.loss
    rnnjax compare 'runs/gru-seed*' runs/five-replicates --plot=difference.svg --json

Prints the difference, its significance, the minimum detectable effect of these runs, and the
differences of their configs and environments. Runs of the same seeds are paired. On fewer than five
seeds there is no verdict. `rnnjax.reporting.statistics` explains the tests.
"""

import argparse

from rnnjax import paths
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, path
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.reporting import run_groups
from rnnjax.reporting.atomic_files import encode_json, write_text
from rnnjax.reporting.run_comparison import compare_groups

POSITIONAL = "RUNS RUNS [RUNS ...]"


def add_flags(parser: Parser) -> None:
    """Adds --metric, --json and --plot."""
    parser.add_argument(
        "--metric",
        default="test.accuracy",
        help="The score to compare: test.loss, test.macro_f1, validation.accuracy and so on. "
        "Default: test.accuracy.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--plot", type=path, metavar="FILE", help="Draw it in this .svg file.")


def main(args: argparse.Namespace) -> None:
    """Prints the differences between the first runs and each of the others."""
    metric, plot = args.metric, args.plot
    if plot and (plot.suffix != ".svg" or not plot.parent.is_dir()):
        raise InputError(f"--plot={plot}: expected a file that ends in .svg, in a folder that is")
    groups = run_groups.read_run_groups([paths.expand(name) for name in args.positional])
    if len(groups) < 2:
        same = ", which are the same runs" if len(args.positional) > 1 else ""
        raise InputError(
            f"given {args.positional}{same}; expected two or more different groups; of each "
            f"{run_groups.RUNS}"
        )
    comparison = compare_groups(groups, metric)
    if plot:
        write_text(plot, comparison.svg())
    write_output(encode_json(comparison.values(), indent=2) if args.json else str(comparison))


if __name__ == "__main__":
    launch("compare")
