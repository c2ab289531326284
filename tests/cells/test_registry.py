"""Making a cell from the specification in a config."""

import importlib
import sys

import flax.linen as nn
import pytest

from rnnjax.cells import CELLS, GRUCell, LSTMCell, SimpleCell, make_cell
from rnnjax.cells.registry import check_in_package
from rnnjax.errors import InputError

SOURCE = '''
import flax.linen as nn
from rnnjax.cells import SimpleCell


class Unannotated(SimpleCell):
    """A cell whose author forgot an annotation."""

    rate = 0.1


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
def user_module(tmp_path, monkeypatch):
    """A module outside the package."""
    (tmp_path / "somebody.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("somebody")


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_registered_by_class_name(name):
    assert CELLS[name].__name__ == name
    assert type(make_cell(name, 3)) is CELLS[name]


def test_make_cell_sets_features_dtype_and_options():
    assert make_cell("LSTMCell", 7, "bfloat16") == LSTMCell(7, dtype="bfloat16")
    assert make_cell(" GRUCell(reset_after=False) ", 7) == GRUCell(7, reset_after=False)
    assert make_cell("GRUCell()", 7) == GRUCell(7)


def test_make_cell_imports_user_modules(user_module):
    assert make_cell("somebody:Mine", 3) == user_module.Mine(3)
    assert make_cell("somebody:Mine(leak=0.25)", 3, "float32").leak == 0.25
    assert make_cell("somebody:Bare", 3, "float32") == user_module.Bare(3)
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
        ("somebody:Unannotated(rate=0.2)", "write `rate: float = ...` in the class"),
        ("nowhere_at_all:Cell", "there is no module nowhere_at_all; install"),
        ("rnnjax.cells:LinearCell", "is a base class"),
        ("SimpleCell(activation='sin')", "activation: given 'sin', expected one of"),
        ("somebody:Other", "has no cell of that name"),
        ("somebody:NOTHING", "has no cell of that name"),
        ("flax.linen:Dense", "has no cell of that name"),
        ("somebody:Unfit", "attribute features"),
        ("os.system:(1)", "given 'os.system"),
        ("..os:path", "expected a name"),
        ("this:Zen", "this has no Zen"),
        ("antigravity:Cell", "antigravity has no Cell"),
        ("__hello__:Cell", "__hello__ has no Cell"),
        ("os.path.deeper:Cell", "there is no module os.path.deeper"),
    ],
)
def test_invalid_specs_raise(spec, words, user_module):
    with pytest.raises(InputError) as caught:
        make_cell(spec, 3)
    assert "config.model.cell: given " in str(caught.value)
    assert words in str(caught.value)


def write_package(folder, source):
    """Writes `outer/inner/cell.py`, whose packages have no __init__.py, and returns the module."""
    (folder / "outer" / "inner").mkdir(parents=True)
    (folder / "outer" / "inner" / "cell.py").write_text(source)
    return "outer.inner.cell"


@pytest.fixture
def import_path(tmp_path, monkeypatch):
    """A folder on Python's path, whose modules are forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    loaded_modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - loaded_modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    "source",
    [
        "class Mine(SimpleCell): pass",
        "if True:\n    class Mine(SimpleCell): pass",
        "try:\n    from nowhere_at_all import Mine\nexcept ImportError:\n    Mine = SimpleCell",
        "Mine, other = SimpleCell, 3",
        "import rnnjax.cells as Mine\nMine = Mine.SimpleCell",
        "globals()['Mi' + 'ne'] = SimpleCell",
        "def __getattr__(name):\n    return SimpleCell",
        "def make():\n    global Mine\n    Mine = SimpleCell\nmake()",
        "from hidden import *",
    ],
)
def test_class_binding_styles_are_recognized(import_path, source):
    (import_path / "hidden.py").write_text("from rnnjax.cells import SimpleCell as Mine\n")
    module = write_package(import_path, f"from rnnjax.cells import SimpleCell\n{source}\n")
    assert isinstance(make_cell(f"{module}:Mine", 3), SimpleCell)


@pytest.mark.parametrize(
    "source",
    [
        "def make():\n    Mine = 3",
        "class Outer:\n    Mine = 3",
        "other = [Mine for Mine in ()] and (lambda Mine: Mine)",
        "print(Mine)",
        "Mine = (",
        "\0",
    ],
)
def test_module_without_the_class_is_not_imported(import_path, source):
    marker = import_path / "ran"
    (import_path / "above").mkdir()
    (import_path / "above" / "__init__.py").write_text(f"open({str(marker)!r}, 'w')\n")
    (import_path / "above" / "cell.py").write_text(f"open({str(marker)!r}, 'w')\n{source}\n")
    with pytest.raises(InputError, match=r"above.cell has no Mine|cannot be read as Python"):
        make_cell("above.cell:Mine", 3)
    assert not marker.exists()


@pytest.mark.parametrize("error", ["SystemExit(3)", "RuntimeError('out of luck')", "ImportError"])
def test_import_errors_are_reported(import_path, error):
    module = write_package(import_path, f"Mine = None\nraise {error}\n")
    with pytest.raises(InputError, match=f"outer.inner.cell cannot be imported: {error[:5]}"):
        make_cell(f"{module}:Mine", 3)


def test_check_in_package_names_user_modules(import_path):
    for spec in ("LSTMCell(peepholes=True)", "flax.linen:GRUCell", "rnnjax.cells.gru:GRUCell"):
        check_in_package(spec)
    file = import_path / "outer" / "inner" / "cell.py"
    module = write_package(import_path, "raise RuntimeError\n")
    with pytest.raises(InputError, match=f"class Mine of the module {module} \\({file}\\)"):
        check_in_package(f"{module}:Mine(leak=0.5)")
    for spec in ("gone.cell:Mine", "flax.linen.recurrent:LSTMCell", "rnnjax.cellsx:Mine"):
        with pytest.raises(InputError, match="would be imported, and so run"):
            check_in_package(spec)
