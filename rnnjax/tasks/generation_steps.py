"""Steps of generation on the device: the network, constraints, sampling and beam search."""

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.data.vocabulary import PADDING, UNKNOWN
from rnnjax.tasks.beam_search import beam_search, repeat_rows
from rnnjax.tasks.sampling import GenerationOptions, penalize_repetition, sample_token
from rnnjax.tasks.token_automaton import TokenAutomaton


class GenerationTask(Protocol):
    """A task whose network predicts the next token, such as `LanguageModelingTask`."""

    def advance_logits(
        self,
        params: Any,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Reads the next tokens of texts; returns the carry and logits of the next token.

        Args:
          params: of the network.
          tokens: that follow those read so far.
          mask: True where a token counts; a row without any keeps its logits.
          carry: of the previous call; None at the start of a text.
        """
        ...


class Constraints(NamedTuple):
    """Automata that text is generated under; None where there is none.

    Attributes:
      pattern: of the regular expression that the text matches.
      stop: of the texts that have a stop string in them.
    """

    pattern: TokenAutomaton | None
    stop: TokenAutomaton | None


class Rows(NamedTuple):
    """The state of texts that are being generated.

    Attributes:
      carry: of the network.
      logits: of the next token.
      occurred: tokens that have occurred.
      pattern: state of the automaton of the pattern.
      stop: state of the automaton of the stop strings.
      length: number of generated tokens.
    """

    carry: Any
    logits: Float[Array, "rows vocabulary"]
    occurred: Bool[Array, "rows vocabulary"]
    pattern: Int[Array, " rows"]
    stop: Int[Array, " rows"]
    length: Int[Array, " rows"]


@functools.partial(jax.jit, static_argnames=("task",))
def advance(
    params: Any, tokens: Any, mask: Any, carry: Any = None, *, task: GenerationTask
) -> tuple[Any, jax.Array]:
    return task.advance_logits(params, tokens, mask, carry)


def _constrain(
    scores: jax.Array, rows: Rows, constraints: Constraints, length: int, end: int
) -> jax.Array:
    """Returns the scores of the next tokens, minus infinity for those that may not follow.

    Args:
      scores: logits or log-probabilities.
      rows: after the tokens so far.
      constraints: of the text.
      length: most tokens of a text.
      end: the token that ends a text. Padding, which the network does not predict, ends one where
        nothing else may follow, for nothing.
    """
    tokens = jnp.arange(scores.shape[-1])[None]
    is_allowed = jnp.broadcast_to((tokens != PADDING) & (tokens != UNKNOWN), scores.shape)
    if constraints.pattern:
        pattern, remaining = constraints.pattern, length - 1 - rows.length
        distances = pattern.distances[pattern.next_states[rows.pattern]]
        is_allowed &= distances <= remaining[:, None]
        may_end = pattern.accepting[rows.pattern]
        if end == PADDING:
            may_end &= ~jnp.any(is_allowed, axis=-1)
            scores = scores.at[:, end].set(0)
        is_allowed |= (tokens == end) & may_end[:, None]
    scores = jnp.where(is_allowed, scores, -jnp.inf)
    if constraints.stop:
        has_stopped = constraints.stop.accepting[rows.stop]
        certain_end = jnp.where(tokens == end, 0.0, -jnp.inf)
        scores = jnp.where(has_stopped[:, None], certain_end, scores)
    return scores


def _read(
    params: Any, rows: Rows, tokens: jax.Array, constraints: Constraints, task: GenerationTask
) -> Rows:
    """Returns the state after the next token of each text."""
    carry, logits = task.advance_logits(
        params, tokens[:, None], jnp.ones((len(tokens), 1), bool), rows.carry
    )

    def next_state(automaton: TokenAutomaton | None, state: jax.Array) -> jax.Array:
        return automaton.next_states[state, tokens] if automaton else state

    return Rows(
        carry=carry,
        logits=logits,
        occurred=rows.occurred | jax.nn.one_hot(tokens, rows.occurred.shape[-1], dtype=bool),
        pattern=next_state(constraints.pattern, rows.pattern),
        stop=next_state(constraints.stop, rows.stop),
        length=rows.length + 1,
    )


@functools.partial(jax.jit, static_argnames=("task", "options", "length", "end"))
def sample_step(
    params: Any,
    rows: Rows,
    keys: jax.Array,
    index: int,
    constraints: Constraints,
    *,
    task: GenerationTask,
    options: GenerationOptions,
    length: int,
    end: int,
) -> tuple[jax.Array, jax.Array, Rows]:
    """Returns the next tokens, whether a stop string is complete after them, and the state."""
    scores = penalize_repetition(rows.logits, rows.occurred, options.repetition_penalty)
    scores = _constrain(scores, rows, constraints, length, end)
    tokens = jax.vmap(lambda key, row: sample_token(jax.random.fold_in(key, index), row, options))(
        keys, scores
    )
    rows = _read(params, rows, tokens, constraints, task)
    is_last = jnp.zeros(len(tokens), bool)
    if constraints.stop:
        is_last = constraints.stop.accepting[rows.stop]
    return tokens, is_last, rows


@functools.partial(jax.jit, static_argnames=("task", "options", "length", "end"))
def search(
    params: Any,
    rows: Rows,
    last: jax.Array,
    constraints: Constraints,
    *,
    task: GenerationTask,
    options: GenerationOptions,
    length: int,
    end: int,
) -> jax.Array:
    """Returns the tokens of the best hypothesis of each row."""

    def step(state: Rows, tokens: jax.Array) -> tuple[Rows, jax.Array, jax.Array]:
        following = _read(params, state, tokens, constraints, task)
        # The first token is the last one of the prompt, which is no part of the text.
        is_prompt = state.length < 0
        following = following._replace(
            occurred=jnp.where(is_prompt[:, None], state.occurred, following.occurred),
            pattern=jnp.where(is_prompt, state.pattern, following.pattern),
            stop=jnp.where(is_prompt, state.stop, following.stop),
        )
        penalty = options.repetition_penalty
        scores = penalize_repetition(following.logits, following.occurred, penalty)
        # The mask comes last: a score is the probability among all texts.
        scores = _constrain(jax.nn.log_softmax(scores), following, constraints, length, end)
        return following, scores, jnp.zeros((len(tokens), 0))

    width = options.beam_size
    rows = rows._replace(length=rows.length - 1)
    result = beam_search(
        step,
        repeat_rows(rows, width),
        jnp.zeros((len(last), 0), bool),
        width=width,
        length=length,
        end=end,
        start=last,
        force_end=False,
        length_penalty=options.length_penalty,
    )
    return result.tokens[:, 0]
