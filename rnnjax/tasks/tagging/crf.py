"""Linear-chain conditional random fields over sequences of labels, under a mask.

Lafferty, McCallum, Pereira, Conditional random fields, ICML 2001. The score of a labelling is the
sum of the emissions of its labels, of the transitions between neighbours, and of its first and last
label. A masked step is left out of the sequence, wherever it stands.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Potentials(NamedTuple):
    """Parameters of the scores between labels.

    Attributes:
      transitions: `[from, to]`.
      first: of the first label of a sequence.
      last: of the last label of a sequence.
    """

    transitions: Float[Array, "labels labels"]
    first: Float[Array, " labels"]
    last: Float[Array, " labels"]


def negative_log_likelihood(
    emissions: Float[Array, "batch time labels"],
    labels: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    potentials: Potentials,
) -> Float[Array, " batch"]:
    """Returns minus the log-probability (nats) of each labelling, 0 for an empty sequence."""
    scores = sequence_scores(emissions, labels, mask, potentials)
    return log_partition(emissions, mask, potentials) - scores


def sequence_scores(
    emissions: Float[Array, "batch time labels"],
    labels: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    potentials: Potentials,
) -> Float[Array, " batch"]:
    """Returns the score of each labelling, 0 for an empty sequence."""
    transitions, first, last = potentials
    emitted = jnp.take_along_axis(emissions, labels[..., None], axis=-1)[..., 0]
    # The label of the last unmasked step before each step, and whether there is one.
    steps = jnp.arange(mask.shape[1])[None]
    positions = jax.lax.cummax(jnp.where(mask, steps, -1), axis=1)
    before = jnp.pad(positions, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    previous = jnp.take_along_axis(labels, jnp.maximum(before, 0), axis=1)
    between = jnp.where(before < 0, first[labels], transitions[previous, labels])
    total = jnp.sum(emitted + between, axis=1, where=mask)
    ends = positions[:, -1:]
    end_labels = jnp.take_along_axis(labels, jnp.maximum(ends, 0), axis=1)
    return total + jnp.where(ends < 0, 0, last[end_labels])[:, 0]


def log_partition(
    emissions: Float[Array, "batch time labels"],
    mask: Bool[Array, "batch time"],
    potentials: Potentials,
) -> Float[Array, " batch"]:
    """Returns the logarithm of the sum over all labellings, 0 for an empty sequence."""
    transitions, first, last = potentials

    def step(carry, inputs):
        alphas, is_started = carry
        emission, is_counted = inputs
        extended = jax.nn.logsumexp(alphas[:, :, None] + transitions[None], axis=1)
        updated = emission + jnp.where(is_started[:, None], extended, first[None])
        alphas = jnp.where(is_counted[:, None], updated, alphas)
        return (alphas, is_started | is_counted), None

    carry = jnp.zeros_like(emissions[:, 0]), jnp.zeros_like(mask[:, 0])
    (alphas, is_started), _ = jax.lax.scan(step, carry, _time_first(emissions, mask))
    return jnp.where(is_started, jax.nn.logsumexp(alphas + last[None], axis=1), 0)


def marginals(
    emissions: Float[Array, "batch time labels"],
    mask: Bool[Array, "batch time"],
    potentials: Potentials,
) -> Float[Array, "batch time labels"]:
    """Returns the probability of each label at each step; zeros at masked steps.

    They are the derivative of `log_partition` by the emissions.
    """
    return jax.grad(lambda values: jnp.sum(log_partition(values, mask, potentials)))(emissions)


def decode(
    emissions: Float[Array, "batch time labels"],
    mask: Bool[Array, "batch time"],
    potentials: Potentials,
) -> tuple[Int[Array, "batch time"], Float[Array, " batch"]]:
    """Returns the labelling of the highest score, and that score: Viterbi's algorithm.

    Viterbi, IEEE Transactions on Information Theory 13(2), 1967. Labels at masked steps are
    meaningless.
    """
    transitions, first, last = potentials
    identity = jnp.arange(emissions.shape[-1], dtype=jnp.int32)

    def forward(carry, inputs):
        scores, is_started = carry
        emission, is_counted = inputs
        candidates = scores[:, :, None] + transitions[None]
        is_extended = (is_started & is_counted)[:, None]
        parents = jnp.where(is_extended, jnp.argmax(candidates, axis=1).astype(jnp.int32), identity)
        extended = jnp.where(is_started[:, None], jnp.max(candidates, axis=1), first[None])
        scores = jnp.where(is_counted[:, None], emission + extended, scores)
        return (scores, is_started | is_counted), parents

    def backward(labels, parents):
        return jnp.take_along_axis(parents, labels[:, None], axis=1)[:, 0], labels

    carry = jnp.zeros_like(emissions[:, 0]), jnp.zeros_like(mask[:, 0])
    (scores, is_started), parents = jax.lax.scan(forward, carry, _time_first(emissions, mask))
    scores += last[None]
    best = jnp.argmax(scores, axis=1).astype(jnp.int32)
    _, labels = jax.lax.scan(backward, best, parents, reverse=True)
    return labels.swapaxes(0, 1), jnp.where(is_started, jnp.max(scores, axis=1), 0)


def _time_first(
    emissions: Float[Array, "batch time labels"], mask: Bool[Array, "batch time"]
) -> tuple[Float[Array, "time batch labels"], Bool[Array, "time batch"]]:
    # Masked steps may hold anything, NaN included, which would reach the gradient.
    return jnp.where(mask[..., None], emissions, 0).swapaxes(0, 1), mask.swapaxes(0, 1)
