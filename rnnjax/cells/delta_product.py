"""Matrix states that several delta rules correct at each step."""

import jax
import jax.numpy as jnp

from rnnjax.cells.gated_deltanet import GatedDeltaNetCell
from rnnjax.errors import InputError
from rnnjax.kernels.matrix_recurrence import (
    MatrixInputs,
    chunkwise_matrix_recurrence,
    matrix_step,
)


class DeltaProductCell(GatedDeltaNetCell):
    r"""Delta product network: the transition of a step is a product of Householder matrices.

    .. math::
        S_{t,0} &= a_t S_{t-1} \\
        S_{t,j} &= (I - \beta_{t,j} k_{t,j} k_{t,j}^\top) S_{t,j-1}
            + \beta_{t,j} k_{t,j} v_{t,j}^\top, \quad j = 1, \dots, n \\
        o_t &= S_{t,n}^\top q_t

    with keys, values and :math:`\beta` as of `GatedDeltaNetCell`, n of each for a step; with n = 1
    it is that cell. The kernels of the n keys stand side by side, and so do those of values and
    :math:`\beta`. A sequence runs as one of n times as many steps. Parameters:
    inputs * ((1 + householders) * heads * (key_features or features // heads)
    + householders * (features + heads) + gated * heads) + (householders + 2 * gated) * heads.

    State: [batch, heads, keys, values], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Siems et al., DeltaProduct: improving state-tracking in linear RNNs via Householder
    products, NeurIPS 2025, arXiv:2502.10297. The convolutions, the output's norm and gate are
    layers around the cell.

    Attributes:
      householders: n, the number of delta rules of a step.
    """

    householders: int = 2

    def validate(self):
        """Checks the number of delta rules."""
        super().validate()
        if self.householders < 1:
            raise InputError(f"householders: given {self.householders}, expected 1 or more")

    @property
    def updates(self) -> int:
        """Number of keys, values and betas of a step."""
        return self.householders

    def step(self, state, projected):
        """Returns the state after all delta rules, and its output."""
        coefficients = self.coefficients(projected)
        inputs, axis = self._separate(coefficients), coefficients.log_decay.ndim - 1
        state, products = self.pack(state), coefficients.query
        for index in range(self.householders):
            state, products = matrix_step(
                state,
                jax.tree.map(
                    lambda leaf, index=index: jax.lax.index_in_dim(leaf, index, axis, False), inputs
                ),
            )
        return self.unpack(state), self.read(products, projected)

    def recurrence(self, inputs, state, mask, reverse, resets, reset_state):
        """Runs each delta rule as a step; a token is read at its last one."""
        count = self.householders

        def join(leaf):
            """Returns [batch, time * count, ...], the rules of a token in the order of reading."""
            leaf = jnp.flip(leaf, axis=2) if reverse else leaf
            return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])

        repeated = None if mask is None else jnp.repeat(mask, count, axis=1)
        if resets is not None:
            is_first = jnp.arange(count) == 0
            resets = join(resets[:, :, None] & is_first[None, None])
        final, products, stabilizers = chunkwise_matrix_recurrence(
            jax.tree.map(join, self._separate(inputs)),
            state,
            repeated,
            reverse,
            resets,
            reset_state,
        )
        return final, products[:, (0 if reverse else count - 1) :: count], stabilizers

    def _separate(self, inputs: MatrixInputs) -> MatrixInputs:
        """Returns the inputs of each delta rule, of which the first decays the state."""
        query, key, value, log_decay, beta, _ = inputs
        assert beta is not None
        count, axis = self.householders, log_decay.ndim - 1

        def separate(leaf):
            return leaf.reshape(*leaf.shape[:axis], count, self.heads, *leaf.shape[axis + 1 :])

        rest = jnp.zeros((*log_decay.shape[:axis], count - 1, self.heads), log_decay.dtype)
        log_decay = jnp.concatenate([jnp.expand_dims(log_decay, axis), rest], axis=axis)
        query = jnp.repeat(jnp.expand_dims(query, axis), count, axis=axis)
        return MatrixInputs(query, separate(key), separate(value), log_decay, separate(beta))
