"""Cross-entropy, accuracy and perplexity of next-token prediction."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from rnnjax.kernels import CrossEntropy, is_most_probable
from rnnjax.tasks.task import Sums

TOKEN_AXES = MappingProxyType(
    {
        "embed/embedding": (0, "tokens"),
        "score/kernel": (1, "tokens"),
        "score/bias": (0, "tokens"),
    }
)
"""`Task.class_axes` of a network with an embedding and an output layer over the vocabulary."""


def token_sums(
    logits: Float[Array, "batch time vocabulary"],
    targets: Int[ArrayLike, "batch time"],
    weights: Float[ArrayLike, "batch time"],
) -> Sums:
    """Sums cross-entropy (nats), accuracy and weights over tokens."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = is_most_probable(logits, targets)
    return {
        "loss": jnp.sum(losses * weights),
        "accuracy": jnp.sum(jnp.where(hits, weights, 0)),
        "weight": jnp.sum(weights),
    }


def cross_entropy_sums(
    cross_entropy: CrossEntropy, weights: Float[ArrayLike, "batch time"]
) -> Sums:
    """Sums cross-entropy (nats), accuracy and weights over tokens.

    Where there is no label smoothing, 'loss' is the one with a gradient.
    """
    weights = jnp.asarray(weights)
    return {
        "loss": cross_entropy.loss,
        "accuracy": jnp.sum(jnp.where(cross_entropy.is_correct, weights, 0)),
        "weight": jnp.sum(weights),
    }


def mean_token_metrics(sums: Sequence[Any]) -> tuple[dict[str, float], int]:
    """Returns 'loss' (nats), 'accuracy', 'bits' and 'perplexity' per token, and their number.

    With a vocabulary of characters, 'bits' are per character. Do not compare across vocabularies.
    """
    weight = sum(float(batch["weight"]) for batch in sums)
    loss, hits = (
        sum(float(batch[name]) for batch in sums) / weight for name in ("loss", "accuracy")
    )
    scores = {
        "loss": loss,
        "accuracy": hits,
        "bits": loss / math.log(2),
        "perplexity": math.exp(min(loss, 700.0)),
    }
    return scores, round(weight)
