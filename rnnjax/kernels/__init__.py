"""Mathematics as pure functions of arrays: no modules, no parameters of their own."""

from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.flat import flat_dot_general, flat_matmul
from rnnjax.kernels.gru import gru
from rnnjax.kernels.logistic import logistic
from rnnjax.kernels.lstm import lstm
from rnnjax.kernels.simple import simple

__all__ = ["flat_dot_general", "flat_matmul", "gru", "logistic", "lstm", "match_rank", "simple"]
