"""Echo state network: a reservoir that no training changes."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer, symmetric_uniform
from rnnjax.cells.simple import Activation, activation_function, require_activation
from rnnjax.errors import InputError


@jax.jit
def spectral_radius(matrix: Float[Array, "n n"]) -> Float[Array, ""]:
    r"""Returns the largest modulus of an eigenvalue.

    By Gelfand's formula :math:`\lim \|A^k\|^{1/k}` with k = 2**24, by squaring, because eigenvalues
    of a general matrix are not computed on every kind of machine.
    """

    def square(squarings, carry):
        matrix, log_radius = carry
        norm = jnp.linalg.norm(matrix)
        matrix = matrix / jnp.where(norm > 0, norm, 1)
        squared = jnp.matmul(matrix, matrix, precision=jax.lax.Precision.HIGHEST)
        return squared, log_radius + jnp.log(norm) * 0.5**squarings

    zero = jnp.zeros((), matrix.dtype)
    return jnp.exp(jax.lax.fori_loop(0, 25, square, (matrix, zero))[1])


def reservoir(radius: float = 0.9, connectivity: float = 1.0) -> Initializer:
    """Returns an initializer of a recurrent kernel: uniform, sparse, of a given spectral radius.

    A kernel whose connections form no cycle has the radius 0 and cannot be scaled to another; it
    happens where there are few of them, and it is left as it was drawn.
    """

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        drawn, connected = jax.random.split(key)
        precise = np.promote_types(dtype, np.float32)
        kernel = jax.random.uniform(drawn, shape, precise, -1, 1)
        kernel *= jax.random.bernoulli(connected, connectivity, shape).astype(precise)
        actual_radius = spectral_radius(kernel)
        return (kernel * jnp.where(actual_radius > 0, radius / actual_radius, 1)).astype(dtype)

    return init


class FixedDense(nn.Dense):
    """A projection whose parameters get no gradient, while its inputs do."""

    @nn.nowrap
    def param(self, *args, **options):
        """Returns a parameter through which no gradient flows."""
        return jax.lax.stop_gradient(super().param(*args, **options))


class EchoStateCell(Cell):
    r"""Leaky echo state reservoir.

    .. math::
        s_t = (1 - a) s_{t-1} + a f(W_i x_t + W_h s_{t-1} + b)

    The output is the state; the readout is a layer on top, and the only one that is trained.
    Parameters: features * (inputs + features + 1). They are drawn once and get no gradient; the
    inputs do.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Jaeger, The "echo state" approach to analysing and training recurrent neural networks,
    GMD report 148 (2001); leaky: Jaeger, Lukoševičius, Popovici, Siewert, Optimization and
    applications of echo state networks with leaky-integrator neurons, Neural Networks 20 (2007),
    whose leaking rate is 1 here and whose gain is a. There is no feedback of the output, and no
    noise.

    Attributes:
      spectral_radius: of W_h. Below 1 the state forgets how it began, as a rule.
      connectivity: probability that an entry of W_h is not zero. The kernel is stored dense, so
        that fewer connections save nothing.
      leak: a, above 0 and at most 1.
      input_scale: entries of W_i and b are uniform between it and its negative.
      activation: f: 'tanh', 'relu' or 'identity', or a function of an array.
    """

    output_part: ClassVar[str | None] = ""
    frozen: ClassVar[tuple[str, ...]] = ("input", "recurrent_kernel")

    spectral_radius: float = 0.9
    connectivity: float = 1.0
    leak: float = 1.0
    input_scale: float = 1.0
    activation: str | Activation = "tanh"

    def validate(self):
        """Checks the activation and the ranges of the reservoir's numbers."""
        super().validate()
        require_activation(self.activation)
        for name in ("connectivity", "leak"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"{name}: given {getattr(self, name)}, expected a number above 0, at most 1"
                )
        if self.spectral_radius <= 0:
            raise InputError(
                f"spectral_radius: given {self.spectral_radius}, expected a number above 0"
            )

    def setup(self):
        self.input = FixedDense(
            self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=symmetric_uniform(self.input_scale),
            bias_init=symmetric_uniform(self.input_scale),
        )
        kernel = self.param(
            "recurrent_kernel",
            reservoir(self.spectral_radius, self.connectivity),
            (self.features, self.features),
            self.param_dtype,
        )
        self.recurrent_kernel = jax.lax.stop_gradient(kernel)

    def project(self, inputs):
        """Returns W_i x + b, [..., features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        preactivation = projected + self.recurrent_product(state, self.recurrent_kernel)
        driven = activation_function(self.activation)(preactivation.astype(state.dtype))
        new = (1 - self.leak) * state + self.leak * driven
        return new, new.astype(projected.dtype)
