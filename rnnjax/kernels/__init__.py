"""Pure functions of arrays: masking, whole-sequence recurrences, derivatives. No modules."""

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.fused_gru import fused_gru
from rnnjax.kernels.fused_lstm import fused_lstm
from rnnjax.kernels.fused_simple import fused_simple
from rnnjax.kernels.matmul import flat_dot_general, flat_matmul

__all__ = [
    "flat_dot_general",
    "flat_matmul",
    "fused_gru",
    "fused_lstm",
    "fused_simple",
    "match_rank",
    "sigmoid",
]
