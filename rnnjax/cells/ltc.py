"""Liquid time constants, and elapsed time as an input."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid


class LTCCell(Cell):
    r"""Liquid time-constant network: the inputs set how fast a unit forgets.

    It follows :math:`h' = -(1 / \tau + f) h + f A` with :math:`f = \sigma(W x_t + R h + b)` by
    `unfoldings` steps of the size :math:`\delta = \Delta_t / unfoldings`,

    .. math::
        h \leftarrow \frac{h + \delta f(h, x_t) A}{1 + \delta (1 / \tau + f(h, x_t))}

    :math:`\Delta_t` is the time since the previous step: 1, or with `elapsed_time=True` the last
    channel of the inputs, which x_t then lacks; below zero it counts as zero. f is that of the
    previous state (explicit), h of the next one (implicit), which is the paper's fused solver. A
    step is a weighted mean of h, A and 0, so that h stays between the smallest and the largest of 0
    and A where it begins there, and keeps its value for an elapsed time of zero. The output is h.

    Parameters: features * (inputs - elapsed_time + features + 3). :math:`1 / \tau` is the softplus
    of `leak`.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Hasani, Lechner, Amini, Rus, Grosu, Liquid time-constant networks, AAAI 2021,
    arXiv:2006.04439. The paper leaves f open; here it is the logistic function, which is positive
    as its theorems ask. Sparse wirings and synapses with a reversal potential each are not part of
    the cell.

    Attributes:
      unfoldings: steps of the solver for one step of the sequence.
      elapsed_time: the last channel of the inputs is the time since the previous step.
      kernel_init: of W, `[inputs, features]`.
      recurrent_init: of R, `[features, features]`.
      target_init: of A (`target`), `[features]`.
      leak_init: of the leak, `[features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = ""

    unfoldings: int = 6
    elapsed_time: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    target_init: Initializer = nn.initializers.normal(1.0)
    leak_init: Initializer = nn.initializers.zeros
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the number of unfoldings."""
        super().validate()
        if self.unfoldings < 1:
            raise InputError(f"unfoldings: given {self.unfoldings}, expected 1 or more")

    def setup(self):
        self.input = self.dense(
            self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        shape = (self.features,)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, *shape), self.param_dtype
        )
        self.target = self.param("target", self.target_init, shape, self.param_dtype)
        self.leak = self.param("leak", self.leak_init, shape, self.param_dtype)

    def project(self, inputs):
        """Returns W x + b and the elapsed time, [..., features + 1]."""
        inputs, elapsed = split_elapsed_time(inputs, self.elapsed_time)
        projected = self.input(inputs)
        return jnp.concatenate([projected, elapsed.astype(projected.dtype)], axis=-1)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        inputs, elapsed = jnp.split(projected.astype(state.dtype), [self.features], axis=-1)
        step = elapsed / self.unfoldings
        target = match_rank(self.target, state)
        leak = match_rank(jax.nn.softplus(self.leak), state)
        for _ in range(self.unfoldings):
            recurrent = self.recurrent_product(state, self.recurrent_kernel).astype(state.dtype)
            f = sigmoid(inputs + recurrent)
            state = (state + step * f * target) / (1 + step * (leak + f))
        return state, state.astype(projected.dtype)


def split_elapsed_time(inputs: jax.Array, elapsed_time: bool) -> tuple[jax.Array, jax.Array]:
    """Returns inputs without the elapsed time, and the elapsed time, `[..., 1]`.

    Args:
      inputs: `[..., inputs]`, whose last channel is the time since the previous step.
      elapsed_time: whether it is; otherwise the elapsed time is 1 everywhere.

    Raises:
      InputError: there is no channel beside the elapsed time.
    """
    if not elapsed_time:
        return inputs, jnp.ones_like(inputs[..., :1])
    if inputs.shape[-1] < 2:
        raise InputError(
            f"inputs: given {inputs.shape[-1]} channel, expected values and, as the last channel, "
            "the time since the previous step; or elapsed_time=False"
        )
    return inputs[..., :-1], jnp.maximum(inputs[..., -1:], 0)
