"""Every cell of the package, with its options and under every wrapper, passes the kit."""

from typing import Any

import flax.linen as nn
import pytest

from rnnjax.cells import CELLS, FlaxCell, LearnedInitialState, RecurrentDropout, Zoneout, make_cell
from rnnjax.testing import check_cell

FEATURES = 4
IMAGE = (5, 2)
"""Five pixels of two channels, for the cells that read images."""


def make(spec: str) -> Any:
    """Returns a cell of a few features."""
    return make_cell(spec, FEATURES)


PLAIN = {name: make(name) for name in CELLS if name != "ConvLSTMCell"}
OPTIONS = [
    "SimpleCell(activation='identity')",
    "LSTMCell(peepholes=True, coupled=True)",
    "LSTMCell(projection=3, update_dropout=0.4)",
    "GRUCell(reset_after=False)",
    "GRUCell(update_dropout=0.4)",
    "MGUCell(reset='before', f_keeps=False, update_dropout=0.4)",
    "QRNNCell(window=1)",
    "SLSTMCell(heads=2, update_dropout=0.4)",
    "AntisymmetricCell(gated=True)",
    "FastGRNNCell(input_rank=2, recurrent_rank=2)",
    "MinLSTMCell(positive=True)",
    "RGLRUCell(blocks=2)",
    "BRCCell(neuromodulated=True, update_dropout=0.4)",
    "LTCCell(elapsed_time=True)",
    "CfCCell(elapsed_time=True, backbone_features=5)",
    "MambaCell(state_features=3, step_rank=2)",
    "LinOSSCell(scheme='damped', state_features=6)",
    "GatedLinearAttentionCell(heads=2, key_features=3, decay='constant')",
    "GatedDeltaNetCell(heads=2, key_features=3, gated=False, negative_eigenvalues=True)",
    "MLSTMCell(heads=2, key_features=3, output_gate=False)",
    "RWKV7Cell(heads=2, key_features=3, rank=2)",
]
WRAPPED = [
    Zoneout(make("LSTMCell"), {"hidden": 0.3, "cell": 0.5}),
    RecurrentDropout(make("GRUCell"), 0.4),
    LearnedInitialState(make("SLSTMCell")),
    Zoneout(RecurrentDropout(LearnedInitialState(FlaxCell(nn.LSTMCell(FEATURES))), 0.3), 0.3),
]
FLAX = [nn.LSTMCell(FEATURES), nn.MGUCell(FEATURES)]
"""Its GRUCell is checked in tests/testing/test_conformance.py, with the checks that apply."""

VECTORS = {
    **PLAIN,
    **{spec: make(spec) for spec in OPTIONS},
    **{f"{type(cell).__name__}({type(cell.cell).__name__})": cell for cell in WRAPPED},
    **{f"flax {type(cell).__name__}": cell for cell in FLAX},
}
IMAGES = {
    "ConvLSTMCell": make_cell("ConvLSTMCell(kernel_size=(2,))", 3),
    "flax ConvLSTMCell": nn.ConvLSTMCell(3, kernel_size=(2,)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_cell_passes_the_conformance_kit(name, request):
    if "LayerNorm" in name or "flax" in name.lower() + repr(VECTORS[name]).lower():
        # Cells and LayerNorm of flax promote float64 and bfloat16.
        request.getfixturevalue("implicit_promotion")
    report = check_cell(VECTORS[name], quick=True)
    if name in PLAIN or name in OPTIONS:
        statuses = {result.check: result.status for result in report.results}
        assert statuses["parameter_count"] == "passed"


@pytest.mark.usefixtures("implicit_promotion")  # of flax's ConvLSTMCell
@pytest.mark.parametrize("name", IMAGES)
def test_image_cell_passes_the_conformance_kit(name):
    check_cell(IMAGES[name], inputs=IMAGE, quick=True)


def test_every_exported_cell_is_registered():
    import rnnjax.cells
    from rnnjax.cells import AbstractCell, Cell, GatedCell, LinearCell, MatrixCell, Wrapper

    exported = {
        name
        for name, value in vars(rnnjax.cells).items()
        if isinstance(value, type) and issubclass(value, AbstractCell)
    }
    bases = {AbstractCell, Cell, GatedCell, LinearCell, MatrixCell, Wrapper, FlaxCell}
    wrappers = {cls.__name__ for cls in Wrapper.__subclasses__()}
    assert exported - wrappers - {base.__name__ for base in bases} == set(CELLS)
    assert set(PLAIN) | {"ConvLSTMCell"} == set(CELLS)
