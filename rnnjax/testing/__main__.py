"""Checks the conformance of a cell, in every engine and direction.

    python -m rnnjax.testing my_cell:MyCell
    python -m rnnjax.testing ConvLSTMCell --inputs 5,5,3

The cell is named as in a config: `LSTMCell`, `'LSTMCell(peepholes=True)'`, `my_cell:MyCell`. It
gets four features. Ends with status 1 if the cell violates an invariant, and with 2 if the cell
cannot be constructed or refuses the inputs.
"""

import argparse
import sys

from rnnjax.cells import make_cell
from rnnjax.console import escape, standard_streams, write_error, write_output
from rnnjax.errors import InputError
from rnnjax.testing.conformance import cell_checks
from rnnjax.testing.conformance_report import CellError

POSITIONAL = "CELL"
FEATURES = 4


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --inputs."""
    parser.add_argument(
        "--inputs",
        type=parse_sizes,
        default=(3,),
        metavar="SIZES",
        help="Sizes of the feature axes of one step: 3, or 5,5,3 for images of three channels.",
    )


def main(args: argparse.Namespace) -> int:
    """Prints the result of each check, and returns the exit status."""
    if len(args.positional) != 1:
        raise InputError(f"given {len(args.positional)} cells, expected one: my_cell:MyCell")
    try:
        checks = cell_checks(make_cell(args.positional[0], FEATURES), args.inputs)
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


def parse_sizes(text: str) -> tuple[int, ...]:
    """Parses sizes separated by commas."""
    return tuple(int(size) for size in text.split(","))


def run_command(arguments: list[str]) -> int:
    """Parses a command line, prints an InputError in one line, and returns the exit status."""
    parser = argparse.ArgumentParser("python -m rnnjax.testing", description=__doc__)
    parser.add_argument("positional", nargs="*", metavar=POSITIONAL)
    add_flags(parser)
    try:
        return main(parser.parse_args(arguments))
    except InputError as error:
        write_error(escape(f"error: {error}\n"))
        return 2


if __name__ == "__main__":
    with standard_streams():
        sys.exit(run_command(sys.argv[1:]))
