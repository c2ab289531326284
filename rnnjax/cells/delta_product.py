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

    def coefficients(self, projected):
        """Returns those of each delta rule, [..., householders, heads, ...].

        The first one decays the state, and all have the query.
        """
        query, key, value, log_decay, beta, *_ = super().coefficients(projected)
        assert beta is not None
        steps, count = log_decay.shape[:-1], self.householders

        def separate(leaf):
            return leaf.reshape(*steps, count, self.heads, *leaf.shape[len(steps) + 1 :])

        rest = jnp.zeros((*steps, count - 1, self.heads), log_decay.dtype)
        return MatrixInputs(
            jnp.repeat(query[..., None, :, :], count, axis=-3),
            separate(key),
            separate(value),
            jnp.concatenate([log_decay[..., None, :], rest], axis=-2),
            separate(beta),
        )

    def step(self, state, projected):
        """Returns the state after all delta rules, and its output."""
        inputs = self.coefficients(projected)
        axis = inputs.log_decay.ndim - 2
        state, products = self.pack(state), inputs.value
        for index in range(self.householders):
            rule = jax.tree.map(
                lambda leaf, index=index: jax.lax.index_in_dim(leaf, index, axis, False), inputs
            )
            state, products = matrix_step(state, rule)
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
            jax.tree.map(join, inputs),
            state,
            repeated,
            reverse,
            resets,
            reset_state,
        )
        return final, products[:, (0 if reverse else count - 1) :: count], stabilizers
