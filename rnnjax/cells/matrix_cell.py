"""Base of cells whose state is a matrix for each head."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells.base import Cell, State, mask_projection
from rnnjax.errors import InputError
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.matrix_recurrence import (
    MatrixInputs,
    MatrixState,
    chunkwise_matrix_recurrence,
    matrix_step,
)


class MatrixCell(Cell):
    r"""A cell whose state is a matrix for each head, to which a step adds a product.

    .. math::
        S_t &= a_t S_{t-1} + k_t v_t^\top \\
        \text{or } S_t &= a_t (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top \\
        \text{or } S_t &= (\mathrm{diag}(a_t) - l_t r_t^\top) S_{t-1} + k_t v_t^\top

    and whose output is computed from the products of a query and the next state,
    :math:`S_t^\top q_t`. Keys, values, queries and factors come from the inputs alone, so that
    sequences run by chunks of matrix products as well (`RNN(engine='chunkwise')`), masks and resets
    included: `rnnjax.kernels.matrix_recurrence`.

    A cell of the third form gives the lower bound of its decays in `recurrence`.

    A cell implements `coefficients` and, where the output is not the product, `read`; where its
    state is no array `[batch, heads, keys, values]`, `pack` and `unpack` as well.

    Attributes:
      heads: number of matrices; they divide `features`, and each has `features // heads` columns.
      key_features: rows of each matrix; 0 for as many as columns.

    Raises:
      InputError: the heads do not divide the features, or `key_features` is negative.
    """

    output_part: ClassVar[str | None] = None

    heads: int = 1
    key_features: int = 0

    def validate(self):
        """Checks the number and the size of the heads."""
        super().validate()
        if self.heads < 1 or self.features % self.heads:
            raise InputError(
                f"heads: given {self.heads}, expected a divisor of features = {self.features}"
            )
        if self.key_features < 0:
            raise InputError(
                f"key_features: given {self.key_features}, expected a size, or 0 for features // "
                "heads"
            )

    @property
    def key_size(self) -> int:
        """Number of rows of each matrix."""
        return self.key_features or self.value_size

    @property
    def value_size(self) -> int:
        """Number of columns of each matrix."""
        return self.features // self.heads

    def initial_state(self, input_shape):
        """Returns zeros, [batch, heads, keys, values]."""
        shape = (*input_shape[:-1], self.heads, self.key_size, self.value_size)
        return jnp.zeros(shape, self.param_dtype)

    def coefficients(self, projected: Any) -> MatrixInputs:
        """Returns keys, values, queries and factors in the state's dtype, for any leading axes."""
        raise NotImplementedError(f"{type(self).__name__} does not define coefficients")

    def read(
        self,
        products: Float[Array, "*steps heads values"],
        projected: Any,
        stabilizer: Float[Array, "*steps heads"] | None = None,
    ) -> Float[Array, "*steps features"]:
        """Returns the outputs from the products of queries and states, for any leading axes.

        Args:
          products: to be multiplied by exp(stabilizer) if there is one.
          projected: of the same steps.
          stabilizer: of the states; None without gains.
        """
        return merge_heads(products).astype(projected.dtype)

    def pack(self, state: State) -> MatrixState:
        """Returns the matrices of a state, and their stabilizers if it has some."""
        return MatrixState(state)

    def unpack(self, state: MatrixState) -> State:
        """Returns the state of matrices: the inverse of `pack`."""
        return state.matrix

    def step(self, state, projected):
        """Returns the next state and its output."""
        new, products = matrix_step(self.pack(state), self.coefficients(projected))
        return self.unpack(new), self.read(products, projected, new.stabilizer)

    def chunkwise(
        self,
        state: State,
        projected: Any,
        mask: Bool[Array, "batch time"] | None,
        reverse: bool,
        resets: Bool[Array, "batch time"] | None = None,
        reset_state: State = None,
    ) -> tuple[State, Float[Array, "batch time features"]]:
        """Returns the final state and the outputs of whole sequences, by chunks of steps.

        Args:
          state: before the first step.
          projected: of all steps.
          mask: `[batch, time]`, True where a step is real; None if all are.
          reverse: from the last step to the first.
          resets: `[batch, time]`, True where a step begins from `reset_state`; None for nowhere.
          reset_state: as `initial_state` returns it.
        """
        projected = mask_projection(projected, mask)
        final, products, stabilizers = self.recurrence(
            self.coefficients(projected),
            self.pack(state),
            mask,
            reverse,
            resets,
            None if resets is None else self.pack(reset_state),
        )
        outputs = self.read(products, projected, stabilizers)
        return self.unpack(final), zero_masked(outputs, mask)

    def recurrence(self, inputs: MatrixInputs, state: MatrixState, *arguments: Any) -> Any:
        """Runs whole sequences as `chunkwise_matrix_recurrence` does, for cells of several steps
        a token.
        """
        return chunkwise_matrix_recurrence(inputs, state, *arguments)


def split_heads(values: jax.Array, heads: int) -> jax.Array:
    """Returns `[..., heads, size]` of `[..., heads * size]`."""
    return values.reshape(*values.shape[:-1], heads, -1)


def merge_heads(values: jax.Array) -> jax.Array:
    """Returns `[..., heads * size]` of `[..., heads, size]`."""
    return values.reshape(*values.shape[:-2], -1)


def normalize(vectors: jax.Array) -> jax.Array:
    """Returns vectors of length 1 along the last axis; those much shorter than 1e-3 stay short."""
    return vectors * jax.lax.rsqrt((vectors**2).sum(axis=-1, keepdims=True) + 1e-6)
