"""Mathematics as pure functions of arrays: no modules, no parameters of their own."""

from rnnjax.kernels.logistic import logistic
from rnnjax.kernels.lstm import lstm

__all__ = ["logistic", "lstm"]
