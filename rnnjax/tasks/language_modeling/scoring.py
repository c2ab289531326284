"""Log-probabilities of texts under a language model, token by token."""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.data.vocabulary import END, UNKNOWN, Vocabulary
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.tasks.task import Params

_ROWS, _TOKENS = 16, 32
"""Texts, and tokens of each, that are read in one call."""


class TokenScore(NamedTuple):
    """The surprisal of a token.

    Attributes:
      token: its part of the text.
      start: of that part in the text, in characters.
      end: likewise.
      bits: surprisal, the negative binary logarithm of the probability after the tokens before it.
      unknown: whether the network reads it as the unknown token, whose probability this is.
    """

    token: str
    start: int
    end: int
    bits: float
    unknown: bool


class TextScore(NamedTuple):
    """The log-probability of a text.

    Attributes:
      text: as it was given.
      log_probability: in nats, of the tokens after the start of a text.
      bits: surprisal of the tokens.
      end_bits: surprisal of the end of the text, or of the line, after them, which `bits` leaves
        out.
      tokens: in their order.
    """

    text: str
    log_probability: float
    bits: float
    end_bits: float
    tokens: tuple[TokenScore, ...]

    def values(self) -> dict[str, Any]:
        """Returns the score ready for JSON."""
        return {**self._asdict(), "tokens": [token._asdict() for token in self.tokens]}


def score_texts(
    task: LanguageModelingTask, params: Params, vocabulary: Vocabulary, texts: Sequence[str]
) -> Iterator[TextScore]:
    """Yields the score of each text, read from the start, in their order.

    Args:
      task: with the network.
      params: of the network.
      vocabulary: of the network.
      texts: at least one; a score does not depend on the others.

    Raises:
      InputError: a text is not valid Unicode.
    """
    size = min(len(texts), _ROWS)
    for start in range(0, len(texts), size):
        batch = texts[start : start + size]
        sequences = vocabulary.encode(batch)
        rows = np.split(sequences.values, sequences.offsets[1:-1])
        for text, tokens, scores in zip(
            batch, rows, _log_probabilities(task, params, rows, size), strict=True
        ):
            surprisals = (-scores / math.log(2)).tolist()
            yield TextScore(
                text=text,
                log_probability=float(scores[:-1].sum()),
                bits=sum(surprisals[:-1]),
                end_bits=surprisals[-1],
                tokens=tuple(
                    TokenScore(text[first:last], first, last, bits, token == UNKNOWN)
                    for token, (first, last), bits in zip(
                        tokens.tolist(), vocabulary.spans(text), surprisals[:-1], strict=True
                    )
                ),
            )


def _log_probabilities(
    task: LanguageModelingTask, params: Params, rows: Sequence[np.ndarray], size: int
) -> list[np.ndarray]:
    """Returns the log-probability of each token of some texts, and of the end after them.

    Args:
      task: with the network.
      params: of the network.
      rows: tokens of at most `size` texts.
      size: number of rows of a batch.
    """
    lengths = np.zeros(size, np.int64)
    lengths[: len(rows)] = [len(row) + 1 for row in rows]
    width = _TOKENS * max(-(-int(lengths.max()) // _TOKENS), 1)
    inputs, targets = np.zeros((2, size, width), np.int32)
    for index, row in enumerate(rows):
        inputs[index, : len(row) + 1] = [END, *row]
        targets[index, : len(row) + 1] = [*row, END]
    mask = np.arange(width) < lengths[:, None]
    state, parts = None, []
    for start in range(0, width, _TOKENS):
        piece = (array[:, start : start + _TOKENS] for array in (inputs, targets, mask))
        state, scores = _read(params, *piece, state, task=task)
        parts.append(np.asarray(scores, np.float64))
    scores = np.concatenate(parts, axis=1)
    return [scores[index, : lengths[index]] for index in range(len(rows))]


@functools.partial(jax.jit, static_argnames=("task",))
def _read(
    params: Params,
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    state: Any = None,
    *,
    task: LanguageModelingTask,
) -> tuple[Any, jax.Array]:
    """Returns the state after some tokens, and the log-probability of each target."""
    state, logits = task.read(params, inputs, mask, *([] if state is None else [state]))
    scores = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return state, scores[..., 0]
