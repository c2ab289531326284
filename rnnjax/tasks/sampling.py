"""Sampling of text from a language model, token by token."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.errors import InputError


class GenerationTask(Protocol):
    """A task whose network predicts the next token, such as `LanguageModelingTask`."""

    def advance(
        self,
        params: Any,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Returns the carry and log-probabilities of the next token, as `TokenTask.advance`."""
        ...


class SamplingOptions(NamedTuple):
    """Options of sampling.

    Attributes:
      temperature: divides the logits; 0 takes the most probable token.
      top_k: sample from this many most probable tokens; 0 for all. Fan, Lewis, Dauphin,
        Hierarchical neural story generation, ACL 2018.
      top_p: sample from the fewest most probable tokens whose total probability is at least this;
        1 for all. Holtzman et al., The curious case of neural text degeneration, ICLR 2020.
      seed: of the random numbers.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Checks ranges.

        Raises:
          InputError: a value is out of its range.
        """
        for name, value, is_valid, expected in (
            (
                "temperature",
                self.temperature,
                self.temperature == 0 or 0.01 <= self.temperature <= 100,
                "0, which takes the most probable token, or 0.01 to 100",
            ),
            ("top_k", self.top_k, self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "more than 0, at most 1 (all tokens)"),
            ("seed", self.seed, 0 <= self.seed < 2**32, "0 or more, less than 2**32"),
        ):
            if not is_valid:
                raise InputError(f"{name}: given {value}, expected {expected}")


def sample_token(
    key: jax.Array, scores: Float[Array, " vocabulary"], options: SamplingOptions
) -> Int[Array, ""]:
    """Samples a token.

    Args:
      key: random key.
      scores: logits; minus infinity excludes a token.
      options: of the sampling, except for `seed`.
    """
    if not options.temperature:
        return jnp.argmax(scores)
    return jax.random.categorical(key, truncate_logits(scores / options.temperature, options))


def truncate_logits(
    scores: Float[Array, " vocabulary"], options: SamplingOptions
) -> Float[Array, " vocabulary"]:
    """Returns the logits, with minus infinity for tokens that `top_k` or `top_p` exclude.

    Tokens of equal logits stay or go together, so that their ids decide nothing.
    """
    descending = -jnp.sort(-scores)
    threshold = -jnp.inf
    if 0 < options.top_k < len(scores):
        threshold = descending[options.top_k - 1]
    if options.top_p < 1:
        probabilities = jax.nn.softmax(jnp.where(descending >= threshold, descending, -jnp.inf))
        preceding = jnp.cumsum(probabilities) - probabilities
        num_kept = jnp.sum(preceding < options.top_p)
        threshold = jnp.maximum(threshold, descending[jnp.maximum(num_kept - 1, 0)])
    return jnp.where(scores >= threshold, scores, -jnp.inf)


def generate_tokens(
    task: GenerationTask,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    options: SamplingOptions,
) -> Iterator[str]:
    """Yields the continuation of a prompt, token by token, up to the end of the text.

    Args:
      task: with the network.
      params: of the network.
      vocabulary: of the network.
      prompt: start of the text, not yielded.
      length: most tokens.
      options: of the sampling.

    Raises:
      InputError: a value is out of its range.
    """
    options.check()
    if length < 1:
        raise InputError(f"length: given {length}, expected 1 or more")
    is_special = jnp.zeros(len(vocabulary), bool).at[jnp.array([PADDING, UNKNOWN])].set(True)

    @jax.jit
    def sample_next(params, token, state, key, index):
        tokens = jnp.reshape(token, (1, 1))
        state, (scores,) = task.advance(params, tokens, jnp.ones((1, 1), bool), state)
        key = jax.random.fold_in(key, index)
        return sample_token(key, jnp.where(is_special, -jnp.inf, scores), options), state

    # A masked step keeps the initial state.
    masked_token = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
    key, (state, _) = jax.random.key(options.seed), jax.jit(task.advance)(params, *masked_token)
    token, prompt_tokens = END, vocabulary.encode([prompt]).values.tolist()
    bare = vocabulary.encode([prompt.rstrip()]).values.tolist()
    # Words have no token for a space: that before the next one stands in the prompt already.
    skip_space = prompt[-1:].isspace() and prompt_tokens == bare
    for next_token in prompt_tokens:
        _, state = sample_next(params, jnp.int32(token), state, key, 0)
        token = next_token
    for index in range(length):
        sampled, state = sample_next(params, jnp.int32(token), state, key, index)
        previous, token = token, int(sampled)
        if token == END and vocabulary.has_line_ends:
            yield "\n"
            continue
        if token == END:
            return
        # Decoded after the previous token, which decides whether there is a space between them.
        piece = vocabulary.decode([previous, token])[len(vocabulary.decode([previous])) :]
        yield piece.removeprefix(" ") if skip_space and index == 0 else piece
