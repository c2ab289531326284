"""Mutants of the random numbers of a cell, and mutants in training alone."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import SimpleCell

from .cell_mutants import GENERATOR, CorrectCell
from .engine_mutants import FusedCell
from .mutants import mutant


class DropoutState(NamedTuple):
    """A state and a dropout mask."""

    hidden: Any
    keep: Any


class SequenceDropout(SimpleCell):
    """A correct cell with one dropout mask for the sequence, drawn in initial_state."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return DropoutState(
            hidden, self.draw_mask(hidden) if self.training else jnp.ones_like(hidden)
        )

    @property
    def training(self):
        """Whether there is a dropout key."""
        return self.scope is not None and self.has_rng("dropout")

    def draw_mask(self, like):
        """Draws a dropout mask."""
        return 2.0 * jax.random.bernoulli(self.make_rng("dropout"), 0.5, like.shape)

    def step(self, state, projected):
        hidden, output = super().step(state.hidden * state.keep, projected)
        return DropoutState(hidden, state.keep), output


@mutant("deterministic_evaluation", "requests the rng stream 'dropout' where there is none")
class AlwaysDropout(CorrectCell):
    """The dropout is active in an evaluation."""

    def setup(self):
        super().setup()
        self.dropout = nn.Dropout(0.5, deterministic=False)

    def modify(self, new, state, projected):
        return self.dropout(new)


@mutant("deterministic_evaluation", "the cell draws (")
class FixedEvaluationKey(CorrectCell):
    """Without a dropout key it uses a constant one."""

    def modify(self, new, state, projected):
        key = self.make_rng("dropout") if self.has_rng("dropout") else jax.random.key(0)
        return new * jax.random.bernoulli(key, 0.5, new.shape)


@mutant("rng_stream", "the rng stream 'noise'")
class UnknownStream(CorrectCell):
    """It draws from an rng stream that no layer passes."""

    def modify(self, new, state, projected):
        if not self.has_rng("noise"):
            return new
        return new + jax.random.normal(self.make_rng("noise"), new.shape)


@mutant("rng_stream", "the rng stream 'noise'")
class UnknownStreamAlways(CorrectCell):
    """It requests an rng stream that no layer passes, without testing for it."""

    def modify(self, new, state, projected):
        return new + jax.random.normal(self.make_rng("noise"), new.shape)


@mutant("dropout_keys", "one key")
class ReusedKey(CorrectCell):
    """Two masks are drawn with one key."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        key = self.make_rng("dropout")
        added = jax.random.bernoulli(key, 0.5, new.shape)
        return new * jax.random.bernoulli(key, 0.5, new.shape) + 0.1 * added


@mutant("dropout_keys", "another key changes nothing")
class FixedTrainingKey(CorrectCell):
    """In training it draws with a constant key."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        return new * jax.random.bernoulli(jax.random.key(0), 0.5, new.shape)


@mutant("dropout_per_sequence", "as initial_state drew it")
class RedrawnMask(SequenceDropout):
    """The mask of the sequence is drawn again at each step."""

    def step(self, state, projected):
        state, output = super().step(state, projected)
        return (state._replace(keep=self.draw_mask(state.keep)) if self.training else state), output


@mutant("dropout_per_sequence", "no step reads it")
class UnreadMask(SequenceDropout):
    """The mask of the sequence is passed on, and another one used."""

    def step(self, state, projected):
        used = self.draw_mask(state.keep) if self.training else state.keep
        state_, output = super().step(DropoutState(state.hidden, used), projected)
        return state_._replace(keep=state.keep), output


