"""The most probable texts of a network that writes token by token: greedy search, beam search.

Both are pure functions of arrays, for the inside of `jax.jit`; the rows of a batch know nothing of
each other. Both look among the texts that end within a number of tokens: the last place can hold
nothing but the end.
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
"""Returns the next state, the log-probability of each next token, and the weights of attention over
the source (`[rows, 0]` where there is none), for a state and the token before."""


class SearchResult(NamedTuple):
    """Texts that a search has found.

    Attributes:
      tokens: with the end, zeros after it; zeros alone where nothing was found.
      scores: what they are ranked by; minus infinity where nothing was found.
      attention: where the network looked when it wrote a token, zeros after the end.
    """

    tokens: Int[Array, "*found length"]
    scores: Float[Array, " *found"]
    attention: Float[Array, "*found length source"]


def greedy(step: Step, state: State, rows: int, length: int, end: int) -> SearchResult:
    """Returns for each row the text of the most probable next tokens, `found = [rows]`.

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
    found = SearchResult(
        jnp.zeros((rows, length), jnp.int32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros((rows, length, source), jnp.float32),
    )

    def going(carry):
        place, _, _, ended, _ = carry
        return (place < length) & ~jnp.all(ended)

    def advance(carry):
        place, state, last, ended, found = carry
        state, scores, attention = step(state, last)
        scores = _ending(scores, place == length - 1, end)
        token = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        score = jnp.take_along_axis(scores, token[:, None], axis=-1)[:, 0]
        found = SearchResult(
            found.tokens.at[:, place].set(jnp.where(ended, 0, token)),
            found.scores + jnp.where(ended, 0, score),
            found.attention.at[:, place].set(jnp.where(ended[:, None], 0, attention)),
        )
        return place + 1, state, token, ended | (token == end), found

    begin = (jnp.int32(0), state, first, jnp.zeros(rows, bool), found)
    return jax.lax.while_loop(going, advance, begin)[-1]


def beam_search(
    step: Step,
    state: State,
    mask: Bool[Array, "batch source"],
    *,
    width: int,
    length: int,
    end: int,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
) -> SearchResult:
    r"""Returns the best texts that end, `found = [batch, width]`, the best first.

    At each step the `width` most probable continuations of what is written so far are looked at.
    Those that end are found; the `width` most probable others are written on. A row is done when
    `width` texts are found and no other can become better than the worst of them. A text Y of
    log-probability log P, its end counted, has the score

    .. math::
        \log P \Big/ \Big(\frac{5 + |Y|}{6}\Big)^\alpha
        + \beta \sum_{i} \log \min\Big(\sum_j p_{ij}, 1\Big)

    where :math:`p_{ij}` is the weight of token i of the source when token j was written.

    Source: Wu et al., Google's neural machine translation system, 2016, arXiv:1609.08144. There
    hypotheses that fall too far behind are dropped as well.

    Args:
      step: takes `batch * width` rows, `width` neighbours for each row of the batch; `repeat_rows`
        makes what it knows of the source so.
      state: before the first token, `[batch * width, ...]`.
      mask: True where the source has a token, which is to be covered.
      width: of the beam.
      length: most tokens of a text, the end included.
      end: the token that ends a text, read before the first one as well.
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
    first = jnp.full((batch, width), end, jnp.int32)
    blank = SearchResult(
        jnp.zeros((batch, width, length), jnp.int32),
        jnp.full((batch, width), -jnp.inf, jnp.float32),
        jnp.zeros((batch, width, length, source), jnp.float32),
    )
    # All of a beam are the same before the first token: one of them is there.
    writing = blank._replace(scores=blank.scores.at[:, 0].set(0))

    def penalty(tokens):
        return ((5 + tokens) / 6) ** length_penalty

    def score(texts: SearchResult, place) -> jax.Array:
        scores = texts.scores / penalty(place + 1)
        if coverage_penalty:
            covered = jnp.clip(texts.attention.sum(axis=-2), jnp.finfo(jnp.float32).tiny, 1)
            logs = jnp.where(mask[:, None], jnp.log(covered), 0)
            scores += coverage_penalty * logs.sum(axis=-1)
        return scores

    def going(carry):
        place, _, writing, _ = carry
        return (place < length) & jnp.any(writing.scores > -jnp.inf)

    def advance(carry):
        place, state, writing, found = carry
        last = jnp.where(place == 0, first, writing.tokens[:, :, place - 1])
        state, scores, attention = step(state, last.reshape(-1))
        scores = _ending(scores, place == length - 1, end).reshape(batch, width, -1)
        vocabulary = scores.shape[-1]
        totals = (writing.scores[:, :, None] + scores).reshape(batch, -1)
        # At most `width` of them end.
        totals, best = jax.lax.top_k(totals, min(2 * width, totals.shape[-1]))
        parents, tokens = best // vocabulary, (best % vocabulary).astype(jnp.int32)
        seen = writing.attention.at[:, :, place].set(attention.reshape(batch, width, -1))
        grown = SearchResult(
            _picked(writing.tokens, parents).at[:, :, place].set(tokens),
            totals,
            _picked(seen, parents),
        )
        ends = tokens == end
        ended = jnp.where(ends, score(grown, place), -jnp.inf)[:, :width]
        newly = SearchResult(grown.tokens[:, :width], ended, grown.attention[:, :width])
        # Of equal scores top_k takes the first: where nothing was found stays what is blank.
        found = _best(
            jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), found, newly), width
        )
        # What is written grows less probable, and at best is divided by the greatest penalty.
        worst = found.scores.min(axis=1, keepdims=True)
        going_on = jnp.where(ends | (totals / penalty(length) <= worst), -jnp.inf, totals)
        scores, chosen = jax.lax.top_k(going_on, width)
        parents = jnp.take_along_axis(parents, chosen, axis=1)
        rows = (jnp.arange(batch)[:, None] * width + parents).reshape(-1)
        state = jax.tree.map(lambda leaf: leaf[rows], state)
        writing = SearchResult(
            _picked(grown.tokens, chosen), scores, _picked(grown.attention, chosen)
        )
        return place + 1, state, writing, found

    return jax.lax.while_loop(going, advance, (jnp.int32(0), state, writing, blank))[-1]


def repeat_rows(tree: Any, width: int) -> Any:
    """Returns arrays `[batch, ...]` as `[batch * width, ...]`, each row `width` times in a row."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0), tree)


def _ending(scores: jax.Array, last: jax.Array, end: int) -> jax.Array:
    """Returns the log-probabilities, at the last place those of the end alone."""
    others = jnp.arange(scores.shape[-1]) != end
    return jnp.where(last & others, -jnp.inf, scores)


def _best(texts: SearchResult, count: int) -> SearchResult:
    scores, chosen = jax.lax.top_k(texts.scores, count)
    return SearchResult(_picked(texts.tokens, chosen), scores, _picked(texts.attention, chosen))


def _picked(values: jax.Array, which: Int[Array, "batch count"]) -> jax.Array:
    """Returns those of the values `[batch, beam, ...]` that are asked for, in that order."""
    which = which.reshape(which.shape + (1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, which, axis=1)


def _require(least: int, **numbers: float) -> None:
    for name, given in numbers.items():
        if not given >= least:
            raise InputError(f"{name}: given {given}, expected {least} or more")
