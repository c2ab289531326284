"""Cross-entropy of a softmax over a vocabulary in chunks of rows, with its gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.matmul import flat_matmul

_CHUNK_LOGITS = 2**21
"""Most logits of a chunk, unless it has `_CHUNK_ROWS` rows."""
_CHUNK_ROWS = 128
"""Each chunk reads and writes the gradient of the kernel, which fewer rows would not pay for."""


class CrossEntropy(NamedTuple):
    """Cross-entropy of the targets.

    Attributes:
      loss: weighted sum over the tokens, with label smoothing; alone has a gradient.
      token_losses: -log p of each target in nats, without weights and label smoothing.
      is_correct: whether the target is the most probable token.
    """

    loss: Float[Array, ""]
    token_losses: Float[Array, "*batch"]
    is_correct: Bool[Array, "*batch"]


class SoftmaxOptions(NamedTuple):
    """Options of `chunked_cross_entropy`, by their names there."""

    axis: int = 0
    label_smoothing: float = 0.0
    soft_cap: float = 0.0
    chunk_rows: int = 0


def chunked_cross_entropy(
    vectors: Float[Array, "*batch features"],
    kernel: Float[Array, "_ _"],
    bias: Float[Array, " vocabulary"] | None,
    targets: Int[ArrayLike, "*batch"],
    weights: Float[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch"] | None = None,
    *,
    axis: int = 0,
    label_smoothing: float = 0.0,
    soft_cap: float = 0.0,
    chunk_rows: int = 0,
) -> CrossEntropy:
    r"""Returns the cross-entropy of softmax(vectors @ kernel + bias), a chunk of rows at a time.

    No more than the logits of a chunk are in memory. Under differentiation the forward pass
    computes the gradients of a chunk while it has its logits, as the cotangent of the loss only
    scales them: with unnormalized probabilities E and their sum Z by row,

    .. math::
        \partial h = \frac{w}{Z} (E - Z\,\text{onehot}) W^T, \quad
        \partial W = \Big(\frac{w}{Z} h\Big)^T (E - Z\,\text{onehot})

    are three products in all, and no pass over the logits normalizes them. Reverse mode only.

    Args:
      vectors: inputs of the output layer. Their dtype is that of the products; logits, sums and
        the gradients of kernel and bias are summed in float32.
      kernel: `[features, vocabulary]`, or `[vocabulary, features]` with `axis=1`.
      bias: of the output layer; None without.
      targets: token ids.
      weights: of the tokens in the loss; None for ones.
      mask: False where vectors are anything, also NaN; None if all count.
      axis: axis of the kernel that is summed over.
      label_smoothing: epsilon; the target distribution is 1 - epsilon for the target and uniform
        for epsilon. Szegedy et al., Rethinking the Inception architecture, CVPR 2016.
      soft_cap: logits z become `soft_cap * tanh(z / soft_cap)`; 0 for off. Bello et al., Neural
        combinatorial optimization with reinforcement learning, 2016, arXiv:1611.09940.
      chunk_rows: rows of a chunk; 0 to choose.
    """
    batch, features = vectors.shape[:-1], vectors.shape[-1]
    targets = jnp.asarray(targets)
    weights = jnp.ones(batch, jnp.float32) if weights is None else jnp.asarray(weights)
    weights = weights.astype(jnp.float32)
    if mask is not None:
        mask = jnp.asarray(mask)
        vectors = jnp.where(mask[..., None], vectors, jnp.zeros_like(vectors))
        weights = jnp.where(mask, weights, jnp.zeros_like(weights))
    options = SoftmaxOptions(axis, label_smoothing, soft_cap, chunk_rows)
    rows = vectors.reshape(-1, features), kernel, bias, targets.reshape(-1), weights.reshape(-1)
    result: Any = _cross_entropy(options, *rows)
    loss, token_losses, is_correct = result
    token_losses, is_correct = token_losses.reshape(batch), is_correct.reshape(batch)
    if mask is not None:
        token_losses = jnp.where(mask, token_losses, jnp.zeros_like(token_losses))
        is_correct = is_correct & mask
    return CrossEntropy(loss, token_losses, is_correct)


def is_most_probable(
    logits: Float[Array, "*batch vocabulary"], targets: Int[ArrayLike, "*batch"]
) -> Bool[Array, "*batch"]:
    """Returns whether the targets are `jnp.argmax(logits, axis=-1)`; False where logits are NaN.

    XLA's argmax is not vectorized on a CPU, and took a quarter of the training time of a model of
    words; these comparisons are.
    """
    targets = jnp.asarray(targets)[..., None]
    target_logits = jnp.take_along_axis(logits, targets, axis=-1)
    tokens = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    earlier = match_rank(tokens, targets) < targets  # argmax takes the first of equals
    return jnp.all(jnp.where(earlier, logits < target_logits, logits <= target_logits), axis=-1)


def most_chunk_rows(vocabulary: int) -> int:
    """Returns the most rows whose logits are in memory together."""
    return max(_CHUNK_ROWS, _CHUNK_LOGITS // vocabulary)


def _chunk_shape(num_rows: int, vocabulary: int, chunk_rows: int) -> tuple[int, int]:
    """Returns the number of chunks, and the rows of each."""
    most = chunk_rows or most_chunk_rows(vocabulary)
    num_chunks = max(-(-num_rows // most), 1)
    return num_chunks, -(-num_rows // num_chunks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cross_entropy(options, vectors, kernel, bias, targets, weights):
    return _run(options, vectors, kernel, bias, targets, weights, with_gradients=False)[0]


def _forward(options, vectors, kernel, bias, targets, weights):
    return _run(options, vectors, kernel, bias, targets, weights, with_gradients=True)


def _backward(options, residuals, cotangents):
    del options

    def scale(gradient):
        return (gradient.astype(jnp.float32) * cotangents[0]).astype(gradient.dtype)

    grad_vectors, grad_kernel, grad_bias, grad_weights = jax.tree.map(scale, residuals)
    return grad_vectors, grad_kernel, grad_bias, None, grad_weights


_cross_entropy.defvjp(_forward, _backward)


def _run(options, vectors, kernel, bias, targets, weights, with_gradients):
    """Returns loss, losses and hits of the rows, and the gradients of the arguments or None."""
    num_rows, vocabulary = len(vectors), kernel.shape[1 - options.axis]
    num_chunks, chunk_rows = _chunk_shape(num_rows, vocabulary, options.chunk_rows)
    product_kernel = kernel.astype(vectors.dtype)

    def chunk_step(sums, chunk):
        outputs, gradients = softmax_rows(options, with_gradients, product_kernel, bias, *chunk)
        if gradients is None:
            return None, outputs
        grad_vectors, *gradients = gradients
        return jax.tree.map(jnp.add, sums, gradients), (*outputs, grad_vectors)

    def split(rows):
        padding = [(0, num_chunks * chunk_rows - num_rows), *([(0, 0)] * (rows.ndim - 1))]
        return jnp.pad(rows, padding).reshape(num_chunks, chunk_rows, *rows.shape[1:])

    def merge(chunks):
        return chunks.reshape(num_chunks * chunk_rows, *chunks.shape[2:])[:num_rows]

    sums = None
    if with_gradients:
        zeros = functools.partial(jnp.zeros_like, dtype=jnp.float32)
        sums = [zeros(kernel), None if bias is None else zeros(bias)]
    chunks = jax.tree.map(split, (vectors, targets, weights))
    sums, outputs = jax.lax.scan(chunk_step, sums, chunks)
    losses, smoothed, is_correct, *grad_vectors = map(merge, outputs)
    result = jnp.sum(smoothed * weights), losses, is_correct
    if sums is None:
        return result, None
    grad_kernel, grad_bias = sums
    gradients = (
        grad_vectors[0].astype(vectors.dtype),
        grad_kernel.astype(kernel.dtype),
        None if bias is None else grad_bias.astype(bias.dtype),
        smoothed,
    )
    return result, gradients


def softmax_rows(
    options: SoftmaxOptions,
    with_gradients: bool,
    kernel: Float[Array, "_ _"],
    bias: Float[Array, " vocabulary"] | None,
    vectors: Float[Array, "rows features"],
    targets: Int[Array, " rows"],
    weights: Float[Array, " rows"],
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, jax.Array, jax.Array | None] | None]:
    """Returns the cross-entropy of a few rows, all of whose logits are in memory.

    Args:
      options: of the softmax.
      with_gradients: whether to compute them.
      kernel: as for `chunked_cross_entropy`, in the dtype of the vectors.
      bias: likewise.
      vectors: likewise.
      targets: likewise.
      weights: likewise.

    Returns:
      Losses, the same with label smoothing, and hits; and None, or the gradients of the weighted
      sum of smoothed losses by vectors, kernel and bias, float32.
    """
    summed = {"preferred_element_type": jnp.float32}
    logits = flat_matmul(vectors, kernel, options.axis, **summed)
    if bias is not None:
        logits += match_rank(bias.astype(jnp.float32), logits)
    if options.soft_cap:
        logits = options.soft_cap * jnp.tanh(logits / options.soft_cap)
    vocabulary, smoothing = logits.shape[-1], options.label_smoothing
    maximum = jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(logits - maximum)
    normalizer = jnp.sum(exponentials, axis=-1)
    log_normalizer = jnp.log(normalizer) + maximum[:, 0]
    target_logits = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    losses = smoothed = log_normalizer - target_logits
    if smoothing:
        uniform_losses = log_normalizer - jnp.mean(logits, axis=-1)
        smoothed = (1 - smoothing) * losses + smoothing * uniform_losses
    outputs = losses, smoothed, is_most_probable(logits, targets)
    if not with_gradients:
        return outputs, None
    # The gradient of the logits times normalizer / weight, which scales the products instead.
    gradient = exponentials.at[jnp.arange(len(targets)), targets].add((smoothing - 1) * normalizer)
    if smoothing:
        gradient -= (smoothing / vocabulary * normalizer)[:, None]
    if options.soft_cap:
        gradient *= 1 - jnp.square(logits / options.soft_cap)
    gradient, scale = gradient.astype(vectors.dtype), weights / normalizer
    scaled = (vectors.astype(jnp.float32) * scale[:, None]).astype(vectors.dtype)
    grad_vectors = flat_matmul(gradient, kernel, 1 - options.axis, **summed) * scale[:, None]
    pair = (scaled, gradient) if options.axis == 0 else (gradient, scaled)
    grad_kernel = jax.lax.dot_general(*pair, (((0,), (0,)), ((), ())), **summed)
    grad_bias = None
    if bias is not None:
        grad_bias = jnp.sum(gradient.astype(jnp.float32) * scale[:, None], axis=0)
    return outputs, (grad_vectors, grad_kernel, grad_bias)
