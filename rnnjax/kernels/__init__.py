"""Mathematics as pure functions of arrays: no modules, no parameters of their own."""

from rnnjax.kernels.logistic import logistic

__all__ = ["logistic"]
