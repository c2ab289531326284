"""Texts that a trained translator writes, by beam search."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.config.schema import TranslationConfig
from rnnjax.data.batches import Sequences
from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.models import Translator
from rnnjax.reporting.progress import Progress
from rnnjax.tasks.beam_search import SearchResult, beam_search, greedy, repeat_rows
from rnnjax.tasks.task import Params

_MULTIPLE = 16
"""Sources are padded to a multiple of it: each length is compiled once, and a search takes long."""

_LONG = 1_000
"""Tokens of a source that is read by itself: a search keeps kilobytes for each token and row."""


class BeamOptions(NamedTuple):
    """How a text is searched for, as `rnnjax.tasks.beam_search.beam_search` has it.

    Attributes:
      width: texts that are looked at side by side.
      length_penalty: favours long texts.
      coverage_penalty: favours texts written with a look at each token of the source.
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
      text: of the best tokens.
      score: what it was ranked by: its log-probability in nats, with the penalties; a beam of one
        has none.
      read: the tokens of the source.
      written: the tokens of the text, the end included.
      attention: where the network looked when it wrote a token; each row sums to one.
    """

    text: str
    score: float
    read: tuple[str, ...]
    written: tuple[str, ...]
    attention: Float[np.ndarray, "written read"]

    @property
    def looked(self) -> list[tuple[str, float, str]]:
        """For each token written: it, and how much the network looked at which token the most.

        Nothing where nothing was read.
        """
        if not self.read:
            return []
        return [
            (token, float(row.max()), self.read[row.argmax()])
            for token, row in zip(self.written, self.attention, strict=True)
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
    """Returns the best text for each source, in their order.

    Args:
      model: the network.
      params: of the network.
      vocabulary: names the tokens.
      sources: what is read, at least one.
      beam: how to search.
      length: most tokens of a text, the end included.
      batch_size: sources that are read side by side, those of like length.
    """
    words = vocabulary.words
    found: dict[int, TranslatedText] = {}
    order = np.argsort(sources.lengths, kind="stable")
    long = np.searchsorted(sources.lengths[order], _LONG, side="right")
    size = min(batch_size, max(long, 1))
    starts = [*range(0, long, size), *range(long, len(order))]
    with Progress("translate", len(order)) as progress:
        for start, end in itertools.pairwise([*starts, len(order)]):
            rows = np.full(size if start < long else 1, -1)
            rows[: end - start] = order[start:end]
            time = _MULTIPLE * max(-(-int(sources.lengths[order[end - 1]]) // _MULTIPLE), 1)
            tokens, mask = sources.pad(rows, time)
            best = jax.device_get(_search(model, params, tokens, mask, beam=beam, length=length))
            for place, row in enumerate(rows[rows >= 0].tolist()):
                written = best.tokens[place][best.tokens[place] > 0]
                read = tokens[place][mask[place]]
                found[row] = TranslatedText(
                    text=vocabulary.decode(written),
                    score=float(best.scores[place]),
                    read=tuple(words[number] for number in read),
                    written=tuple(words[number] for number in written),
                    attention=best.attention[place][: len(written), : len(read)],
                )
            progress.update(len(found))
    return [found[row] for row in range(len(sources))]


@functools.partial(jax.jit, static_argnames=("model", "beam", "length"))
def _search(
    model: Translator,
    params: Params,
    tokens: jax.Array,
    mask: jax.Array,
    beam: BeamOptions,
    length: int,
) -> SearchResult:
    """Returns the best text for each row, `found = [batch]`."""
    apply: Any = functools.partial(model.apply, {"params": params})
    read = apply(tokens, mask, method="encode")
    state = apply(read, method="start")
    # What is no token of any text is not written.
    never = jnp.isin(jnp.arange(model.vocabulary), jnp.array([PADDING, UNKNOWN]))

    def step(read, state, last):
        state, scores, looked = apply(read, state, last, method="step")
        return state, jnp.where(never, -jnp.inf, jax.nn.log_softmax(scores)), looked

    if beam.width == 1:
        return greedy(functools.partial(step, read), state, len(tokens), length, END)
    found = beam_search(
        functools.partial(step, repeat_rows(read, beam.width)),
        repeat_rows(state, beam.width),
        mask,
        width=beam.width,
        length=length,
        end=END,
        length_penalty=beam.length_penalty,
        coverage_penalty=beam.coverage_penalty,
    )
    return jax.tree.map(lambda leaf: leaf[:, 0], found)
