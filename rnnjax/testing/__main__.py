"""Checks a cell and says what holds: python -m rnnjax.testing my_cell:MyCell.

The cell is named as a config names it: `LSTMCell`, `'LSTMCell(peepholes=True)'`, `my_cell:MyCell`.
It is made with four features. Ends with status 1 where it breaks an invariant.
"""

import sys

from rnnjax.cells import make_cell
from rnnjax.errors import InputError
from rnnjax.testing.check import cell_checks
from rnnjax.testing.report import CellError

FEATURES = 4


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    try:
        if len(arguments) != 1:
            raise InputError(f"given {arguments}, expected one cell: my_cell:MyCell say")
        checks = cell_checks(make_cell(arguments[0], FEATURES))
        width = max(len(check.name) for check in checks)
        for check in checks:
            line = check.line()
            print(f"{line.check:{width}}  {line.result}  {line.says}", flush=True)
    except CellError as error:
        print(error, file=sys.stderr)
        return 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
