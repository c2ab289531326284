r"""Adaptive softmax: common words in a head, rarer ones in tail clusters of fewer features.

Words are ordered by frequency, the commonest first. With the head's probabilities of common words
and of clusters C, of which h is the input,

.. math::
    p(w) = p_\text{head}(w), \quad
    p(w) = p_\text{head}(C_i)\, \text{softmax}(h P_i W_i)_w \; (w \in C_i)

Source: Grave, Joulin, Cissé, Grangier, Jégou, Efficient softmax approximation for GPUs, ICML 2017,
arXiv:1609.04309. There are no biases, as by default in `torch.nn.AdaptiveLogSoftmaxWithLoss`.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels.cross_entropy import (
    CrossEntropy,
    SoftmaxOptions,
    chunked_cross_entropy,
    is_most_probable,
    most_chunk_rows,
    softmax_rows,
)
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.matmul import flat_matmul

_TAIL_ROWS = 64
"""Rows of a chunk of a cluster: few, as the last is padded, and kernels of clusters are narrow."""


class AdaptiveSoftmax(NamedTuple):
    """Weights of an adaptive softmax, whose shapes determine the clusters.

    Attributes:
      head: of the common words, then of the clusters, `[features, words + clusters]`.
      projections: P of each cluster, `[features, narrow features]`.
      kernels: W of each cluster, `[narrow features, its words]`.
    """

    head: Float[Array, "features head"]
    projections: tuple[Float[Array, "features _"], ...]
    kernels: tuple[Float[Array, "_ _"], ...]

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The first token id of each cluster."""
        head_words = self.head.shape[1] - len(self.kernels)
        sizes = (kernel.shape[1] for kernel in self.kernels[:-1])
        return tuple(itertools.accumulate(sizes, initial=head_words))


def adaptive_log_probabilities(
    vectors: Float[Array, "*batch features"], weights: AdaptiveSoftmax
) -> Float[Array, "*batch vocabulary"]:
    """Returns the log-probabilities of all words, float32; the products have the vectors' dtype."""
    num_words = weights.cutoffs[0]
    head = _log_softmax(vectors, weights.head)
    parts = [head[..., :num_words]]
    tails = zip(weights.projections, weights.kernels, strict=True)
    for cluster, (projection, kernel) in enumerate(tails, num_words):
        tail = _log_softmax(_product(vectors, projection).astype(vectors.dtype), kernel)
        parts.append(tail + head[..., cluster, None])
    return jnp.concatenate(parts, axis=-1)


def adaptive_cross_entropy(
    vectors: Float[Array, "*batch features"],
    softmax: AdaptiveSoftmax,
    targets: Int[Array, "*batch"],
    weights: Float[Array, "*batch"],
    mask: Bool[Array, "*batch"] | None = None,
) -> CrossEntropy:
    """Returns the cross-entropy of targets, for training.

    A cluster's logits are of the targets in it alone, a chunk of rows at a time in a loop of as
    many turns as these fill. Loss and derivative are exact; the forward pass computes the latter,
    as in `chunked_cross_entropy`. Reverse mode only.

    Args:
      vectors: inputs of the output layer, whose dtype is that of the products.
      softmax: weights of the output layer.
      targets: token ids.
      weights: of the tokens in the loss.
      mask: False where vectors and weights are anything, also NaN; None if all count.

    Returns:
      As `chunked_cross_entropy`; `is_correct` is whether the target is the choice of the most
      probable entry of the head, and then of the most probable word of that cluster. Another word
      may be more probable: `adaptive_evaluation` is exact.
    """
    vectors, weights = zero_masked(vectors, mask), zero_masked(weights, mask).astype(jnp.float32)
    cutoffs = softmax.cutoffs
    clusters = jnp.sum(jnp.stack([targets >= cutoff for cutoff in cutoffs]), axis=0)
    head_targets = jnp.where(clusters == 0, targets, cutoffs[0] - 1 + clusters)
    loss, losses, is_correct = chunked_cross_entropy(
        vectors, softmax.head, None, head_targets, weights, mask
    )
    tails = zip(cutoffs, softmax.projections, softmax.kernels, strict=True)
    for cluster, (cutoff, projection, kernel) in enumerate(tails, 1):
        is_member = clusters == cluster if mask is None else (clusters == cluster) & mask
        rows = _product(vectors, projection).astype(vectors.dtype)
        columns = (array.reshape(-1) for array in (targets - cutoff, weights, is_member))
        rows = rows.reshape(-1, rows.shape[-1])
        result: Any = _tail_cross_entropy(rows, kernel, *columns)
        tail_loss, tail_losses, is_best = result
        loss += tail_loss
        losses += tail_losses.reshape(targets.shape)
        is_correct &= is_best.reshape(targets.shape) | ~is_member
    return CrossEntropy(loss, losses, is_correct)


