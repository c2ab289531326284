"""Greedy and beam search for the most probable output of an autoregressive decoder.

Both are pure functions of arrays, to be called inside `jax.jit`, and treat the rows of a batch
independently. They consider texts of at most `length` tokens, of which the last one is forced to be
the end, unless a beam search is told that a text may be cut there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import InputError

MAX_WIDTH = 1_000

State = Any
"""A pytree of arrays `[rows, ...]`."""

Step = Callable[
    [State, Int[Array, " rows"]],
    tuple[State, Float[Array, "rows vocabulary"], Float[Array, "rows source"]],
]
"""A decoder step, from a state and the previous token to the next state, the log-probabilities of
the next token, and the attention weights over the source (`[rows, 0]` without attention)."""


class SearchResult(NamedTuple):
    """Texts found by a search.

    Attributes:
      tokens: end token included, zeros after it; all zeros for an empty beam.
      scores: to rank texts by; minus infinity for an empty beam.
      attention: weights over the source at each token, zeros after the end.
    """

    tokens: Int[Array, "*texts length"]
    scores: Float[Array, " *texts"]
    attention: Float[Array, "*texts length source"]


def greedy(step: Step, state: State, rows: int, length: int, end: int) -> SearchResult:
    """Extends each row by its most probable next token, up to the end; `texts = [rows]`.

    Scores are log-probabilities.

    Args:
      step: takes `rows` rows.
      state: before the first token.
      rows: number of texts.
      length: most tokens of a text, the end included.
      end: the token that ends a text, read before the first one as well.

    Raises:
      InputError: `length` is not 1 or more.
    """
    _require(1, length=length)
    first = jnp.full(rows, end, jnp.int32)
    source = jax.eval_shape(step, state, first)[2].shape[-1]
    result = SearchResult(
        jnp.zeros((rows, length), jnp.int32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros((rows, length, source), jnp.float32),
    )

    def is_unfinished(carry):
        place, _, _, ended, _ = carry
        return (place < length) & ~jnp.all(ended)

    def advance(carry):
        place, state, last, ended, result = carry
        state, scores, attention = step(state, last)
        scores = _force_end(scores, place == length - 1, end)
        token = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        score = jnp.take_along_axis(scores, token[:, None], axis=-1)[:, 0]
        result = SearchResult(
            result.tokens.at[:, place].set(jnp.where(ended, 0, token)),
            result.scores + jnp.where(ended, 0, score),
            result.attention.at[:, place].set(jnp.where(ended[:, None], 0, attention)),
        )
        return place + 1, state, token, ended | (token == end), result

    initial = (jnp.int32(0), state, first, jnp.zeros(rows, bool), result)
    return jax.lax.while_loop(is_unfinished, advance, initial)[-1]


def beam_search(
    step: Step,
    state: State,
    mask: Bool[Array, "batch source"],
    *,
    width: int,
    length: int,
    end: int,
    start: Int[Array, " batch"] | None = None,
    force_end: bool = True,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
) -> SearchResult:
    r"""Returns the best finished texts, `texts = [batch, width]`, the best first.

    Each step ranks the continuations of the active beams. Of the `width` most probable ones, those
    that end are finished; the `width` most probable others stay active. A row is done when `width`
    texts are finished and no active beam can beat the worst of them. A text Y of log-probability
    log P, end included, has the score

    .. math::
        \log P \Big/ \Big(\frac{5 + |Y|}{6}\Big)^\alpha
        + \beta \sum_{i} \log \min\Big(\sum_j p_{ij}, 1\Big)

    where :math:`p_{ij}` is the attention weight of source token i at output token j.

    Source: Wu et al., Google's neural machine translation system, 2016, arXiv:1609.08144. There
    hypotheses that fall too far behind are dropped as well.

    Args:
      step: of `batch * width` rows, `width` consecutive ones for each row of the batch, as
        `repeat_rows` lays them out.
      state: before the first token, `[batch * width, ...]`.
      mask: True at the source tokens, for the coverage penalty.
      width: of the beam.
      length: most tokens of a text, the end included.
      end: the token that ends a text.
      start: the token that is read before the first one; None for `end`.
      force_end: the last of `length` tokens is the end. Otherwise a text of that many tokens is
        finished without it.
      length_penalty: alpha; 0 prefers short texts, 1 nearly compares means.
      coverage_penalty: beta; 0 is off.

    Raises:
      InputError: `width` or `length` is not 1 or more, or a penalty not 0 or more.
    """
    _require(1, width=width, length=length)
    if width > MAX_WIDTH:
        raise InputError(f"width of the beam: given {width}, expected at most {MAX_WIDTH:,}")
    _require(0, length_penalty=length_penalty, coverage_penalty=coverage_penalty)
    batch, source = mask.shape
    first = jnp.full(batch, end, jnp.int32) if start is None else start
    first = jnp.repeat(first[:, None], width, axis=1)
    blank = SearchResult(
        jnp.zeros((batch, width, length), jnp.int32),
        jnp.full((batch, width), -jnp.inf, jnp.float32),
        jnp.zeros((batch, width, length, source), jnp.float32),
    )
    # Before the first token all beams are equal: only one is active.
    active = blank._replace(scores=blank.scores.at[:, 0].set(0))

    def penalty(tokens):
        return ((5 + tokens) / 6) ** length_penalty

    def score(texts: SearchResult, place) -> jax.Array:
        scores = texts.scores / penalty(place + 1)
        if coverage_penalty:
            covered = jnp.clip(texts.attention.sum(axis=-2), jnp.finfo(jnp.float32).tiny, 1)
            logs = jnp.where(mask[:, None], jnp.log(covered), 0)
            scores += coverage_penalty * logs.sum(axis=-1)
        return scores

    def is_unfinished(carry):
        place, _, active, _ = carry
        return (place < length) & jnp.any(active.scores > -jnp.inf)

    def advance(carry):
        place, state, active, finished = carry
        last = jnp.where(place == 0, first, active.tokens[:, :, place - 1])
        state, scores, attention = step(state, last.reshape(-1))
        is_last = place == length - 1
        if force_end:
            scores = _force_end(scores, is_last, end)
        scores = scores.reshape(batch, width, -1)
        vocabulary = scores.shape[-1]
        totals = (active.scores[:, :, None] + scores).reshape(batch, -1)
        # At most `width` of these end before the last place.
        totals, best = jax.lax.top_k(totals, min(2 * width, totals.shape[-1]))
        parents, tokens = best // vocabulary, (best % vocabulary).astype(jnp.int32)
        attention_so_far = active.attention.at[:, :, place].set(attention.reshape(batch, width, -1))
        extended = SearchResult(
            _take_beams(active.tokens, parents).at[:, :, place].set(tokens),
            totals,
            _take_beams(attention_so_far, parents),
        )
        ends = (tokens == end) | is_last
        ended_scores = jnp.where(ends, score(extended, place), -jnp.inf)[:, :width]
        ended_texts = SearchResult(
            extended.tokens[:, :width], ended_scores, extended.attention[:, :width]
        )
        # top_k takes the first of equal scores, so that empty beams stay blank.
        finished = _top_beams(
            jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), finished, ended_texts),
            width,
        )
        # The best possible score of a beam: its log-probability over the largest penalty.
        worst = finished.scores.min(axis=1, keepdims=True)
        active_scores = jnp.where(ends | (totals / penalty(length) <= worst), -jnp.inf, totals)
        scores, chosen = jax.lax.top_k(active_scores, width)
        parents = jnp.take_along_axis(parents, chosen, axis=1)
        rows = (jnp.arange(batch)[:, None] * width + parents).reshape(-1)
        state = jax.tree.map(lambda leaf: leaf[rows], state)
        active = SearchResult(
            _take_beams(extended.tokens, chosen), scores, _take_beams(extended.attention, chosen)
        )
        return place + 1, state, active, finished

    return jax.lax.while_loop(is_unfinished, advance, (jnp.int32(0), state, active, blank))[-1]


def repeat_rows(tree: Any, width: int) -> Any:
    """Repeats each row of arrays `[batch, ...]` for each beam: `[batch * width, ...]`."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0), tree)


def _force_end(scores: jax.Array, last: jax.Array, end: int) -> jax.Array:
    """Masks all tokens but the end at the last step."""
    is_not_end = jnp.arange(scores.shape[-1]) != end
    return jnp.where(last & is_not_end, -jnp.inf, scores)


def _top_beams(texts: SearchResult, count: int) -> SearchResult:
    scores, chosen = jax.lax.top_k(texts.scores, count)
    return SearchResult(
        _take_beams(texts.tokens, chosen), scores, _take_beams(texts.attention, chosen)
    )


def _take_beams(values: jax.Array, indices: Int[Array, "batch count"]) -> jax.Array:
    """Gathers beams of values `[batch, beam, ...]`, in the order of the indices."""
    indices = indices.reshape(indices.shape + (1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, indices, axis=1)


def _require(least: int, **numbers: float) -> None:
    for name, value in numbers.items():
        if not value >= least:
            raise InputError(f"{name}: given {value}, expected {least} or more")
