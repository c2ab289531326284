"""Checks the conformance of a cell, in every engine and direction.

    rnnjax test-cell my_cell:MyCell
    rnnjax test-cell ConvLSTMCell --inputs 5,5,3

The cell is named as in a config: `LSTMCell`, `'LSTMCell(peepholes=True)'`, `my_cell:MyCell`. It
gets four features. Ends with status 1 if the cell violates an invariant, and with 2 if the cell
cannot be constructed or refuses the inputs.
"""

import argparse

from rnnjax.cells import make_cell
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser
from rnnjax.console import escape, write_error, write_output
from rnnjax.errors import InputError
from rnnjax.testing.conformance import cell_checks
from rnnjax.testing.conformance_report import CellError

POSITIONAL = "CELL"
_FEATURES = 4


def add_flags(parser: Parser) -> None:
    """Adds --inputs."""
    parser.add_argument(
        "--inputs",
        type=_parse_sizes,
        default=(3,),
        metavar="SIZES",
        help="Sizes of the feature axes of one step: 3, or 5,5,3 for images of three channels. "
        "Default: 3.",
    )


def main(args: argparse.Namespace) -> int:
    """Prints the result of each check, and returns the exit status."""
    if len(args.positional) != 1:
        raise InputError(f"given {len(args.positional)} cells, expected one: my_cell:MyCell")
    cell = make_cell(args.positional[0], _FEATURES)
    try:
        checks = cell_checks(cell, args.inputs)
        width = max(len(check.name) for check in checks)
        for check in checks:
            result = check.result()
            write_output(f"{result.check:{width}}  {result.status}  {result.message}")
    except CellError as error:
        write_error(escape(f"{error}\n"))
        return 1
    except InputError as error:
        inputs = ",".join(map(str, args.inputs))
        raise InputError(f"{error} (with --inputs {inputs})") from error
    return 0


def _parse_sizes(text: str) -> tuple[int, ...]:
    """Parses sizes separated by commas."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected 3 or 5,5,3, say") from None


if __name__ == "__main__":
    launch("test-cell")
