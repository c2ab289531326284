"""Recurrent cells, one a file, the wrappers of cells, and the table of their names."""

from rnnjax.cells.antisymmetric import AntisymmetricCell
from rnnjax.cells.base import (
    AbstractCell,
    Broadcast,
    Cell,
    GatedCell,
    LinearCell,
    State,
    symmetric_uniform,
)
from rnnjax.cells.brc import BRCCell
from rnnjax.cells.cfc import CfCCell
from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.cornn import CoRNNCell, CoRNNState
from rnnjax.cells.delta_product import DeltaProductCell
from rnnjax.cells.echo_state import EchoStateCell
from rnnjax.cells.fast_grnn import FastGRNNCell
from rnnjax.cells.gated_deltanet import GatedDeltaNetCell
from rnnjax.cells.gated_linear_attention import GatedLinearAttentionCell
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.indrnn import IndRNNCell
from rnnjax.cells.initializers import (
    LIBRARIES,
    chrono,
    forget_bias,
    has_library_init,
    init_like,
    init_uniform,
    output_features,
    parameter_names,
    per_gate,
)
from rnnjax.cells.janet import JANETCell
from rnnjax.cells.layer_norm import LayerNormGRUCell, LayerNormLSTMCell
from rnnjax.cells.lem import LEMCell, LEMState
from rnnjax.cells.linoss import LinOSSCell, LinOSSState
from rnnjax.cells.lru import LRUCell
from rnnjax.cells.lstm import LSTMCell, LSTMState
from rnnjax.cells.ltc import LTCCell
from rnnjax.cells.mamba import MambaCell
from rnnjax.cells.mamba2 import Mamba2Cell
from rnnjax.cells.matrix_cell import MatrixCell
from rnnjax.cells.mgu import MGUCell
from rnnjax.cells.min_gru import MinGRUCell
from rnnjax.cells.min_lstm import MinLSTMCell
from rnnjax.cells.mlstm import MLSTMCell, MLSTMState
from rnnjax.cells.multiplicative_lstm import MultiplicativeLSTMCell
from rnnjax.cells.para_gru import ParaGRUCell
from rnnjax.cells.para_lstm import ParaLSTMCell
from rnnjax.cells.qrnn import QRNNCell, QRNNState
from rnnjax.cells.registry import CELLS, make_cell
from rnnjax.cells.rglru import RGLRUCell
from rnnjax.cells.rhn import RHNCell
from rnnjax.cells.rwkv7 import RWKV7Cell
from rnnjax.cells.s5 import S5Cell
from rnnjax.cells.simple import ACTIVATIONS, SimpleCell
from rnnjax.cells.slstm import SLSTMCell, SLSTMState
from rnnjax.cells.sru import SRUCell
from rnnjax.cells.unicornn import UnICORNNCell, UnICORNNState
from rnnjax.cells.wrappers import (
    Dropped,
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    Wrapper,
    Zoneout,
)

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "LIBRARIES",
    "AbstractCell",
    "AntisymmetricCell",
    "BRCCell",
    "Broadcast",
    "Cell",
    "CfCCell",
    "CoRNNCell",
    "CoRNNState",
    "ConvLSTMCell",
    "DeltaProductCell",
    "Dropped",
    "EchoStateCell",
    "FastGRNNCell",
    "FlaxCell",
    "GRUCell",
    "GatedCell",
    "GatedDeltaNetCell",
    "GatedLinearAttentionCell",
    "IndRNNCell",
    "JANETCell",
    "LEMCell",
    "LEMState",
    "LRUCell",
    "LSTMCell",
    "LSTMState",
    "LTCCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LearnedInitialState",
    "LinOSSCell",
    "LinOSSState",
    "LinearCell",
    "MGUCell",
    "MLSTMCell",
    "MLSTMState",
    "Mamba2Cell",
    "MambaCell",
    "MatrixCell",
    "MinGRUCell",
    "MinLSTMCell",
    "MultiplicativeLSTMCell",
    "ParaGRUCell",
    "ParaLSTMCell",
    "QRNNCell",
    "QRNNState",
    "RGLRUCell",
    "RHNCell",
    "RWKV7Cell",
    "RecurrentDropout",
    "S5Cell",
    "SLSTMCell",
    "SLSTMState",
    "SRUCell",
    "SimpleCell",
    "State",
    "UnICORNNCell",
    "UnICORNNState",
    "Wrapper",
    "Zoneout",
    "chrono",
    "forget_bias",
    "has_library_init",
    "init_like",
    "init_uniform",
    "make_cell",
    "output_features",
    "parameter_names",
    "per_gate",
    "symmetric_uniform",
]
