"""The simple recurrent network of Elman."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import fused_simple

Activation = Callable[[jax.Array], jax.Array]

ACTIVATIONS: dict[str, Activation] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "identity": lambda x: x,
}
"""The activations that a config can name."""


def require_activation(activation: str | Activation) -> None:
    """Raises an InputError if this is neither a function nor the name of one."""
    if not callable(activation) and not (isinstance(activation, str) and activation in ACTIVATIONS):
        raise InputError(
            f"activation: given {activation!r}, expected one of {', '.join(ACTIVATIONS)}, or from "
            "Python a function of an array"
        )


def activation_function(activation: str | Activation) -> Activation:
    """Returns an activation, which may be given by its name."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


class SimpleCell(Cell):
    r"""Simple recurrent cell.

    .. math::
        s_t = f(W_i x_t + W_h s_{t-1} + b)

    The output is the state. Parameters: features * (inputs + features + 1).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Elman, Finding structure in time, Cognitive Science 14 (1990). Elman's f is the
    logistic function; here it is tanh, as in Keras, PyTorch and flax. With relu W_h often begins as
    the identity, `recurrent_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)`: Le,
    Jaitly, Hinton, A simple way to initialize recurrent networks of rectified linear units, 2015,
    arXiv:1504.00941.

    Attributes:
      activation: f: 'tanh', 'relu' or 'identity', or a function of an array.
      kernel_init: of W_i, `[inputs, features]`.
      recurrent_init: of W_h, `[features, features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = ""

    activation: str | Activation = "tanh"
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the activation."""
        super().validate()
        require_activation(self.activation)

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
        product = self.recurrent_product(state, self.recurrent_kernel)
        # Added in the state's dtype: through relu or identity a sum rounded to bfloat16 would be
        # the state.
        preactivation = projected.astype(state.dtype) + product.astype(state.dtype)
        new = activation_function(self.activation)(preactivation)
        return new, new.astype(projected.dtype)

    @property
    def fusible(self) -> bool:
        """Whether `fused` knows the activation: one that has a name."""
        return isinstance(self.activation, str)

    def fused(self, state, projected, mask, reverse, resets=None, reset_state=None):
        """Returns the final state and the outputs of a whole sequence, by `kernels.simple`."""
        if not isinstance(self.activation, str):
            raise InputError(
                "fused: given an activation that is a function, expected the name of one of "
                f"{', '.join(ACTIVATIONS)}; run it by the engine 'scan'"
            )
        activation: Any = self.activation
        arguments = state, mask, reverse, activation, resets, reset_state
        return fused_simple(projected, self.recurrent_kernel, *arguments)
