"""Distributions of the next token: repetition penalty, temperature and truncation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import InputError
from rnnjax.tasks.beam_search import MAX_WIDTH


class GenerationOptions(NamedTuple):
    """Options of generation.

    Attributes:
      temperature: divides the logits; 0 takes the most probable token.
      top_k: sample from this many most probable tokens; 0 for all. Fan, Lewis, Dauphin,
        Hierarchical neural story generation, ACL 2018.
      top_p: sample from the fewest most probable tokens whose total probability is at least this;
        1 for all. Holtzman et al., The curious case of neural text degeneration, ICLR 2020.
      min_p: sample from the tokens whose probability is at least this share of the highest one; 0
        for all. Nguyen et al., Turning up the heat: min-p sampling, 2024, arXiv:2407.01082.
      typical_p: sample from the fewest tokens whose surprisal is closest to the entropy and whose
        total probability is at least this; 1 for all. Meister et al., Locally typical sampling,
        TACL 2023.
      repetition_penalty: divides the logits of tokens that the prompt or the text has already,
        which are multiplied where they are negative; 1 for none. Keskar et al., CTRL, 2019,
        arXiv:1909.05858, where negative ones are divided too, which would favour repetition.
      seed: of the random numbers.
      stop: the text ends before the first of these strings.
      pattern: a regular expression of Python that the whole text matches; '' for none. A space
        between the prompt and the text is no part of it.
      beam_size: hypotheses of beam search, which takes the place of sampling; 0 to sample.
      length_penalty: exponent of the length normalization of beam search, as for
        `rnnjax.tasks.beam_search.beam_search`.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    pattern: str = ""
    beam_size: int = 0
    length_penalty: float = 1.0

    def check(self) -> None:
        """Checks ranges.

        Raises:
          InputError: a value is out of its range, or options do not go together.
        """
        width = f"0 (sampling), or 1 to {MAX_WIDTH:,}"
        for name, is_valid, expected in (
            (
                "temperature",
                self.temperature == 0 or 0.01 <= self.temperature <= 100,
                "0, which takes the most probable token, or 0.01 to 100",
            ),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0, at most 1 (all tokens)"),
            ("min_p", 0 <= self.min_p <= 1, "0 (all tokens) to 1"),
            ("typical_p", 0 < self.typical_p <= 1, "more than 0, at most 1 (all tokens)"),
            ("repetition_penalty", 1 <= self.repetition_penalty <= 100, "1 (none) to 100"),
            ("seed", 0 <= self.seed < 2**32, "0 or more, less than 2**32"),
            ("stop", isinstance(self.stop, tuple) and all(self.stop), "a tuple of texts, none ''"),
            ("beam_size", 0 <= self.beam_size <= MAX_WIDTH, width),
            ("length_penalty", 0 <= self.length_penalty <= 100, "0 (none) to 100"),
        ):
            if not is_valid:
                raise InputError(f"{name}: given {getattr(self, name)!r}, expected {expected}")
        for name in ("temperature", "top_k", "top_p", "min_p", "typical_p"):
            value = getattr(self, name)
            if self.beam_size and value != self._field_defaults[name]:
                raise InputError(
                    f"{name}: given {value} with beam_size={self.beam_size}, and beam search does "
                    "not sample; leave one of them out"
                )


def penalize_repetition(
    scores: Float[Array, "*batch vocabulary"],
    occurred: Bool[Array, "*batch vocabulary"],
    penalty: float,
) -> Float[Array, "*batch vocabulary"]:
    """Returns the logits with lower ones for tokens that have occurred.

    Args:
      scores: logits.
      occurred: True for the tokens that have occurred.
      penalty: 1 or more.
    """
    penalized = jnp.where(scores > 0, scores / penalty, scores * penalty)
    return jnp.where(occurred, penalized, scores)


def sample_token(
    key: jax.Array, scores: Float[Array, " vocabulary"], options: GenerationOptions
) -> Int[Array, ""]:
    """Samples a token.

    Args:
      key: random key.
      scores: logits; minus infinity excludes a token.
      options: temperature and truncation.
    """
    if not options.temperature:
        return jnp.argmax(scores)
    return jax.random.categorical(key, truncate_logits(scores / options.temperature, options))


def truncate_logits(
    scores: Float[Array, " vocabulary"], options: GenerationOptions
) -> Float[Array, " vocabulary"]:
    """Returns the logits, with minus infinity for tokens that the options exclude.

    `top_k`, `top_p`, `min_p` and `typical_p` follow in this order, each on the tokens that those
    before it leave. Tokens of equal logits stay or go together, so that their ids decide nothing.
    """
    if 0 < options.top_k < len(scores):
        scores = _exclude(scores, scores >= -jnp.sort(-scores)[options.top_k - 1])
    if options.top_p < 1:
        scores = _exclude(scores, _in_nucleus(scores, -scores, options.top_p))
    if options.min_p:
        scores = _exclude(scores, scores >= scores.max() + jnp.log(options.min_p))
    if options.typical_p < 1:
        surprisals = -jax.nn.log_softmax(scores)
        probabilities = jnp.exp(-surprisals)
        entropy = jnp.sum(jnp.where(probabilities > 0, probabilities * surprisals, 0))
        distances = jnp.abs(surprisals - entropy)
        scores = _exclude(scores, _in_nucleus(scores, distances, options.typical_p))
    return scores


def _exclude(scores: jax.Array, is_allowed: jax.Array) -> jax.Array:
    return jnp.where(is_allowed, scores, -jnp.inf)


def _in_nucleus(scores: jax.Array, ranks: jax.Array, probability: float) -> jax.Array:
    """Returns whether a token is among the first, by rising ranks, with a total probability."""
    order = jnp.argsort(ranks)
    probabilities = jax.nn.softmax(scores)[order]
    preceding = jnp.cumsum(probabilities) - probabilities
    num_kept = jnp.sum(preceding < probability)
    return ranks <= ranks[order][jnp.maximum(num_kept - 1, 0)]
