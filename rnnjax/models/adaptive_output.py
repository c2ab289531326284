"""The output layer of an adaptive softmax: log-probabilities, or the cross-entropy of targets."""

import itertools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels import (
    AdaptiveSoftmax,
    CrossEntropy,
    adaptive_cross_entropy,
    adaptive_evaluation,
    adaptive_log_probabilities,
)
from rnnjax.models.initialization import Initialization

_DIVISOR = 4
"""Each cluster reads so many times fewer features than the one before it, as in the paper."""


class AdaptiveOutput(nn.Module):
    """An adaptive softmax (`rnnjax.kernels.adaptive_cross_entropy`) over a vocabulary.

    Token ids are ordered by frequency, the commonest first. Of F features, cluster i = 1, 2, ...
    reads `max(F // 4**i, 1)`. With n of them, K words in the head, and V_i words in cluster i,
    there are `F (K + n) + sum_i max(F // 4**i, 1) (F + V_i)` parameters.

    Attributes:
      vocabulary: number of token ids.
      cutoffs: the first token id of each cluster, increasing.
      initialization: initial values of the kernels.
      dtype: of the products.
    """

    vocabulary: int
    cutoffs: tuple[int, ...]
    initialization: Initialization = Initialization()
    dtype: Any = jnp.float32

    def __call__(
        self, vectors: Float[Array, "*batch features"]
    ) -> Float[Array, "*batch vocabulary"]:
        """Returns the log-probabilities of the tokens, float32, which are logits too.

        Args:
          vectors: outputs of the layer below.
        """
        softmax = self._weights(vectors.shape[-1])
        return adaptive_log_probabilities(vectors.astype(self.dtype), softmax)

    def cross_entropy(
        self,
        vectors: Float[Array, "*batch features"],
        targets: Int[Array, "*batch"],
        weights: Float[Array, "*batch"],
        *,
        mask: Bool[Array, "*batch"] | None = None,
    ) -> CrossEntropy:
        """Returns the cross-entropy of targets.

        A call without the rng stream 'dropout' is an evaluation, whose `is_correct` is exact.

        Args:
          vectors: outputs of the layer below.
          targets: token ids.
          weights: of the targets in the loss.
          mask: as for `rnnjax.kernels.adaptive_cross_entropy`.
        """
        softmax = self._weights(vectors.shape[-1])
        function = adaptive_cross_entropy if self.has_rng("dropout") else adaptive_evaluation
        return function(vectors.astype(self.dtype), softmax, targets, weights, mask)

    @nn.compact
    def _weights(self, features):
        def kernel(name, inputs, outputs):
            initializer = self.initialization.output(inputs)["kernel_init"]
            return self.param(name, initializer, (inputs, outputs))

        head = kernel("head", features, self.cutoffs[0] + len(self.cutoffs))
        projections, kernels = [], []
        bounds = itertools.pairwise((*self.cutoffs, self.vocabulary))
        for cluster, (first, end) in enumerate(bounds, 1):
            narrow = max(features // _DIVISOR**cluster, 1)
            projections.append(kernel(f"projection_{cluster}", features, narrow))
            kernels.append(kernel(f"kernel_{cluster}", narrow, end - first))
        return AdaptiveSoftmax(head, tuple(projections), tuple(kernels))
