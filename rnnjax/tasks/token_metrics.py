"""What tasks share that say which token comes next: what is summed, and the scores of the sums."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels import match_rank
from rnnjax.tasks.task import Sums

TOKEN_AXES = MappingProxyType(
    {
        "embed/embedding": (0, "tokens"),
        "score/kernel": (1, "tokens"),
        "score/bias": (0, "tokens"),
    }
)
"""The `Task.labelled_axes` of a network that reads tokens and scores them."""


def sums_of(
    logits: Float[Array, "batch time vocabulary"],
    targets: Int[ArrayLike, "batch time"],
    weights: Float[ArrayLike, "batch time"],
) -> Sums:
    """Returns cross-entropy (nats) and hits of the most probable token, and the sum of weights."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = is_most_probable(logits, targets)
    return {
        "loss": jnp.sum(losses * weights),
        "accuracy": jnp.sum(jnp.where(hits, weights, 0)),
        "weight": jnp.sum(weights),
    }


def is_most_probable(
    logits: Float[Array, "*batch vocabulary"], targets: Int[ArrayLike, "*batch"]
) -> Bool[Array, "*batch"]:
    """Returns whether the targets are `jnp.argmax(logits, axis=-1)`, NaN apart, which never is.

    XLA's argmax goes through a large vocabulary on a CPU number by number, and took a quarter of
    the training of a model of words; these comparisons it makes side by side.
    """
    targets = jnp.asarray(targets)[..., None]
    own = jnp.take_along_axis(logits, targets, axis=-1)
    tokens = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    earlier = match_rank(tokens, targets) < targets  # of equals the first counts
    return jnp.all(jnp.where(earlier, logits < own, logits <= own), axis=-1)


def scores_of(answers: Sequence[Any]) -> tuple[dict[str, float], int]:
    """Returns the scores of some sums, by token, and of how many tokens they are.

    They are 'loss' (nats), 'accuracy', 'bits' and 'perplexity'. With a vocabulary of characters
    'bits' are those a character. Scores of different vocabularies do not compare.
    """
    weight = sum(float(each["weight"]) for each in answers)
    loss, hits = (
        sum(float(each[name]) for each in answers) / weight for name in ("loss", "accuracy")
    )
    scores = {
        "loss": loss,
        "accuracy": hits,
        "bits": loss / math.log(2),
        "perplexity": math.exp(min(loss, 700.0)),
    }
    return scores, round(weight)
