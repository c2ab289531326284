"""Cells with one mistake in what they draw at random, or in training alone."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import SimpleCell

from .mistakes_in_cells import GENERATOR, Simple
from .mistakes_in_engines import Fused
from .planted import planted


class Dropped(NamedTuple):
    """A state and the mask of a dropout."""

    hidden: Any
    keep: Any


class Held(SimpleCell):
    """A right cell: a mask that holds for the sequence, drawn with the first state."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return Dropped(hidden, self.drawn(hidden) if self.training else jnp.ones_like(hidden))

    @property
    def training(self):
        """Whether there is something to draw from."""
        return self.scope is not None and self.has_rng("dropout")

    def drawn(self, like):
        """Returns a mask."""
        return 2.0 * jax.random.bernoulli(self.make_rng("dropout"), 0.5, like.shape)

    def step(self, state, projected):
        hidden, output = super().step(state.hidden * state.keep, projected)
        return Dropped(hidden, state.keep), output


@planted("evaluation", "asks for the rng stream 'dropout' where there is none")
class NeverOff(Simple):
    """The dropout is not off in an evaluation."""

    def setup(self):
        super().setup()
        self.dropout = nn.Dropout(0.5, deterministic=False)

    def spoiled(self, new, state, projected):
        return self.dropout(new)


@planted("evaluation", "the cell draws (")
class OwnKey(Simple):
    """Where there is no key, it takes one of its own."""

    def spoiled(self, new, state, projected):
        key = self.make_rng("dropout") if self.has_rng("dropout") else jax.random.key(0)
        return new * jax.random.bernoulli(key, 0.5, new.shape)


@planted("streams", "the rng stream 'noise'")
class OtherStream(Simple):
    """It draws from a stream of its own, which is never there."""

    def spoiled(self, new, state, projected):
        if not self.has_rng("noise"):
            return new
        return new + jax.random.normal(self.make_rng("noise"), new.shape)


@planted("streams", "the rng stream 'noise'")
class OtherStreamAlways(Simple):
    """It draws from a stream of its own without asking whether it is there."""

    def spoiled(self, new, state, projected):
        return new + jax.random.normal(self.make_rng("noise"), new.shape)


@planted("dropout_keys", "one key")
class OneKey(Simple):
    """Two masks are drawn with one key, so that they are one."""

    def spoiled(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        key = self.make_rng("dropout")
        added = jax.random.bernoulli(key, 0.5, new.shape)
        return new * jax.random.bernoulli(key, 0.5, new.shape) + 0.1 * added


@planted("dropout_keys", "another key changes nothing")
class FixedKey(Simple):
    """In training it draws, and always the same."""

    def spoiled(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        return new * jax.random.bernoulli(jax.random.key(0), 0.5, new.shape)


@planted("dropout_held", "as initial_state drew it")
class Redrawn(Held):
    """The mask that is to hold is drawn again at each step."""

    def step(self, state, projected):
        state, output = super().step(state, projected)
        return (state._replace(keep=self.drawn(state.keep)) if self.training else state), output


@planted("dropout_held", "no step reads it")
class Unread(Held):
    """The mask that is to hold is carried along, and another one used."""

    def step(self, state, projected):
        used = self.drawn(state.keep) if self.training else state.keep
        state_, output = super().step(Dropped(state.hidden, used), projected)
        return state_._replace(keep=state.keep), output


@planted("dropout_fresh", "every step draws the same")
class OneForAll(Simple):
    """The projection draws one mask for all steps of a sequence, a call another for each step."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape[-1:])
        return 2 * projected * keep


@planted("dropout_bidirectional", "in the backward half")
class FromRoot(Held):
    """Keys come from the outermost module, so that who asked before counts."""

    def drawn(self, like):
        assert self.scope is not None
        key = self.scope.root.make_rng("dropout")
        return 2.0 * jax.random.bernoulli(key, 0.5, like.shape)


@planted("dropout_rows", "the outputs: all rows draw the same")
class RowsShareStep(Simple):
    """A step draws one mask for all rows."""

    def spoiled(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        return 2 * new * jax.random.bernoulli(self.make_rng("dropout"), 0.5, new.shape[-1:])


@planted("dropout_rows", "initial state.keep: all rows draw the same")
class RowsShareHeld(Held):
    """The mask that holds is drawn once for all rows."""

    def drawn(self, like):
        return jnp.broadcast_to(super().drawn(like.reshape(-1, self.features)[0]), like.shape)


# What holds in an evaluation, and not in training.


class Dropping(Simple):
    """A right cell: in training each step drops some units."""

    def spoiled(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.5, new.shape)
        return self.dropped(new, 2 * keep.astype(new.dtype), state)

    def dropped(self, new, keep, state):
        """Returns the next state of training, right here."""
        return new * keep


@planted("contract", "in training the state after a step")
class TrainNarrow(Dropping):
    """In training the state gets another dtype."""

    def dropped(self, new, keep, state):
        return (new * keep).astype(jnp.float16)


@planted("contract", "in training the initial state")
class TrainPart(Held):
    """In training the state has a part more."""

    def initial_state(self, input_shape):
        state = super().initial_state(input_shape)
        return state if self.training else state._replace(keep=None)

    def step(self, state, projected):
        if state.keep is not None:
            return super().step(state, projected)
        hidden, output = SimpleCell.step(self, state.hidden, projected)
        return Dropped(hidden, None), output


@planted("repeatable", "in training")
class NumpyDropout(Dropping):
    """NumPy draws in training as well, once for each time that JAX traces."""

    def dropped(self, new, keep, state):
        return new * keep + GENERATOR.standard_normal(new.shape[-1:]).astype(np.float32)


@planted("finite", "in training")
class TrainShare(Dropping):
    """In training what is left is divided by its share, which may be zero."""

    def dropped(self, new, keep, state):
        return new * keep / keep.mean(axis=-1, keepdims=True)


@planted("rows", "in training")
class TrainBatchNorm(Dropping):
    """In training statistics are taken across the rows."""

    def dropped(self, new, keep, state):
        return keep * (new - new.mean(axis=0)) if new.ndim == 2 else keep * new


@planted("causality", "in training")
class TrainFuture(Simple):
    """In training the projection is normalised over time."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        projected *= 2 * jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape)
        return projected - projected.mean(axis=1, keepdims=True) if inputs.ndim == 3 else projected


@planted("derivative", "in training")
class TrainDetached(Dropping):
    """In training the gradient through the state is cut."""

    def dropped(self, new, keep, state):
        return jnp.where(keep > 0, new, jax.lax.stop_gradient(state))


class FusedDropout(Fused):
    """A right cell: in training what the steps read is dropped, and an engine of its own."""

    def project(self, inputs):
        projected = super().project(inputs)
        if not self.has_rng("dropout"):
            return projected
        return 2 * projected * jax.random.bernoulli(self.make_rng("dropout"), 0.5, projected.shape)

    def fused(self, state, projected, mask, reverse):
        return super().fused(state, projected, mask, reverse)


@planted("junk", "in training")
class TrainTimesMask(FusedDropout):
    """In training junk at masked steps is multiplied by zero, and NaN remains."""

    def guarded(self, projected, mask):
        if mask is None or not self.has_rng("dropout"):
            return super().guarded(projected, mask)
        return projected * mask[..., None]


@planted("size", "in training")
class TrainUnmasked(FusedDropout):
    """Without a mask, training drops twice."""

    def read(self, projected, mask, reverse):
        twice = mask is None and self.has_rng("dropout")
        return (0.5 * projected if twice else projected), mask, reverse
