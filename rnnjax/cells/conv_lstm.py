"""Long short-term memory over images: its products are convolutions."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.cells.lstm import LSTMState
from rnnjax.errors import InputError
from rnnjax.kernels import sigmoid


class ConvLSTMCell(GatedCell):
    r"""Convolutional long short-term memory.

    .. math::
        i_t &= \sigma(W_{ii} * x_t + W_{hi} * h_{t-1} + b_i) \\
        f_t &= \sigma(W_{if} * x_t + W_{hf} * h_{t-1} + b_f) \\
        g_t &= \tanh(W_{ig} * x_t + W_{hg} * h_{t-1} + b_g) \\
        o_t &= \sigma(W_{io} * x_t + W_{ho} * h_{t-1} + b_o) \\
        c_t &= f_t c_{t-1} + i_t d(g_t) \\
        h_t &= o_t \tanh(c_t)

    The output is h; d is the dropout of `GatedCell`, by default off; the star is a convolution,
    over an image with zeros around it, that keeps the image's size. The images have as many axes as
    `kernel_size`, each step of a sequence being one. Parameters: 4 * features * (prod(kernel_size)
    * (inputs + features) + 1). The four gates stand side by side in the order i, f, g, o; flax has
    i, g, f, o, a second bias, and a 1 that is always added to b_f.

    State: `LSTMState(hidden, cell)`, each [batch, \*image, features], of `param_dtype`. Inputs:
    [batch, \*image, inputs]. Outputs: [batch, \*image, features].

    Source: Shi et al., Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting, NeurIPS 2015, without its peepholes, as in flax: they would tie the parameters to
    the size of the image.

    Attributes:
      kernel_size: of all kernels, a number for each axis of the image.
      kernel_init: of the four input kernels as one, `[*kernel_size, inputs, 4 * features]`.
      recurrent_init: of the four recurrent kernels as one, `[*kernel_size, features,
        4 * features]`.
      bias_init: of the four biases as one vector; by default 1 for the forget gate.
    """

    output_part: ClassVar[str | None] = "hidden"

    kernel_size: tuple[int, ...] = (3, 3)
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias()

    def validate(self):
        """Checks the size of the kernel."""
        super().validate()
        size = self.kernel_size
        if not isinstance(size, tuple | list) or not size or min(size) < 1:
            raise InputError(
                f"kernel_size: given {size!r}, expected a positive number for each axis of the "
                "image, (3, 3) say"
            )

    def setup(self):
        size = tuple(self.kernel_size)
        self.input = nn.Conv(
            4 * self.features,
            size,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (*size, self.features, 4 * self.features),
            self.param_dtype,
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts.

        Raises:
          InputError: the inputs of a step have too few axes for the kernel.
        """
        axes = len(self.kernel_size)
        if len(input_shape) <= axes:
            raise InputError(
                f"ConvLSTMCell: inputs of one step have the shape {tuple(input_shape)}; expected "
                f"{axes} axes of an image and one of channels, for kernel_size {self.kernel_size}"
            )
        zeros = super().initial_state(input_shape)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the four gates, [..., *image, 4 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        gates = projected + self.recurrent_product(state.hidden, self.recurrent_kernel)
        i, f, g, o = jnp.split(gates.astype(state.cell.dtype), 4, axis=-1)
        remembered = self.gate("forget gate", sigmoid(f)) * state.cell
        cell = remembered + self.gate("input gate", sigmoid(i)) * self.dropped(jnp.tanh(g))
        hidden = self.gate("output gate", sigmoid(o)) * jnp.tanh(cell)
        return LSTMState(hidden, cell), hidden.astype(projected.dtype)

    def recurrent_product(self, state, kernel):
        """Returns the convolution of a state, [..., *image, features], with a kernel."""
        state, kernel = promote_dtype(state, kernel, dtype=self.dtype)
        axes = kernel.ndim - 2
        image = state.shape[-axes - 1 :]
        batch = state.shape[: -axes - 1]
        last = axes + 1
        spatial = tuple(range(1, last))
        numbers = jax.lax.ConvDimensionNumbers(
            lhs_spec=(0, last, *spatial),
            rhs_spec=(last, axes, *range(axes)),
            out_spec=(0, last, *spatial),
        )
        product = jax.lax.conv_general_dilated(
            state.reshape(math.prod(batch), *image),
            kernel,
            window_strides=(1,) * axes,
            padding="SAME",
            dimension_numbers=numbers,
        )
        return product.reshape(*batch, *product.shape[1:])
