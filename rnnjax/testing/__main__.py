"""Checks a cell and says what holds: python -m rnnjax.testing my_cell:MyCell.

The cell is named as a config names it: `LSTMCell`, `'LSTMCell(peepholes=True)'`, `my_cell:MyCell`.
It is made with four features and reads three, or what `--inputs` says: `5,5,3` for images of 5 by 5
pixels with three channels. Ends with status 1 where it breaks an invariant, and with 2 where the
cell cannot be made or cannot read such inputs.
"""

import argparse
import sys

from rnnjax.cells import make_cell
from rnnjax.console import escape, show, standard_streams, write_error
from rnnjax.errors import InputError
from rnnjax.testing.check import cell_checks
from rnnjax.testing.report import CellError

FEATURES = 4


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser("python -m rnnjax.testing", description=__doc__)
    parser.add_argument("cell", help="LSTMCell, or package.module:ClassName")
    parser.add_argument(
        "--inputs", type=sizes, default=(3,), help="features of one step: 3, or 5,5,3 for images"
    )
    given = parser.parse_args(arguments)
    hint = ""
    try:
        cell = make_cell(given.cell, FEATURES)
        hint = f" (with --inputs {','.join(map(str, given.inputs))})"
        checks = cell_checks(cell, given.inputs)
        width = max(len(check.name) for check in checks)
        for check in checks:
            line = check.line()
            show(f"{line.check:{width}}  {line.result}  {line.says}")
    except CellError as error:
        write_error(escape(f"{error}\n"))
        return 1
    except InputError as error:
        write_error(escape(f"error: {error}{hint}\n"))
        return 2
    return 0


def sizes(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main(sys.argv[1:]))
