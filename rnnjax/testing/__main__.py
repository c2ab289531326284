"""Checks the conformance of a cell, in every engine and direction, or measures its cost.

    rnnjax test-cell my_cell:MyCell
    rnnjax test-cell ConvLSTMCell --inputs 5,5,3
    rnnjax test-cell my_cell:MyCell --skip "finite_differences=surrogate gradient"
    rnnjax test-cell my_cell:MyCell --bench

The cell is named as in a config: `LSTMCell`, `'LSTMCell(peepholes=True)'`, `my_cell:MyCell`. Ends
with status 1 if the cell violates an invariant, and with 2 if the cell cannot be constructed or
refuses the inputs. With --bench nothing is checked: a table compares speed and memory of the cell,
in each engine that this machine has, with SimpleCell and GRUCell.
"""

import argparse
import json
import re

import flax.linen as nn

from rnnjax.cells import make_cell
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, at_least
from rnnjax.console import escape, write_error, write_output
from rnnjax.errors import InputError
from rnnjax.testing.bench import BenchSizes, bench_cell
from rnnjax.testing.conformance import cell_verdict
from rnnjax.testing.conformance_report import CheckResult
from rnnjax.testing.invariants import INVARIANTS

POSITIONAL = "CELL"
_NAME_WIDTH = max(map(len, INVARIANTS))


def add_flags(parser: Parser) -> None:
    """Adds the flags of sizes, skips and output."""
    parser.add_argument(
        "--inputs",
        type=_parse_inputs,
        metavar="SIZES",
        help="Sizes of the feature axes of one step: 3, or 5,5,3 for images of three channels. "
        "Default: 3, with --bench 64.",
    )
    parser.add_argument(
        "--features",
        type=at_least(1),
        metavar="N",
        help="Features of the cell. Default: 4, with --bench 64.",
    )
    parser.add_argument(
        "--sizes",
        type=_parse_sizes,
        metavar="ROWSxSTEPS",
        help="Rows and steps of the batches of all checks, separated by commas: 6x7,9x130. "
        "Default: those of each check, up to 16x257.",
    )
    parser.add_argument(
        "--skip",
        type=_parse_skip,
        action="append",
        default=[],
        metavar="CHECK=REASON",
        help="A check that cannot hold for the cell, and why; may be repeated. The verdict "
        "contains it. A class declares it by conformance_skips.",
    )
    parser.add_argument(
        "--json", action="store_true", help="Print the verdict as one JSON object, nothing else."
    )
    parser.add_argument(
        "--bench",
        action="store_true",
        help="Measure the cell beside SimpleCell and GRUCell instead of checking it.",
    )
    for name, default in (("batch", BenchSizes.batch), ("time", BenchSizes.time)):
        parser.add_argument(
            f"--{name}",
            type=at_least(1),
            metavar="N",
            help=f"Size of the {name} axis with --bench. Default: {default}.",
        )


def main(args: argparse.Namespace) -> int:
    """Prints the result of each check, and returns the exit status."""
    if len(args.positional) != 1:
        raise InputError(f"given {len(args.positional)} cells, expected one: my_cell:MyCell")
    for name in ("sizes", "skip") if args.bench else ("batch", "time"):
        if getattr(args, name):
            raise InputError(
                f"--{name}: given {'with' if args.bench else 'without'} --bench, expected "
                f"{'no --bench: it checks nothing' if args.bench else 'both'}"
            )
    cell = make_cell(args.positional[0], args.features or (64 if args.bench else 4))
    inputs = args.inputs or ((64,) if args.bench else (3,))
    try:
        return _bench(args, cell, inputs) if args.bench else _check(args, cell, inputs)
    except InputError as error:
        sizes = ",".join(map(str, inputs))
        raise InputError(f"{error} (with --inputs {sizes})") from error


def _check(args: argparse.Namespace, cell: nn.Module, inputs: tuple[int, ...]) -> int:
    def write_result(result: CheckResult) -> None:
        if not args.json:
            write_output(f"{result.check:{_NAME_WIDTH}}  {result.status:14}  {result.message}")

    report = cell_verdict(cell, inputs, dict(args.skip), args.sizes, on_result=write_result)
    if args.json:
        write_output(json.dumps(report.as_dict(), indent=2))
    else:
        write_output(report.summary())
        if report.error:
            write_error(escape(f"{report.error}\n"))
    return 1 if report.error else 0


def _bench(args: argparse.Namespace, cell: nn.Module, inputs: tuple[int, ...]) -> int:
    sizes = BenchSizes(args.batch or BenchSizes.batch, args.time or BenchSizes.time, inputs)
    report = bench_cell(cell, sizes, lambda message: write_error(escape(f"{message}\n")))
    write_output(json.dumps(report.as_dict(), indent=2) if args.json else str(report))
    return 0


def _parse_inputs(text: str) -> tuple[int, ...]:
    """Parses sizes separated by commas."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected 3 or 5,5,3, say") from None


def _parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Parses rows and steps, '6x7,9x130' say."""
    sizes = []
    for pair in text.split(","):
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", pair.strip())
        if not match:
            raise argparse.ArgumentTypeError(
                f"given {text!r}, expected rows and steps: 6x7, or 6x7,9x130 for two sizes"
            )
        sizes.append((int(match[1]), int(match[2])))
    return tuple(sizes)


def _parse_skip(text: str) -> tuple[str, str]:
    """Parses the name of a check and the reason to skip it."""
    name, _, reason = text.partition("=")
    return name.strip(), reason.strip()


if __name__ == "__main__":
    launch("test-cell")
