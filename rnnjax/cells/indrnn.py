"""Independently recurrent network: each unit sees only its own past."""

from typing import ClassVar, Literal

import flax.linen as nn

from rnnjax.cells.base import Cell, Initializer
from rnnjax.cells.simple import Activation, activation_function, require_activation
from rnnjax.kernels import match_rank


class IndRNNCell(Cell):
    r"""Independently recurrent cell: the recurrent product is elementwise.

    .. math::
        h_t = f(W x_t + u \odot h_{t-1} + b)

    The output is h. Parameters: features * (inputs + 2).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Li, Li, Cook, Zhu, Gao, Independently recurrent neural network (IndRNN): building a
    longer and deeper RNN, CVPR 2018. The paper keeps :math:`|u| \le 2^{1/T}`, T being the number of
    steps, by clipping u after each update. That is for the optimizer; nothing is clipped here. u
    begins in [0, 1), which is inside for every T.

    Attributes:
      activation: f: 'relu', 'tanh' or 'identity', or a function of an array.
      kernel_init: of W, `[inputs, features]`.
      recurrent_init: of u, `[features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = ""
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    activation: str | Activation = "relu"
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.uniform(1.0)
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
            "recurrent_kernel", self.recurrent_init, (self.features,), self.param_dtype
        )

    def project(self, inputs):
        """Returns W x + b, [..., features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        new = activation_function(self.activation)(
            projected.astype(state.dtype) + match_rank(self.recurrent_kernel, state) * state
        )
        return new, new.astype(projected.dtype)
