"""Text made by a language model, a token at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.errors import InputError


class GenerationTask(Protocol):
    """What writes a text: `rnnjax.tasks.LanguageModeling` does."""

    def advance(
        self,
        params: Any,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Returns what is kept of texts so far, and log-probabilities of the next token."""
        ...


class SamplingOptions(NamedTuple):
    """How the next token is chosen.

    Attributes:
      temperature: scores are divided by it; 0 takes the most probable token.
      top_k: only so many most probable tokens are chosen from; 0 for all. Fan, Lewis, Dauphin,
        Hierarchical neural story generation, ACL 2018.
      top_p: only the most probable tokens that together have at least this probability are chosen
        from; 1 for all. Holtzman et al., The curious case of neural text degeneration, ICLR 2020.
      seed: the same seed chooses the same tokens.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raises InputError if a number is out of its range."""
        for name, given, right, expected in (
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
            if not right:
                raise InputError(f"{name}: given {given}, expected {expected}")


def sample_token(
    key: jax.Array, scores: Float[Array, " vocabulary"], choice: SamplingOptions
) -> Int[Array, ""]:
    """Returns a token drawn by its score.

    Args:
      key: of the draw.
      scores: logits; those of minus infinity are never chosen.
      choice: how; `seed` means nothing here.
    """
    if not choice.temperature:
        return jnp.argmax(scores)
    return jax.random.categorical(key, truncate_logits(scores / choice.temperature, choice))


def truncate_logits(
    scores: Float[Array, " vocabulary"], choice: SamplingOptions
) -> Float[Array, " vocabulary"]:
    """Returns the scores, minus infinity where `top_k` or `top_p` leave a token out.

    Tokens of equal scores stay or go together, so that their numbers decide nothing.
    """
    falling = -jnp.sort(-scores)
    least = -jnp.inf
    if 0 < choice.top_k < len(scores):
        least = falling[choice.top_k - 1]
    if choice.top_p < 1:
        shares = jax.nn.softmax(jnp.where(falling >= least, falling, -jnp.inf))
        before = jnp.cumsum(shares) - shares
        kept = jnp.sum(before < choice.top_p)
        least = jnp.maximum(least, falling[jnp.maximum(kept - 1, 0)])
    return jnp.where(scores >= least, scores, -jnp.inf)


def generate_tokens(
    task: GenerationTask,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    choice: SamplingOptions,
) -> Iterator[str]:
    """Yields pieces of a text that goes on from a prompt, up to its end.

    Args:
      task: with the network.
      params: of the network.
      vocabulary: of the network.
      prompt: what the text begins with, no part of what is yielded.
      length: most tokens.
      choice: how they are chosen.

    Raises:
      InputError: a number is out of its range.
    """
    choice.check()
    if length < 1:
        raise InputError(f"length: given {length}, expected 1 or more")
    never = jnp.zeros(len(vocabulary), bool).at[jnp.array([PADDING, UNKNOWN])].set(True)

    @jax.jit
    def follow(params, token, state, key, number):
        tokens = jnp.reshape(token, (1, 1))
        state, (scores,) = task.advance(params, tokens, jnp.ones((1, 1), bool), state)
        key = jax.random.fold_in(key, number)
        return sample_token(key, jnp.where(never, -jnp.inf, scores), choice), state

    # A masked step changes nothing, so that this is the state in which the layers begin.
    blank = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
    key, (state, _) = jax.random.key(choice.seed), jax.jit(task.advance)(params, *blank)
    token, asked = END, vocabulary.encode([prompt]).tokens.tolist()
    bare = vocabulary.encode([prompt.rstrip()]).tokens.tolist()
    # Words have no token for a space: that before the next one stands in the prompt already.
    spaced = prompt[-1:].isspace() and asked == bare
    for number in asked:
        _, state = follow(params, jnp.int32(token), state, key, 0)
        token = number
    for number in range(length):
        found, state = follow(params, jnp.int32(token), state, key, number)
        before, token = token, int(found)
        if token == END:
            return
        # What it adds to the token before it, which tells whether a space stands between them.
        piece = vocabulary.decode([before, token])[len(vocabulary.decode([before])) :]
        yield piece.removeprefix(" ") if spaced and number == 0 else piece
