"""The causal convolution: a short filter of each feature over the steps read before."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from rnnjax.cells.base import symmetric_uniform
from rnnjax.errors import InputError
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.layers.validation import require_arrays


class CausalConvolution(nn.Module):
    r"""Filters each feature over the last steps, as the blocks of Mamba and of xLSTM do.

    .. math:: y_t = b + \sum_{j < k} w_j \odot x_{t - j}

    A masked step takes no time: the k steps are real ones, the output at a masked step is zero, and
    no value there reaches a result or a gradient, not even NaN. Before the first step, and before
    the first step of a document, the inputs are zero. The state is the inputs of the last k - 1
    real steps, so that a sequence may be read in pieces, down to single steps.

    State: `[batch, kernel_size - 1, features]`, the earliest step first, in `param_dtype`.

    Source: Gu, Dao, Mamba: linear-time sequence modeling with selective state spaces, 2023,
    arXiv:2312.00752. The kernel begins uniformly within 1 / sqrt(k), as PyTorch's does, the bias at
    zero.

    Attributes:
      kernel_size: k, the number of steps.
      reverse: read from the last step to the first; the k steps are then those that follow.
      dtype: of the computation; None infers it from inputs and parameters.
      param_dtype: of the parameters and of the state.

    Raises:
      InputError: `kernel_size` is not positive.
    """

    kernel_size: int = 4
    reverse: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self):
        if self.kernel_size < 1:
            raise InputError(f"kernel_size: given {self.kernel_size}, expected 1 or more steps")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: Float[Array, "batch _ features"] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch _ features"], Float[Array, "batch time features"]]:
        """Returns the state after the last step, and the outputs.

        Args:
          inputs: anything where masked.
          mask: True where the step is real; None if all are.
          initial_state: of an earlier call; None for zeros.
          resets: as for `rnnjax.layers.RNN`.

        Raises:
          InputError: shapes or dtypes are not as above.
        """
        require_arrays(inputs, mask=mask, resets=resets)
        batch, time, features = inputs.shape
        history = (batch, self.kernel_size - 1, features)
        if initial_state is None:
            initial_state = jnp.zeros(history, self.param_dtype)
        elif initial_state.shape != history:
            raise InputError(
                f"initial_state: given the shape {initial_state.shape}, expected [batch, "
                f"kernel_size - 1, features] = {history}"
            )
        kernel = self.param(
            "kernel",
            symmetric_uniform(self.kernel_size**-0.5),
            (self.kernel_size, features),
            self.param_dtype,
        )
        bias = self.param("bias", nn.initializers.zeros, (features,), self.param_dtype)
        if self.reverse:
            if resets is not None:
                # The step read before a document's last one begins the next document.
                resets = jnp.pad(resets[:, 1:], ((0, 0), (0, 1)))
            inputs, mask, resets = jax.tree.map(
                lambda values: values[:, ::-1], (inputs, mask, resets)
            )

        inputs = zero_masked(inputs, mask)
        document = jnp.zeros((batch, time), int) if resets is None else jnp.cumsum(resets, axis=1)
        last_document = document[:, -1:]
        real_steps = None if mask is None else jnp.argsort(~mask, axis=1)
        if real_steps is not None:
            # The real steps in front, in their order.
            inputs = jnp.take_along_axis(inputs, real_steps[..., None], axis=1)
            document = jnp.take_along_axis(document, real_steps, axis=1)
        inputs = jnp.concatenate([initial_state.astype(inputs.dtype), inputs], axis=1)
        document = jnp.pad(document, ((0, 0), (self.kernel_size - 1, 0)))

        state = self._last_inputs(inputs, mask, None if resets is None else document, last_document)
        steps, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = jnp.broadcast_to(bias[None, None], (batch, time, features))
        for tap in range(self.kernel_size):
            tap_inputs = steps[:, tap : tap + time]
            if resets is not None:
                same = document[:, tap : tap + time] == document[:, self.kernel_size - 1 :]
                tap_inputs = zero_masked(tap_inputs, same)
            outputs += kernel[None, None, tap] * tap_inputs
        if mask is not None:
            rank = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
            outputs = zero_masked(jnp.take_along_axis(outputs, rank[..., None], axis=1), mask)
        return state, outputs[:, ::-1] if self.reverse else outputs

    def _last_inputs(self, inputs, mask, document, last_document):
        """Returns the inputs of the last real steps of the document that is read last."""
        batch, length = inputs.shape[:2]
        count = self.kernel_size - 1
        if mask is None:
            start = jnp.full((batch, 1), length - count)
        else:
            start = mask.sum(axis=1, keepdims=True)
        index = start + jnp.arange(count)[None]
        state = jnp.take_along_axis(inputs, index[..., None], axis=1).astype(self.param_dtype)
        if document is None:
            return state
        same = jnp.take_along_axis(document, index, axis=1) == last_document
        return where_mask(same, state, jnp.zeros_like(state))
