"""Recurrences of matrix states: one step, and whole sequences by chunks of matrix products."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.masking import where_mask, zero_masked

SHORTEST_CHUNK = 16
"""Shortest default chunk, in steps."""

LONGEST_CHUNK = 64
"""Longest default chunk."""

LONGEST_DELTA_CHUNK = 32
"""Longest default chunk of the delta rule, and of transitions of low rank."""

CHANNEL_CHUNK = 8
"""Default chunk where each key channel has a decay without a lower bound: its cost grows with the
length."""

LARGEST_EXPONENT = 24.0
"""Largest sum of log decays over a chunk, in size, where they have a lower bound: its exponential
must be a float32."""


class MatrixInputs(NamedTuple):
    """What steps read of their inputs: `[..., heads, size]`, of any number of leading axes.

    Attributes:
      query: `[..., heads, keys]`.
      key: `[..., heads, keys]`.
      value: `[..., heads, values]`.
      log_decay: at most 0; `[..., heads]`, or one for each key channel `[..., heads, keys]`.
      beta: rate at which the delta rule corrects, `[..., heads]`; None for a sum of products.
      log_gain: logarithm of the factor of key and value, `[..., heads]`; None for 1. States are
        then kept divided by the exponential of a stabilizer.
      left: with `right`, the part of low rank of the transition diag(a) - left right^T,
        `[..., heads, keys]`; None for none. Beside it are neither beta nor gains.
      right: as `left`.
    """

    query: Float[Array, "*steps heads keys"]
    key: Float[Array, "*steps heads keys"]
    value: Float[Array, "*steps heads values"]
    log_decay: Float[Array, "..."]
    beta: Float[Array, "*steps heads"] | None = None
    log_gain: Float[Array, "*steps heads"] | None = None
    left: Float[Array, "*steps heads keys"] | None = None
    right: Float[Array, "*steps heads keys"] | None = None


class MatrixState(NamedTuple):
    """A matrix for each head, to be multiplied by exp(stabilizer) if there is one."""

    matrix: Float[Array, "batch heads keys values"]
    stabilizer: Float[Array, "batch heads"] | None = None


def matrix_step(
    state: MatrixState, inputs: MatrixInputs
) -> tuple[MatrixState, Float[Array, "*batch heads values"]]:
    r"""Computes one step, and the product of its query and the next state.

    .. math::
        S_t &= a_t S_{t-1} + k_t u_t^\top \\
        u_t &= v_t \text{ or } \beta_t (v_t - (a_t S_{t-1})^\top k_t)

    which for the second, the delta rule, is
    :math:`(I - \beta_t k_t k_t^\top) a_t S_{t-1} + \beta_t k_t v_t^\top`. With a gain i the product
    of key and value is multiplied by it, and the state is divided by :math:`\exp(m_t)`,
    :math:`m_t = \max(\log a_t + m_{t-1}, \log i_t, 0)`. A part of low rank of the transition adds
    :math:`-l_t r_t^\top S_{t-1}`.
    """
    query, key, value, log_decay, beta, log_gain, left, right = inputs
    matrix, stabilizer = state
    if log_gain is not None:
        assert stabilizer is not None
        next_stabilizer = jnp.maximum(log_decay + stabilizer, jnp.maximum(log_gain, 0))
        log_decay = log_decay + stabilizer - next_stabilizer
        value = value * jnp.exp(log_gain - next_stabilizer)[..., None]
        stabilizer = next_stabilizer
    decay = jnp.exp(log_decay)
    before = matrix
    matrix = matrix * decay.reshape(*decay.shape, *(1,) * (matrix.ndim - decay.ndim))
    if left is not None and right is not None:
        matrix = matrix - left[..., :, None] * _query(right, before)[..., None, :]
    if beta is not None:
        value = beta[..., None] * (value - _query(key, matrix))
    matrix = matrix + key[..., :, None] * value[..., None, :]
    return MatrixState(matrix, stabilizer), _query(query, matrix)


def chunkwise_matrix_recurrence(
    inputs: MatrixInputs,
    initial_state: MatrixState,
    mask: Bool[Array, "batch time"] | None = None,
    reverse: bool = False,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: MatrixState | None = None,
    chunk_length: int | None = None,
    lowest_log_decay: float | None = None,
) -> tuple[MatrixState, Float[Array, "batch time heads values"], jax.Array | None]:
    r"""Computes `matrix_step` over time, under the mask rule, by chunks of matrix products.

    Within a chunk the outputs are the product of the queries and the keys, weighted by the decays
    between them, times the values; the state goes from chunk to chunk. The values u of the delta
    rule solve one triangular system a chunk, by the inverse of its matrix (the WY form):

    .. math:: u_t + \beta_t \sum_{s < t} e^{g_{s+1} + ... + g_t} k_t^\top k_s u_s =
        \beta_t (v_t - e^{g_1 + ... + g_t} S_0^\top k_t)

    All exponents are sums of log decays, at most 0, added up for each pair of steps by itself: no
    difference of large sums. Where each key channel has its decay, the pairs are an array [chunk,
    chunk, keys], unless the decays have a lower bound: then they are products of a factor of each
    step, whose exponents are sums over the chunk, at most `LARGEST_EXPONENT` in size. A part of low
    rank adds the vectors :math:`u_t = -r_t^\top S_{t-1}` with the keys :math:`l_t`, which solve
    such a system as well. The backward pass saves the states between chunks alone, and computes
    each chunk again.

    A masked step has the decay 1 and no key. A step with a reset begins a document from
    `reset_state`: steps see those of their document, but an infinite or NaN value may reach another
    one in its chunk.

    Source: Hua et al., Transformer quality in linear time, ICML 2022, for chunks; Yang et al.,
    Parallelizing linear transformers with the delta rule over sequence length, NeurIPS 2024,
    arXiv:2406.06484, and Gated delta networks, ICLR 2025, arXiv:2412.06464, for the delta rule.

    Args:
      inputs: `[batch, time, heads, ...]`; their dtype is that of the state.
      initial_state: before the first step that is read.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      resets: True where a step begins from `reset_state`; None if none does.
      reset_state: needed with `resets`.
      chunk_length: at most; None for half of the key size, from 16 to 64 (to 32 for the delta rule
        and transitions of low rank, 8 where pairs are an array): as many steps make the products
        within a chunk about as costly as those with the state.
      lowest_log_decay: lower bound of `log_decay`, below 0, where each key channel has its own;
        None if there is none. A part of low rank needs it.

    Returns:
      The final state, the products of queries and states, and the stabilizers `[batch, time,
      heads]` if there are.

    Raises:
      ValueError: the inputs do not go together.
    """
    time = inputs.key.shape[1]
    is_bounded = lowest_log_decay is not None
    _check_inputs(inputs, lowest_log_decay)
    longest = chunk_length or _default_chunk(inputs, is_bounded)
    if lowest_log_decay is not None:
        longest = max(min(longest, int(LARGEST_EXPONENT / -lowest_log_decay)), 1)
    count = -(-time // longest)
    length = -(-time // count)
    log_gain = inputs.log_gain
    inputs = jax.tree.map(lambda leaf: zero_masked(leaf, mask), inputs)
    floor = None
    if log_gain is not None:
        nothing = jnp.full_like(log_gain, -jnp.inf)
        floor = where_mask(mask, jnp.maximum(log_gain, 0), nothing)
        inputs = inputs._replace(log_gain=where_mask(mask, log_gain, nothing))

    def split(leaf, fill=0.0):
        """Returns [chunks, batch, heads, length, ...] of [batch, time, heads, ...]."""
        leaf = jnp.flip(leaf, axis=1) if reverse else leaf
        padding = [(0, 0), (0, count * length - time)] + [(0, 0)] * (leaf.ndim - 2)
        leaf = jnp.pad(leaf, padding, constant_values=fill)
        leaf = leaf.reshape(leaf.shape[0], count, length, *leaf.shape[2:])
        return jnp.moveaxis(leaf, (1, 2), (0, 3)) if leaf.ndim > 3 else jnp.moveaxis(leaf, 1, 0)

    def join(leaf):
        leaf = jnp.moveaxis(leaf, (0, 3), (1, 2))
        leaf = leaf.reshape(leaf.shape[0], count * length, *leaf.shape[3:])[:, :time]
        return jnp.flip(leaf, axis=1) if reverse else leaf

    chunks = jax.tree.map(split, inputs._replace(log_gain=None))
    if floor is not None:
        chunks = chunks._replace(log_gain=split(inputs.log_gain, -jnp.inf))
        floor = split(floor, -jnp.inf)
    documents = None if resets is None else jnp.cumsum(split(resets, False), axis=-1)

    @jax.checkpoint
    def body(state, chunk):
        return _run_chunk(state, reset_state, is_bounded, *chunk)

    final, (products, stabilizers) = jax.lax.scan(body, initial_state, (chunks, floor, documents))
    return final, join(products), None if stabilizers is None else join(stabilizers)


def _check_inputs(inputs: MatrixInputs, lowest_log_decay: float | None) -> None:
    """Raises ValueError for a combination of inputs that has no meaning, or no chunks."""
    if (inputs.left is None) != (inputs.right is None):
        raise ValueError("left, right: given one of them; expected both, or neither")
    if inputs.left is not None and (inputs.beta is not None or inputs.log_gain is not None):
        raise ValueError("left, right: given with beta or log_gain; expected neither beside them")
    if lowest_log_decay is None:
        if inputs.left is not None:
            raise ValueError(
                "lowest_log_decay: given None with a transition of low rank; expected the lower "
                "bound of the logarithms of its decays"
            )
    elif inputs.log_decay.ndim != inputs.key.ndim or lowest_log_decay >= 0:
        raise ValueError(
            f"lowest_log_decay: given {lowest_log_decay}; expected a number below 0, and a decay "
            "for each key channel"
        )


def _default_chunk(inputs: MatrixInputs, is_bounded: bool) -> int:
    """Returns a number of steps by the shapes, measured on CPUs with keys of 16 to 256."""
    if inputs.log_decay.ndim == inputs.key.ndim and not is_bounded:
        return CHANNEL_CHUNK
    is_plain = inputs.beta is None and inputs.left is None
    longest = LONGEST_CHUNK if is_plain else LONGEST_DELTA_CHUNK
    return min(max(inputs.key.shape[-1] // 2, SHORTEST_CHUNK), longest)


def _run_chunk(state, reset_state, is_bounded, inputs, floor, documents):
    """Returns the state after a chunk, and the products and stabilizers of its steps.

    Args:
      state: before the chunk.
      reset_state: of the documents that begin in it.
      is_bounded: whether the decays of key channels have a lower bound.
      inputs: `[batch, heads, length, ...]`.
      floor: lower bound of each step's stabilizer, `[batch, heads, length]`; None without gains.
      documents: number of each step's document, 0 for the one that the state is of; `[batch,
        length]`, None if there is no other.
    """
    query, key, value, log_decay, beta, log_gain, left, right = inputs
    length = key.shape[2]
    visible = jnp.tril(jnp.ones((length, length), bool))[None, None]
    if documents is not None:
        visible = visible & (documents[:, None, :, None] == documents[:, None, None, :])
    is_channelwise = log_decay.ndim == key.ndim
    # The logarithms of the decays between two steps, and since the document's begin.
    between: Any = None if is_bounded else _segment_sums(log_decay)
    since = _sum_steps("bits,bhs...->bht...", visible, log_decay)
    stabilizers = None
    if log_gain is not None:
        carried = state.stabilizer[..., None]
        if documents is not None:
            is_first = (documents == 0)[:, None]
            carried = jnp.where(is_first, carried, reset_state.stabilizer[..., None])
        since = since + carried
        floors = jnp.where(visible, between + floor[..., None, :], -jnp.inf).max(axis=-1)
        stabilizers = jnp.maximum(since, floors)
        # Less the stabilizers; in this form masked steps have no gradient, not even by rounding.
        since = jnp.minimum(since - floors, 0)
        between = between + log_gain[..., None, :] - stabilizers[..., None]
    decayed = jnp.exp(since) if is_channelwise else jnp.exp(since)[..., None]
    if is_bounded:
        # From the chunk's begin: a step's factors depend on no later step.
        total = jnp.cumsum(log_decay, axis=2)
        decay, growth = jnp.exp(total), jnp.exp(-total)
        last_weights = jnp.where(visible[..., -1, :, None], jnp.exp(total[:, :, -1:] - total), 0)
    else:
        pairs = visible[..., None] if is_channelwise else visible
        weights = jnp.exp(jnp.where(pairs, between, -jnp.inf))
        last_weights = weights[..., -1, :, :] if is_channelwise else weights[..., -1, :, None]

    def read_state(vectors):
        """Returns the products with the state before the chunk, or before a document in it."""
        products = (vectors * decayed) @ state.matrix
        if documents is None:
            return products
        of_reset = (vectors * decayed) @ reset_state.matrix
        return jnp.where((documents == 0)[:, None, :, None], products, of_reset)

    def weighted_products(vectors, keys):
        """Returns the products of steps and earlier ones, `[batch, heads, length, length]`."""
        if is_bounded:
            return jnp.where(visible, (vectors * decay) @ (keys * growth).swapaxes(-1, -2), 0)
        if is_channelwise:
            return (vectors[..., :, None, :] * keys[..., None, :, :] * weights).sum(axis=-1)
        return (vectors @ keys.swapaxes(-1, -2)) * weights

    if beta is not None:
        earlier = jnp.tril(weighted_products(key, key), -1)
        inverse = _inverse_of_unit_triangular(beta[..., None] * earlier)
        value = inverse @ (beta[..., None] * (value - read_state(key)))
    writes = [(key, value)]
    if left is not None and right is not None:
        right = right * jnp.exp(-log_decay)  # of the state before the decay
        earlier = jnp.tril(weighted_products(right, left), -1)
        removed = read_state(right) + jnp.tril(weighted_products(right, key), -1) @ value
        writes.append((left, -_inverse_of_unit_triangular(earlier) @ removed))
    products, matrix = read_state(query), state.matrix
    if documents is not None:
        first = (documents[:, -1] == 0)[:, None, None, None]
        matrix = jnp.where(first, matrix, reset_state.matrix)
    matrix = decayed[..., -1, :, None] * matrix
    for keys, values in writes:
        products = products + weighted_products(query, keys) @ values
        matrix = matrix + (keys * last_weights).swapaxes(-1, -2) @ values
    next_state = MatrixState(matrix, None if stabilizers is None else stabilizers[..., -1])
    return next_state, (products, stabilizers)


@jax.custom_jvp
def _inverse_of_unit_triangular(lower: jax.Array) -> jax.Array:
    """Returns the inverses of I + L for strictly lower triangular L, `[..., length, length]`.

    Blocks on the diagonal are inverted, then pairs of them as blocks of twice the size. Its matrix
    products are faster on a CPU than a triangular solve, a library's call for each matrix.
    """
    length = lower.shape[-1]
    index = jnp.arange(length)
    inverse = jnp.broadcast_to(jnp.eye(length, dtype=lower.dtype), lower.shape)
    size = 1
    while size < length:
        number = index // size
        # The blocks below the diagonal in a pair.
        is_second = (number % 2 == 1)[:, None]
        is_pair = is_second & (number[:, None] - 1 == number[None, :])
        block = jnp.where(is_pair.reshape(*(1,) * (lower.ndim - 2), length, length), lower, 0)
        # The first inverse is I.
        inverse = inverse - (block if size == 1 else inverse @ block @ inverse)
        size *= 2
    return inverse


@_inverse_of_unit_triangular.defjvp
def _inverse_jvp(primals, tangents):
    inverse = _inverse_of_unit_triangular(*primals)
    return inverse, -(inverse @ tangents[0] @ inverse)


def _segment_sums(values: jax.Array) -> jax.Array:
    """Returns the sums of the steps after s up to t, `[batch, heads, t, s, ...]`."""
    length = values.shape[2]
    until = jnp.tril(jnp.ones((length, length), bool))
    after = jnp.tril(until, -1).reshape(1, 1, length, length, *(1,) * (values.ndim - 3))
    values = jnp.where(after, values[:, :, :, None], 0)
    if values.ndim == 5:  # Chunks are short there, and a sum is faster than a product.
        return jnp.cumsum(values, axis=2)
    return _sum_steps("tr,bhrs->bhts", until, values)


def _sum_steps(equation: str, steps: jax.Array, values: jax.Array) -> jax.Array:
    """Returns sums over steps, to all digits on a GPU as well."""
    return jnp.einsum(equation, steps.astype(values.dtype), values, precision="highest")


def _query(vectors: jax.Array, matrix: jax.Array) -> jax.Array:
    return jnp.einsum("...k,...kv->...v", vectors, matrix)
