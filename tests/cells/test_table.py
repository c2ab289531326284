"""A cell from what a config says."""

import importlib

import flax.linen as nn
import pytest

from rnnjax.cells import CELLS, GRUCell, LSTMCell, make_cell
from rnnjax.errors import InputError

SOURCE = '''
import flax.linen as nn
from rnnjax.cells import SimpleCell


class Mine(SimpleCell):
    """A cell of somebody else."""

    leak: float = 0.5


class Bare(nn.RNNCellBase):
    """One that knows no dtype."""

    features: int


class Unfit(nn.RNNCellBase):
    """One that has another name for its size."""

    units: int


NOTHING = 3
'''


@pytest.fixture
def somebody(tmp_path, monkeypatch):
    """A module outside the package."""
    (tmp_path / "somebody.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("somebody")


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_found_under_the_name_of_its_class(name):
    assert CELLS[name].__name__ == name
    assert type(make_cell(name, 3)) is CELLS[name]


def test_a_cell_gets_its_size_its_dtype_and_its_options():
    assert make_cell("LSTMCell", 7, "bfloat16") == LSTMCell(7, dtype="bfloat16")
    assert make_cell(" GRUCell(reset_after=False) ", 7) == GRUCell(7, reset_after=False)
    assert make_cell("GRUCell()", 7) == GRUCell(7)


def test_a_cell_may_stand_in_another_module(somebody):
    assert make_cell("somebody:Mine", 3) == somebody.Mine(3)
    assert make_cell("somebody:Mine(leak=0.25)", 3, "float32").leak == 0.25
    assert make_cell("somebody:Bare", 3, "float32") == somebody.Bare(3)
    assert make_cell("flax.linen:GRUCell", 3) == nn.GRUCell(3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("GRU", "did you mean GRUCell"),
        ("Transformer", "expected one of SimpleCell, LSTMCell"),
        ("", "package.module:ClassName"),
        ("LSTMCell(", "expected a name"),
        ("LSTMCell(64)", "an option has no name"),
        ("LSTMCell(a=b)", "options cannot be read"),
        ("LSTMCell(peephole=True)", "no option 'peephole'; expected one of bias_init"),
        ("LSTMCell(features=3)", "no option 'features'"),
        ("nowhere_at_all:Cell", "cannot be imported"),
        ("somebody:Other", "has no cell of that name"),
        ("somebody:NOTHING", "has no cell of that name"),
        ("flax.linen:Dense", "has no cell of that name"),
        ("somebody:Unfit", "attribute features"),
        ("os.system:(1)", "given 'os.system"),
    ],
)
def test_a_mistake_is_told_with_what_was_given_and_expected(spec, words, somebody):
    with pytest.raises(InputError) as caught:
        make_cell(spec, 3)
    assert "config.model.cell: given " in str(caught.value)
    assert words in str(caught.value)
