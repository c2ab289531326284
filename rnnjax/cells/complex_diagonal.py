"""Base of cells whose state is a vector of complex numbers with a diagonal transition."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.errors import InputError


class ComplexDiagonalCell(LinearCell):
    """A linear cell with complex states, B and C, and real outputs: Re(C s) + D x.

    A cell creates the parameters of its transition in `setup`, then calls `super().setup()` for B,
    C and D; it gives `coefficients`.

    State: [batch, n], n being `state_features or features`, complex64, with a `param_dtype` of
    float64 complex128.

    Attributes:
      state_features: n, the size of the state; 0 stands for features.
      kernel_init: of the two parts of B as one matrix, `[inputs, 2 * n]`.
      output_init: of the two parts of C as one matrix, `[2 * n, features]`.
      skip_init: of D, `[inputs, features]`.

    Raises:
      InputError: `state_features` is negative.
    """

    output_part: ClassVar[str | None] = None
    output_scale: ClassVar[float] = 1.0
    """Factor of Re(C s)."""

    state_features: int = 0
    kernel_init: Initializer = nn.initializers.variance_scaling(0.5, "fan_in", "normal")
    output_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    skip_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

    def validate(self):
        """Checks the size of the state."""
        super().validate()
        if self.state_features < 0:
            raise InputError(
                f"state_features: given {self.state_features}, expected a size, or 0 for features"
            )

    def setup(self):
        size = self.state_size
        self.input = self.dense(2 * size, kernel_init=self.kernel_init, use_bias=False)
        self.skip = self.dense(self.features, kernel_init=self.skip_init, use_bias=False)
        self.output_kernel = self.param(
            "output_kernel", self.output_init, (2 * size, self.features), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns complex zeros."""
        zeros = jnp.zeros((*input_shape[:-1], self.state_size), self.param_dtype)
        return complex_array(zeros, zeros)

    def project(self, inputs):
        """Returns the two parts of B x, and D x, [..., 2 * n + features]."""
        return jnp.concatenate([self.input(inputs), self.skip(inputs)], axis=-1)

    def input_states(self, projected: jax.Array) -> jax.Array:
        """Returns B x of a projection, complex."""
        parts = projected[..., : 2 * self.state_size].astype(self.param_dtype)
        return complex_array(*jnp.split(parts, 2, axis=-1))

    def read(self, state, projected):
        """Returns the scaled real part of C s, and D x added to it."""
        parts = jnp.concatenate([state.real, -state.imag], axis=-1)
        product = self.output_scale * self.recurrent_product(parts, self.output_kernel)
        return (product + projected[..., 2 * self.state_size :]).astype(projected.dtype)

    @property
    def state_size(self) -> int:
        """n, the size of the state."""
        return self.state_features or self.features


def complex_array(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    """Returns an array of its two parts, complex64 unless they are float64."""
    dtype = np.promote_types(real.dtype, np.float32)
    return jax.lax.complex(real.astype(dtype), imaginary.astype(dtype))
