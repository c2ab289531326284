"""Recurrent cells, one a file, and the table of their names."""

from rnnjax.cells.base import AbstractCell, Cell, LinearCell, State
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.lstm import LSTMCell, LSTMState, forget_bias
from rnnjax.cells.simple import SimpleCell
from rnnjax.errors import InputError

CELLS: dict[str, type[Cell]] = {
    "SimpleCell": SimpleCell,
    "LSTMCell": LSTMCell,
    "GRUCell": GRUCell,
}
"""The cells that a config can name."""


def cell_class(name: str) -> type[Cell]:
    """Returns the class of a cell that a config names.

    Raises:
      InputError: there is no such name in `CELLS`.
    """
    if name not in CELLS:
        raise InputError(f"config.model.cell: given {name!r}, expected one of {', '.join(CELLS)}")
    return CELLS[name]


__all__ = [
    "CELLS",
    "AbstractCell",
    "Cell",
    "GRUCell",
    "LSTMCell",
    "LSTMState",
    "LinearCell",
    "SimpleCell",
    "State",
    "cell_class",
    "forget_bias",
]
