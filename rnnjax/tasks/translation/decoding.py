"""Translation of texts by greedy or beam search."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.data.sequences import Sequences
from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.reporting.progress import Progress
from rnnjax.tasks.beam_search import SearchResult, beam_search, greedy, repeat_rows
from rnnjax.tasks.task import Params
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.model import Translator

_MULTIPLE = 16
"""Sources are padded to a multiple of it, so that few lengths are compiled."""

_LONG = 1_000
"""Longer sources are searched one at a time: beams take kilobytes for each token and row."""


class BeamOptions(NamedTuple):
    """Options of `rnnjax.tasks.beam_search.beam_search`.

    Attributes:
      width: beam size; 1 for greedy search.
      length_penalty: favours long translations.
      coverage_penalty: favours translations that attend to every source token.
    """

    width: int
    length_penalty: float
    coverage_penalty: float

    @classmethod
    def from_config(cls, config: TranslationConfig) -> "BeamOptions":
        """Returns the options of a config."""
        return cls(config.beam_size, config.length_penalty, config.coverage_penalty)


class TranslatedText(NamedTuple):
    """A translation.

    Attributes:
      text: the best one.
      score: its log-probability in nats, with the penalties unless the beam size is 1.
      source_tokens: of the source.
      tokens: of the translation, end included.
      attention: weights over the source at each token; each row sums to one.
    """

    text: str
    score: float
    source_tokens: tuple[str, ...]
    tokens: tuple[str, ...]
    attention: Float[np.ndarray, "tokens source_tokens"]

    @property
    def alignments(self) -> list[tuple[str, float, str]]:
        """The largest attention weight of each token, as (token, weight, source token).

        Empty for an empty source.
        """
        if not self.source_tokens:
            return []
        return [
            (token, float(row.max()), self.source_tokens[row.argmax()])
            for token, row in zip(self.tokens, self.attention, strict=True)
        ]


def translate_texts(
    model: Translator,
    params: Params,
    vocabulary: Vocabulary,
    sources: Sequences,
    beam: BeamOptions,
    *,
    length: int,
    batch_size: int,
) -> list[TranslatedText]:
    """Translates sources, in their order.

    Args:
      model: the network.
      params: of the network.
      vocabulary: names the tokens.
      sources: tokens of at least one text.
      beam: options of the search.
      length: most tokens of a translation, end included.
      batch_size: sources in a batch, of similar length.
    """
    words = vocabulary.words
    translations: dict[int, TranslatedText] = {}
    order = np.argsort(sources.lengths, kind="stable")
    num_short = np.searchsorted(sources.lengths[order], _LONG, side="right")
    size = min(batch_size, max(num_short, 1))
    starts = [*range(0, num_short, size), *range(num_short, len(order))]
    with Progress("translate", len(order)) as progress:
        for start, end in itertools.pairwise([*starts, len(order)]):
            rows = np.full(size if start < num_short else 1, -1)
            rows[: end - start] = order[start:end]
            time = _MULTIPLE * max(-(-int(sources.lengths[order[end - 1]]) // _MULTIPLE), 1)
            tokens, mask = sources.pad(rows, time)
            best = jax.device_get(search(model, params, tokens, mask, beam=beam, length=length))
            for index, row in enumerate(rows[rows >= 0].tolist()):
                target = best.tokens[index][best.tokens[index] > 0]
                source = tokens[index][mask[index]]
                translations[row] = TranslatedText(
                    text=vocabulary.decode(target),
                    score=float(best.scores[index]),
                    source_tokens=tuple(words[number] for number in source),
                    tokens=tuple(words[number] for number in target),
                    attention=best.attention[index][: len(target), : len(source)],
                )
            progress.update(len(translations))
    return [translations[row] for row in range(len(sources))]


@functools.partial(jax.jit, static_argnames=("model", "beam", "length"))
def search(
    model: Translator,
    params: Params,
    tokens: jax.Array,
    mask: jax.Array,
    beam: BeamOptions,
    length: int,
) -> SearchResult:
    """Returns the best translation of each row.

    Args:
      model: the network.
      params: of the network.
      tokens: of the sources, `[batch, time]`.
      mask: True at the tokens.
      beam: options of the search.
      length: most tokens of a translation, end included.
    """
    apply: Any = functools.partial(model.apply, {"params": params})
    encoded = apply(tokens, mask, method="encode")
    state = apply(encoded, method="start")
    is_special = jnp.isin(jnp.arange(model.vocabulary), jnp.array([PADDING, UNKNOWN]))

    def step(encoded, state, last):
        state, scores, attention = apply(encoded, state, last, method="step")
        return state, jnp.where(is_special, -jnp.inf, jax.nn.log_softmax(scores)), attention

    if beam.width == 1:
        return greedy(functools.partial(step, encoded), state, tokens.shape[0], length, END)
    beams = beam_search(
        functools.partial(step, repeat_rows(encoded, beam.width)),
        repeat_rows(state, beam.width),
        mask,
        width=beam.width,
        length=length,
        end=END,
        length_penalty=beam.length_penalty,
        coverage_penalty=beam.coverage_penalty,
    )
    return jax.tree.map(lambda leaf: leaf[:, 0], beams)
