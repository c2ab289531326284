"""Attention of queries to the steps of a memory, under its mask."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general
from rnnjax.kernels.masking import zero_masked


class AttentionMemory(NamedTuple):
    """Keys and values of a memory, computed once for all queries.

    Attributes:
      keys: compared with the queries.
      values: averaged into contexts, zero where masked.
      mask: True where a step is real.
    """

    keys: Float[Array, "batch time features"]
    values: Float[Array, "batch time values"]
    mask: Bool[Array, "batch time"]


class Attention(nn.Module):
    """Averages a memory's values for each query, weighted by the softmax of its scores.

    No value at a masked step of the memory reaches a result or a gradient, not even NaN. A row with
    no real step gets zeros, as weights and as context.

    Attributes:
      features: of the keys.
      dtype: of the computation; None infers it from the inputs and the parameters. Weights are
        always computed in float32.
    """

    features: int
    dtype: Any = None

    def prepare(
        self, memory: Float[Array, "batch time values"], mask: Bool[Array, "batch time"]
    ) -> AttentionMemory:
        """Computes the keys of a memory.

        Raises:
          InputError: the shapes or the mask's dtype are not as above.
        """
        if memory.ndim != 3 or mask.shape != memory.shape[:2] or mask.dtype != jnp.bool_:
            raise InputError(
                f"memory: given {memory.dtype}{list(memory.shape)} and a mask "
                f"{mask.dtype}{list(mask.shape)}; expected [batch, time, values] and "
                "bool [batch, time]"
            )
        # Before the keys, not only after them: zero times NaN would be NaN in the gradient.
        values = zero_masked(memory, mask)
        return AttentionMemory(self.key(values), values, mask)

    def __call__(
        self, queries: Float[Array, "batch *steps queries"], memory: AttentionMemory
    ) -> tuple[Float[Array, "batch *steps values"], Float[Array, "batch *steps time"]]:
        """Returns the contexts and the attention weights, which sum to one over the memory.

        Args:
          queries: one per row, or several independent ones.
          memory: as `prepare` returns it.
        """
        counts = memory.mask.reshape(memory.mask.shape[:1] + (1,) * (queries.ndim - 2) + (-1,))
        scores = self.scores(queries, memory.keys).astype(jnp.float32)
        # The lowest finite number: a row of minus infinity alone would give NaN.
        scores = jnp.where(counts, scores, jnp.finfo(jnp.float32).min)
        weights = jnp.where(counts, jax.nn.softmax(scores), 0)
        contexts = jnp.einsum(
            "b...t,btv->b...v", weights.astype(memory.values.dtype), memory.values
        )
        return contexts, weights

    def scores(
        self,
        queries: Float[Array, "batch *steps queries"],
        keys: Float[Array, "batch time features"],
    ) -> Float[Array, "batch *steps time"]:
        """Returns the score of each key for each query."""
        raise NotImplementedError(f"{type(self).__name__} does not define scores")

    def _dense(self, **options: Any) -> nn.Dense:
        init = nn.initializers.xavier_uniform()
        return nn.Dense(
            self.features,
            kernel_init=init,
            dtype=self.dtype,
            dot_general=flat_dot_general,
            **options,
        )


class AdditiveAttention(Attention):
    r"""Additive attention: scores by a small network of query and key.

    .. math::
        e_{ij} = v^\top \tanh(W_q q_i + W_k m_j + b)

    Parameters: features * (queries + values + 2).

    It needs memory for batch * steps * time * features numbers.

    Source: Bahdanau, Cho, Bengio, Neural machine translation by jointly learning to align and
    translate, ICLR 2015, whose network has no b.
    """

    def setup(self):
        self.key = self._dense(use_bias=False)
        self.query = self._dense()
        self.vector = self.param(
            "vector", nn.initializers.normal(self.features**-0.5), (self.features,)
        )

    def scores(self, queries, keys):
        """Returns the score of each key for each query."""
        keys = keys.reshape(keys.shape[:1] + (1,) * (queries.ndim - 2) + keys.shape[1:])
        hidden = jnp.tanh(self.query(queries)[..., None, :] + keys)
        return hidden @ self.vector.astype(hidden.dtype)


class MultiplicativeAttention(Attention):
    r"""Multiplicative attention (`general`): scores by a product.

    .. math::
        e_{ij} = q_i^\top W m_j

    Parameters: features * values. `features` are those of a query.

    Source: Luong, Pham, Manning, Effective approaches to attention-based neural machine
    translation, EMNLP 2015.
    """

    def setup(self):
        self.key = self._dense(use_bias=False)

    def scores(self, queries, keys):
        """Returns the score of each key for each query.

        Raises:
          InputError: a query has other features than the keys.
        """
        if queries.shape[-1] != self.features:
            raise InputError(
                f"queries have {queries.shape[-1]} features, the keys of this attention "
                f"{self.features}; expected as many, so give it features={queries.shape[-1]}"
            )
        return jnp.einsum("b...f,btf->b...t", queries.astype(keys.dtype), keys)