def adaptive_evaluation(
    vectors: Float[Array, "*batch features"],
    softmax: AdaptiveSoftmax,
    targets: Int[Array, "*batch"],
    weights: Float[Array, "*batch"],
    mask: Bool[Array, "*batch"] | None = None,
) -> CrossEntropy:
    """Returns the cross-entropy of targets from the probabilities of all words, in chunks of rows.

    Args:
      vectors: as for `adaptive_cross_entropy`.
      softmax: likewise.
      targets: likewise.
      weights: likewise.
      mask: likewise.

    Returns:
      As `chunked_cross_entropy`.
    """
    vectors, weights = zero_masked(vectors, mask), zero_masked(weights, mask)

    def evaluate(row):
        log_probabilities = adaptive_log_probabilities(row[0], softmax)
        return -log_probabilities[row[1]], is_most_probable(log_probabilities, row[1])

    vocabulary = softmax.cutoffs[-1] + softmax.kernels[-1].shape[1]
    rows = vectors.reshape(-1, vectors.shape[-1]), targets.reshape(-1)
    losses, is_correct = jax.lax.map(evaluate, rows, batch_size=most_chunk_rows(vocabulary))
    losses = zero_masked(losses.reshape(targets.shape), mask)
    is_correct = zero_masked(is_correct.reshape(targets.shape), mask)
    return CrossEntropy(jnp.sum(losses * weights), losses, is_correct)


def _log_softmax(vectors, kernel):
    return jax.nn.log_softmax(_product(vectors, kernel))


def _product(vectors, kernel):
    return flat_matmul(vectors, kernel.astype(vectors.dtype), preferred_element_type=jnp.float32)


@jax.custom_vjp
def _tail_cross_entropy(rows, kernel, targets, weights, is_member):
    """Returns loss, losses and hits of the rows of a cluster, the others zero and False."""
    return _forward(rows, kernel, targets, weights, is_member)[0]


def _forward(rows, kernel, targets, weights, is_member):
    num_rows = len(rows)
    chunk_rows = min(_TAIL_ROWS, num_rows)
    size = -(-num_rows // chunk_rows) * chunk_rows
    (members,) = jnp.nonzero(is_member, size=size, fill_value=num_rows)
    product_kernel = kernel.astype(rows.dtype)
    zeros = functools.partial(jnp.zeros_like, dtype=jnp.float32)

    def add_chunk(chunk, sums):
        *of_rows, grad_kernel = sums
        index = jax.lax.dynamic_slice_in_dim(members, chunk * chunk_rows, chunk_rows)
        inputs = [a.at[index].get(mode="fill", fill_value=0) for a in (rows, targets, weights)]
        result: Any = softmax_rows(SoftmaxOptions(), True, product_kernel, None, *inputs)
        (losses, _, is_best), gradients = result
        pairs = zip(of_rows, (losses, is_best, gradients[0]), strict=True)
        of_rows = (array.at[index].set(values, mode="drop") for array, values in pairs)
        return *of_rows, grad_kernel + gradients[1]

    num_chunks = (jnp.sum(is_member) + chunk_rows - 1) // chunk_rows
    sums = zeros(weights), jnp.zeros_like(is_member), zeros(rows), zeros(kernel)
    losses, is_best, *gradients = jax.lax.fori_loop(0, num_chunks, add_chunk, sums)
    gradients = gradients[0].astype(rows.dtype), gradients[1].astype(kernel.dtype), losses
    return (jnp.sum(losses * weights), losses, is_best), gradients


def _backward(residuals, cotangents):
    grad_rows, grad_kernel, grad_weights = (
        (array.astype(jnp.float32) * cotangents[0]).astype(array.dtype) for array in residuals
    )
    return grad_rows, grad_kernel, None, grad_weights, None


_tail_cross_entropy.defvjp(_forward, _backward)
