"""Recurrent cells, one a file, and the table of their names."""

from rnnjax.cells.base import AbstractCell, Cell, LinearCell, State
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.lstm import LSTMCell, LSTMState, forget_bias
from rnnjax.cells.simple import SimpleCell
from rnnjax.cells.table import CELLS, make_cell

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
    "forget_bias",
    "make_cell",
]
