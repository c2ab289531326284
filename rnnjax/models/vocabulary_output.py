"""The output layer over a vocabulary: logits, or the cross-entropy of targets in chunks."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels import (
    CrossEntropy,
    chunked_cross_entropy,
    flat_matmul,
    match_rank,
    sample_tokens,
    sampled_cross_entropy,
)


class VocabularyOutput(nn.Module):
    """A linear layer over a vocabulary, whose products are summed in float32.

    With the table of an embedding, that is the transposed kernel (tied weights); otherwise the
    layer has its own. `features * vocabulary + vocabulary` parameters, without those of a tied
    kernel or of a bias that it has not.

    Attributes:
      vocabulary: number of token ids.
      use_bias: add a bias to the logits.
      soft_cap: as for `rnnjax.kernels.chunked_cross_entropy`.
      samples: tokens that stand for the vocabulary in the cross-entropy of a training step
        (`rnnjax.kernels.sampled_cross_entropy`), drawn from the rng stream 'dropout', a call
        without which is an evaluation; 0 for the vocabulary itself.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dtype: of the products.
    """

    vocabulary: int
    use_bias: bool = True
    soft_cap: float = 0.0
    samples: int = 0
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros
    dtype: Any = jnp.float32

    def __call__(
        self,
        vectors: Float[Array, "*batch features"],
        table: Float[Array, "vocabulary features"] | None = None,
    ) -> Float[Array, "*batch vocabulary"]:
        """Returns the logits, float32.

        Args:
          vectors: outputs of the layer below.
          table: of a tied embedding; None for a kernel of the layer.
        """
        kernel, bias, axis = self._weights(vectors.shape[-1], table)
        kernel, vectors = kernel.astype(self.dtype), vectors.astype(self.dtype)
        logits = flat_matmul(vectors, kernel, axis, preferred_element_type=jnp.float32)
        if bias is not None:
            logits += match_rank(bias, logits)
        return self.soft_cap * jnp.tanh(logits / self.soft_cap) if self.soft_cap else logits

    def cross_entropy(
        self,
        vectors: Float[Array, "*batch features"],
        targets: Int[Array, "*batch"],
        weights: Float[Array, "*batch"],
        table: Float[Array, "vocabulary features"] | None = None,
        *,
        mask: Bool[Array, "*batch"] | None = None,
        label_smoothing: float = 0.0,
    ) -> CrossEntropy:
        """Returns the cross-entropy of targets, never holding the logits of all of them.

        Args:
          vectors: outputs of the layer below.
          targets: token ids.
          weights: of the targets in the loss.
          table: as for `__call__`.
          mask: as for `rnnjax.kernels.chunked_cross_entropy`.
          label_smoothing: likewise.
        """
        kernel, bias, axis = self._weights(vectors.shape[-1], table)
        if self.samples and self.has_rng("dropout"):
            sample = sample_tokens(self.make_rng("dropout"), self.vocabulary, self.samples)
            return sampled_cross_entropy(
                vectors.astype(self.dtype),
                kernel,
                bias,
                targets,
                weights,
                mask,
                *sample,
                axis=axis,
                soft_cap=self.soft_cap,
            )
        return chunked_cross_entropy(
            vectors.astype(self.dtype),
            kernel,
            bias,
            targets,
            weights,
            mask,
            axis=axis,
            label_smoothing=label_smoothing,
            soft_cap=self.soft_cap,
        )

    @nn.compact
    def _weights(self, features, table):
        """Returns kernel, bias or None, and the axis of the kernel that is summed over."""
        bias = None
        if table is None:
            kernel = self.param("kernel", self.kernel_init, (features, self.vocabulary))
        else:
            kernel = table
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.vocabulary,))
        return kernel, bias, 0 if table is None else 1