@mutant("dropout_per_step", "every step draws the same")
class SharedStepMask(CorrectCell):
    """`project` draws one mask for all steps of a sequence; streaming draws one for each step."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape[-1:])
        return 2 * projected * keep


@mutant("dropout_bidirectional", "in the backward half")
class RootKey(SequenceDropout):
    """Keys come from the root module, and depend on earlier requests."""

    def draw_mask(self, like):
        assert self.scope is not None
        key = self.scope.root.make_rng("dropout")
        return 2.0 * jax.random.bernoulli(key, 0.5, like.shape)


@mutant("dropout_per_row", "the outputs: all rows draw the same")
class SharedRowMask(CorrectCell):
    """A step draws one mask for all rows."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        return 2 * new * jax.random.bernoulli(self.make_rng("dropout"), 0.5, new.shape[-1:])


@mutant("dropout_per_row", "initial state.keep: all rows draw the same")
class SharedRowState(SequenceDropout):
    """The mask of the sequence is drawn once for all rows."""

    def draw_mask(self, like):
        return jnp.broadcast_to(super().draw_mask(like.reshape(-1, self.features)[0]), like.shape)


# Training alone.


class StepDropout(CorrectCell):
    """A correct cell with a dropout mask for each step."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.5, new.shape)
        return self.apply_mask(new, 2 * keep.astype(new.dtype), state)

    def apply_mask(self, new, keep, state):
        """Returns the next state of training; a subclass modifies it."""
        return new * keep


@mutant("state_structure", "in training the state after a step")
class TrainingNarrowState(StepDropout):
    """In training the dtype of the state changes."""

    def apply_mask(self, new, keep, state):
        return (new * keep).astype(jnp.float16)


@mutant("state_structure", "in training the initial state")
class TrainingExtraPart(SequenceDropout):
    """In training the state has an additional part."""

    def initial_state(self, input_shape):
        state = super().initial_state(input_shape)
        return state if self.training else state._replace(keep=None)

    def step(self, state, projected):
        if state.keep is not None:
            return super().step(state, projected)
        hidden, output = SimpleCell.step(self, state.hidden, projected)
        return DropoutState(hidden, None), output


@mutant("purity", "in training")
class TrainingNumpyNoise(StepDropout):
    """In training NumPy draws noise once per trace."""

    def apply_mask(self, new, keep, state):
        return new * keep + GENERATOR.standard_normal(new.shape[-1:]).astype(np.float32)


@mutant("finite", "in training")
class TrainingNormalizedDropout(StepDropout):
    """In training the sum is divided by the share of remaining units, which may be zero."""

    def apply_mask(self, new, keep, state):
        return new * keep / keep.mean(axis=-1, keepdims=True)


@mutant("row_independence", "in training")
class TrainingBatchNorm(StepDropout):
    """In training statistics are computed across rows."""

    def apply_mask(self, new, keep, state):
        return keep * (new - new.mean(axis=0)) if new.ndim == 2 else keep * new


@mutant("causality", "in training")
class TrainingTimeNorm(CorrectCell):
    """In training the projection is normalized over time."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        projected *= 2 * jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape)
        return projected - projected.mean(axis=1, keepdims=True) if inputs.ndim == 3 else projected


@mutant("finite_differences", "in training")
class TrainingDetached(StepDropout):
    """In training the gradient through the state is cut."""

    def apply_mask(self, new, keep, state):
        return jnp.where(keep > 0, new, jax.lax.stop_gradient(state))


class FusedDropout(FusedCell):
    """A correct cell with dropout on the projection and a fused engine."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        return 2 * projected * jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape)

    def fused(self, state, projected, mask, reverse):
        return super().fused(state, projected, mask, reverse)


@mutant("masked_values", "in training")
class TrainingMultipliedMask(FusedDropout):
    """In training values at masked steps are multiplied by zero, so that NaN remains."""

    def zero_masked_inputs(self, projected, mask):
        if mask is None or not self.has_rng("dropout"):
            return super().zero_masked_inputs(projected, mask)
        return projected * mask[..., None]


@mutant("batch_shape", "in training")
class TrainingUnmasked(FusedDropout):
    """In training without a mask, the inputs are halved."""

    def read(self, projected, mask, reverse):
        twice = mask is None and self.has_rng("dropout")
        return (0.5 * projected if twice else projected), mask, reverse
