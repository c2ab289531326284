"""The simple recurrent network of Elman."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer


class SimpleCell(Cell):
    r"""Simple recurrent cell.

    .. math::
        s_t = f(W_i x_t + W_h s_{t-1} + b)

    The output is the state. Parameters: features * (inputs + features + 1).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Elman, Finding structure in time, Cognitive Science 14 (1990). Elman's f is the
    logistic function; here it is tanh, as in Keras, PyTorch and flax.

    Attributes:
      activation: f.
      kernel_init: of W_i, `[inputs, features]`.
      recurrent_init: of W_h, `[features, features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = ""

    activation: Callable[[jax.Array], jax.Array] = jnp.tanh
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        self.input = self.dense(
            self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (self.features, self.features),
            self.param_dtype,
        )

    def project(self, inputs):
        """Returns W_i x + b, [..., features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        preactivation = projected + self.recurrent_product(state, self.recurrent_kernel)
        new = self.activation(preactivation.astype(state.dtype))
        return new, new.astype(projected.dtype)
