"""Pure functions of arrays: masking, whole-sequence recurrences, derivatives. No modules."""

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.adaptive_cross_entropy import (
    AdaptiveSoftmax,
    adaptive_cross_entropy,
    adaptive_evaluation,
    adaptive_log_probabilities,
)
from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.cross_entropy import CrossEntropy, chunked_cross_entropy, is_most_probable
from rnnjax.kernels.gru_sequence import fused_gru
from rnnjax.kernels.lstm_sequence import fused_lstm
from rnnjax.kernels.matmul import flat_dot_general, flat_matmul
from rnnjax.kernels.sampled_cross_entropy import sample_tokens, sampled_cross_entropy
from rnnjax.kernels.simple_sequence import fused_simple

__all__ = [
    "AdaptiveSoftmax",
    "CrossEntropy",
    "adaptive_cross_entropy",
    "adaptive_evaluation",
    "adaptive_log_probabilities",
    "chunked_cross_entropy",
    "flat_dot_general",
    "flat_matmul",
    "fused_gru",
    "fused_lstm",
    "fused_simple",
    "is_most_probable",
    "match_rank",
    "sample_tokens",
    "sampled_cross_entropy",
    "sigmoid",
]
