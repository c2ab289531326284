"""Constructor calls of cells as text, and dtypes of inner cells."""

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells import SimpleCell
from rnnjax.cells.dtypes import with_dtypes
from rnnjax.cells.wrappers import FlaxCell, Zoneout
from rnnjax.testing.cell_adapter import describe_cell


def test_cell_is_described_by_arguments_that_are_not_defaults():
    assert describe_cell(SimpleCell(4)) == "SimpleCell(features=4)"
    relu_cell = SimpleCell(4, activation=nn.relu)
    assert describe_cell(relu_cell) == "SimpleCell(features=4, activation=relu)"
    wrapped = Zoneout(FlaxCell(nn.GRUCell(4)), rate=0.5)
    assert describe_cell(wrapped) == "Zoneout(cell=FlaxCell(cell=GRUCell(features=4)), rate=0.5)"


def test_dtype_applies_to_inner_cells():
    wide = with_dtypes(Zoneout(FlaxCell(nn.GRUCell(4)), rate=0.5), param_dtype=jnp.float64)
    assert wide == Zoneout(FlaxCell(nn.GRUCell(4, param_dtype=jnp.float64)), rate=0.5)
    assert with_dtypes(SimpleCell(4), size=3) is None
