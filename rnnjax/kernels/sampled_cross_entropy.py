"""Cross-entropy of a softmax over the target and a sample of the vocabulary."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.cross_entropy import CrossEntropy
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.matmul import flat_matmul


def sample_tokens(
    key: jax.Array, vocabulary: int, count: int
) -> tuple[Int[Array, " count"], Float[Array, " count"]]:
    r"""Draws token ids, with replacement, and returns them with the logarithms of their counts.

    Token k has the probability :math:`\log\frac{k + 2}{k + 1} / \log(V + 1)`, near that of the
    words of a language by their rank (Zipf's law): the ids should be sorted by frequency, the
    commonest first.

    Args:
      key: of the draw.
      vocabulary: V, the number of token ids.
      count: of the draws.

    Returns:
      The ids, and the logarithm of the number of times that a draw of this size expects of each.
    """
    uniform = jax.random.uniform(key, (count,))
    tokens = jnp.exp(uniform * jnp.log(vocabulary + 1.0)).astype(jnp.int32) - 1
    tokens = jnp.clip(tokens, 0, vocabulary - 1)
    rank = tokens.astype(jnp.float32)
    probabilities = jnp.log1p(1 / (rank + 1)) / jnp.log(vocabulary + 1.0)
    return tokens, jnp.log(count * probabilities)


def sampled_cross_entropy(
    vectors: Float[Array, "*batch features"],
    kernel: Float[Array, "_ _"],
    bias: Float[Array, " vocabulary"] | None,
    targets: Int[Array, "*batch"],
    weights: Float[Array, "*batch"],
    mask: Bool[Array, "*batch"] | None,
    samples: Int[Array, " count"],
    log_counts: Float[Array, " count"],
    *,
    axis: int = 0,
    soft_cap: float = 0.0,
) -> CrossEntropy:
    r"""Returns the cross-entropy of each target among itself and sampled tokens.

    The softmax of a target is over its logit and those of the samples less the logarithm of their
    expected counts, so that the sum over the samples estimates that over the vocabulary; a sample
    that equals the target is left out. Time and memory grow with the samples, and not with the
    vocabulary. It is for training: the loss is below that of the full softmax where the sample is
    small, and its gradient is biased.

    Source: Jean, Cho, Memisevic, Bengio, On using very large target vocabulary for neural machine
    translation, ACL 2015, arXiv:1412.2007.

    Args:
      vectors: as for `rnnjax.kernels.chunked_cross_entropy`.
      kernel: likewise.
      bias: likewise.
      targets: likewise.
      weights: likewise.
      mask: likewise.
      samples: token ids, the same for all targets.
      log_counts: logarithms of their expected counts; zeros for each token of a vocabulary once,
        which gives the full softmax.
      axis: as for `chunked_cross_entropy`.
      soft_cap: likewise.

    Returns:
      As `chunked_cross_entropy`; `is_correct` is whether no sample is more probable.
    """
    vectors, weights = zero_masked(vectors, mask), zero_masked(weights, mask)
    summed = {"preferred_element_type": jnp.float32}

    def columns(tokens):
        return jnp.take(kernel, tokens, axis=1 - axis).astype(vectors.dtype)

    logits = flat_matmul(vectors, columns(samples), axis, **summed)
    target_columns = columns(targets)
    target_columns = jnp.moveaxis(target_columns, 0, -1) if axis == 0 else target_columns
    target_logits = jnp.einsum("...f,...f->...", vectors, target_columns, **summed)
    if bias is not None:
        logits += match_rank(bias[samples].astype(jnp.float32), logits)
        target_logits += bias[targets].astype(jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
        target_logits = soft_cap * jnp.tanh(target_logits / soft_cap)
    is_target = match_rank(samples, logits) == targets[..., None]
    is_correct = jnp.all(is_target | (logits <= target_logits[..., None]), axis=-1)
    logits = jnp.where(is_target, -jnp.inf, logits - match_rank(log_counts, logits))
    normalizer = jax.nn.logsumexp(
        jnp.concatenate([logits, target_logits[..., None]], axis=-1), axis=-1
    )
    losses = zero_masked(normalizer - target_logits, mask)
    is_correct = is_correct if mask is None else is_correct & mask
    return CrossEntropy(jnp.sum(losses * weights), losses, is_correct)
