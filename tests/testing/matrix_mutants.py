"""Mutants of cells with matrix states, and of resets in engines."""

import jax
import jax.numpy as jnp

from rnnjax.cells import MatrixCell
from rnnjax.cells.matrix_cell import split_heads
from rnnjax.kernels.matrix_recurrence import MatrixInputs

from .engine_mutants import LeakyIntegrator
from .mutants import mutant, planted


class DecayingMemory(MatrixCell):
    """A correct cell: S' = a S + k v^T, a number a for each head, from ones."""

    heads: int = 2

    def setup(self):
        self.input = self.dense(3 * self.features + self.heads)

    def initial_state(self, input_shape):
        return jnp.ones_like(super().initial_state(input_shape))

    def project(self, inputs):
        return self.input(inputs)

    def coefficients(self, projected):
        projected = projected.astype(self.param_dtype)
        q, k, v = (
            split_heads(part, self.heads)
            for part in jnp.split(projected[..., : 3 * self.features], 3, axis=-1)
        )
        return MatrixInputs(q, k, v, jax.nn.log_sigmoid(projected[..., 3 * self.features :]))


@mutant("projection", "coefficients")
class ShiftedKeys(DecayingMemory):
    """The keys of a sequence are those of the next step."""

    def coefficients(self, projected):
        inputs = super().coefficients(projected)
        shift = projected.ndim == 3
        return inputs._replace(key=jnp.roll(inputs.key, -1, axis=1)) if shift else inputs


@mutant("projection", "read")
class CentredRead(DecayingMemory):
    """The outputs of a sequence are centred over its steps."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def read(self, products, projected, stabilizer=None):
        outputs = super().read(products, projected)
        return outputs - outputs.mean(axis=1, keepdims=True) if outputs.ndim == 3 else outputs


@mutant("loop_values", "engine chunkwise")
class DifferentMatrixStep(DecayingMemory):
    """A step decays twice."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def step(self, state, projected):
        decay = jnp.exp(self.coefficients(projected).log_decay)
        return super().step(decay[..., None, None] * state, projected)


@mutant("empty_rows", "final state")
class UnmaskedDecay(DecayingMemory):
    """A masked step adds no key, and decays."""

    def recurrence(self, inputs, state, mask, *rest):
        return super().recurrence(inputs, state, None, *rest)


def run_apart(recurrence, inputs, state, mask, reverse, *rest, length=32):
    """Runs a recurrence for the first steps and the others apart, from one state."""
    parts = [slice(0, length), slice(length, None)]
    results = [
        recurrence(
            jax.tree.map(lambda leaf, part=part: leaf[:, part], inputs),
            state,
            None if mask is None else mask[:, part],
            reverse,
            *rest,
        )
        for part in parts
    ]
    final = results[0 if reverse else 1][0]
    return final, jnp.concatenate([products for _, products, _ in results], axis=1), None


@planted("sequence_sizes", "engine chunkwise", twin=DecayingMemory)
class ForgettingChunks(DecayingMemory):
    """From the 33rd step on the recurrence begins with the initial state again."""

    def recurrence(self, inputs, state, mask, reverse, *rest):
        if inputs.key.shape[1] <= 32 or rest[0] is not None:
            return super().recurrence(inputs, state, mask, reverse, *rest)
        return run_apart(super().recurrence, inputs, state, mask, reverse, *rest)


@planted("projection_sizes", "coefficients", twin=DecayingMemory)
class LongDecays(DecayingMemory):
    """More than 32 steps decay by less."""

    def coefficients(self, projected):
        inputs = super().coefficients(projected)
        is_long = projected.ndim == 3 and projected.shape[1] > 32
        return inputs._replace(log_decay=0.9 * inputs.log_decay) if is_long else inputs


# Resets.


@planted("document_resets", "engine chunkwise", twin=DecayingMemory)
class ZeroedByReset(DecayingMemory):
    """A document begins from zeros instead of the initial state."""

    def recurrence(self, inputs, state, mask, reverse, resets, reset_state):
        zeros = jax.tree.map(jnp.zeros_like, reset_state)
        return super().recurrence(inputs, state, mask, reverse, resets, zeros)


@planted("document_resets", "engine chunkwise", twin=DecayingMemory)
class MaskedResets(DecayingMemory):
    """A reset at a masked step is ignored."""

    def recurrence(self, inputs, state, mask, reverse, resets, reset_state):
        if resets is not None and mask is not None:
            resets = resets & mask
        return super().recurrence(inputs, state, mask, reverse, resets, reset_state)


@planted("document_resets", "engine associative", twin=LeakyIntegrator)
class DetachedReset(LeakyIntegrator):
    """The state after a reset keeps a part of the one before it."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def associative(self, state, projected, mask, reverse, resets=None, reset_state=None):
        if reset_state is not None:
            reset_state = reset_state + 0.1 * state
        return super().associative(state, projected, mask, reverse, resets, reset_state)
