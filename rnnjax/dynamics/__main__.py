"""Analyzes how a trained recurrent network remembers: a page, and its numbers as JSON.

    rnnjax dynamics --workdir runs/mine
    rnnjax dynamics --workdir runs/mine --layer 2 --output page.html

For every recurrent layer and direction, on the test data of the run: how far gradients reach, the
Lyapunov exponents, fixed and slow points, gates and units, and linear probes for the class and for
earlier words; of a network without a mask also how its state decays through padding.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, at_least, path
from rnnjax.console import write_output
from rnnjax.errors import InputError


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --layer and --output."""
    add_run_flags(parser)
    parser.add_argument(
        "--layer",
        type=at_least(0),
        default=0,
        metavar="INTEGER",
        help="The number of a layer, from 1; 0, the default, for all.",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="The page to write, with a file of the suffix .json beside it; without it "
        "dynamics.html in the folder of the run.",
    )


def main(args: argparse.Namespace) -> None:
    """Writes the page and the numbers, and prints their paths."""
    from rnnjax.dynamics.analysis import analyze
    from rnnjax.reporting.atomic_files import write_json, write_text
    from rnnjax.training import load_run

    output = args.output or args.workdir / "dynamics.html"
    if args.output and not output.parent.is_dir():
        raise InputError(
            f"--output={output}: there is no folder {output.parent}; make it, then repeat"
        )
    if output.suffix == ".json":
        raise InputError(
            f"--output={output}: given the suffix of the numbers, which stand beside the page; "
            "expected that of a page, .html"
        )
    dynamics = analyze(load_run(args.workdir, args.trust), args.layer)
    write_json(output.with_suffix(".json"), dynamics.values)
    write_text(output, dynamics.html())
    write_output(f"{output}\n{output.with_suffix('.json')}")


if __name__ == "__main__":
    launch("dynamics")
