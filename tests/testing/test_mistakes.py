"""The proof of the kit: each planted mistake is found, by the very check that is to find it.

Every branch of a check that can break has been seen to fail, by one of them or by a mistake in the
layer (`test_parts.py`); the words that an entry of the table gives say which branch it is.

Many mistakes break several checks, as swapped gates break `loop` and `loop_gradients`. Their table
names the first, which is the verdict; the order of the checks is from cause to consequence.
"""

import pytest

from rnnjax.testing import INVARIANTS, CellError, check_cell

from . import mistakes_in_cells, mistakes_in_draws, mistakes_in_engines, mistakes_in_training
from .planted import PLANTED

pytestmark = pytest.mark.usefixtures("rank_promotion")

TABLES = (mistakes_in_cells, mistakes_in_draws, mistakes_in_engines, mistakes_in_training)
RIGHT = (mistakes_in_cells.Simple, mistakes_in_draws.Held, mistakes_in_draws.Dropping)
ENGINES = (mistakes_in_engines.Fused, mistakes_in_engines.Leaky, mistakes_in_draws.FusedDropout)


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_is_found_by_the_check_that_is_to_find_it(name):
    cell, verdict, breaks = PLANTED[name]
    with pytest.raises(CellError) as caught:
        check_cell(cell)
    assert caught.value.check == verdict, str(caught.value)
    assert breaks in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("cell", [*RIGHT, *ENGINES])
def test_without_the_mistake_there_is_nothing_to_find(cell):
    check_cell(cell(features=4))


def test_every_check_finds_a_mistake():
    assert set(INVARIANTS) == {planted.verdict for planted in PLANTED.values()}
