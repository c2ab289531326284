"""Mutants of initial parameters, and of rates of dropout."""

import random
import time
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import GatedCell, LSTMCell, Wrapper, Zoneout

from .cell_mutants import CorrectCell
from .mutants import planted

# Initial parameters.


class DrawnCell(CorrectCell):
    """A correct cell with a scale for each unit, in a method that subclasses modify."""

    def setup(self):
        super().setup()
        self.scale = self.param("scale", self.draw_scale, (self.features,), self.param_dtype)

    def modify(self, new, state, projected):
        return new * self.scale.astype(new.dtype)

    def draw_scale(self, key, shape, dtype):
        """Draws the scale; a subclass modifies it."""
        return jax.random.uniform(key, shape, dtype, 0.5, 1.5)


@planted("initial_parameters", "constant seed", twin=DrawnCell)
class ConstantNumpySeed(DrawnCell):
    """NumPy draws from a constant seed."""

    def draw_scale(self, key, shape, dtype):
        return jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, shape), dtype)


@planted("initial_parameters", "constant seed", twin=DrawnCell)
class ConstantPythonSeed(DrawnCell):
    """Python's random draws from a constant seed."""

    def draw_scale(self, key, shape, dtype):
        generator = random.Random(0)
        return jnp.asarray([generator.uniform(0.5, 1.5) for _ in range(*shape)], dtype)


@planted("initial_parameters", "by the same key", twin=DrawnCell)
class GlobalNumpyGenerator(DrawnCell):
    """NumPy's global generator draws."""

    def draw_scale(self, key, shape, dtype):
        return jnp.asarray(np.random.uniform(0.5, 1.5, shape), dtype)


@planted("initial_parameters", "the clock", twin=DrawnCell)
class ClockSeed(DrawnCell):
    """The key is the day."""

    def draw_scale(self, key, shape, dtype):
        key = jax.random.key(int(time.time()) // 86_400)
        return super().draw_scale(key, shape, dtype)


@planted("initial_parameters", "hashes of text", twin=DrawnCell)
class HashedName(DrawnCell):
    """The hash of a name, which differs between processes, is folded into the key."""

    def draw_scale(self, key, shape, dtype):
        return super().draw_scale(jax.random.fold_in(key, hash("scale") % 2**31), shape, dtype)


@planted("initial_parameters", "in another process", twin=DrawnCell, quick=False)
class OrderOfSet(DrawnCell):
    """The order of a set of names, which differs between processes, orders the draws."""

    def draw_scale(self, key, shape, dtype):
        names = {f"unit {index}" for index in range(*shape)}
        scale = super().draw_scale(key, shape, dtype)
        return scale[jnp.array([int(name.split()[1]) for name in names])]


@planted("initial_parameters", "constant key", twin=DrawnCell)
class ConstantKey(DrawnCell):
    """The draw is made with a constant key."""

    def draw_scale(self, key, shape, dtype):
        return super().draw_scale(jax.random.key(3), shape, dtype)


@planted("initial_parameters", "constant key", twin=DrawnCell)
class PartlyConstantKey(DrawnCell):
    """Half of the draw is made with a constant key."""

    def draw_scale(self, key, shape, dtype):
        drawn = super().draw_scale(key, shape, dtype)
        constant = super().draw_scale(jax.random.key(3), shape, dtype)
        return jnp.where(jnp.arange(*shape) % 2 == 0, drawn, constant)


@planted("initial_parameters", "one key", twin=DrawnCell)
class ReusedParameterKey(DrawnCell):
    """Two draws of one parameter are made with one key."""

    def draw_scale(self, key, shape, dtype):
        half = super().draw_scale(key, (shape[0] // 2,), dtype)
        return jnp.concatenate([half, super().draw_scale(key, (shape[0] // 2,), dtype)])


@planted("initial_parameters", "the same numbers for some of", twin=DrawnCell)
class NarrowKey(DrawnCell):
    """Only a bit of the key counts."""

    def draw_scale(self, key, shape, dtype):
        bit = jax.random.randint(key, (), 0, 2)
        return super().draw_scale(jax.random.key(bit), shape, dtype)


@planted("initial_parameters", "another dropout key", twin=DrawnCell)
class DropoutStream(DrawnCell):
    """Parameters are drawn from the rng stream of dropout, if there is one."""

    def draw_scale(self, key, shape, dtype):
        if self.has_rng("dropout"):
            key = self.make_rng("dropout")
        return super().draw_scale(key, shape, dtype)


class ScaledProjection(CorrectCell):
    """A correct cell whose inputs are scaled, in a method that subclasses modify."""

    @nn.compact
    def project(self, inputs):
        scale = self.param("input_scale", lambda key: self.first_scale(inputs))
        projected = nn.Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype)(inputs)
        return projected * scale.astype(projected.dtype)

    def setup(self):
        shape = (self.features, self.features)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, shape, self.param_dtype
        )

    def first_scale(self, inputs):
        """Returns the scale of a new cell; a subclass modifies it."""
        return jnp.ones((), self.param_dtype)


@planted("initial_parameters", "from other inputs", twin=ScaledProjection)
class DataDependentScale(ScaledProjection):
    """The scale of a new cell normalizes the first inputs."""

    def first_scale(self, inputs):
        return (1 / inputs.std()).astype(self.param_dtype)


@planted("initial_parameters", "from more rows", twin=ScaledProjection)
class BatchDependentScale(ScaledProjection):
    """The scale of a new cell depends on the number of rows."""

    def first_scale(self, inputs):
        return jnp.full((), 1 / max(len(inputs), 1), self.param_dtype)


# Rates.


class RateCell(CorrectCell):
    """A correct cell with a rate of dropout, in a method that subclasses modify."""

    dropout: float = 0.3

    def modify(self, new, state, projected):
        if not (self.dropout and self.has_rng("dropout")):
            return new
        keep = self.draw_keep(self.make_rng("dropout"), new.shape)
        return jnp.where(keep, new / (1 - self.dropout), 0)

    def draw_keep(self, key, shape):
        """Draws the entries that are kept; a subclass modifies it."""
        return jax.random.bernoulli(key, 1 - self.dropout, shape)


@planted("dropout_rate", "with dropout = 0.4 nothing is drawn", twin=RateCell)
class UnreadRate(RateCell):
    """No step reads the rate."""

    def modify(self, new, state, projected):
        return new


@planted("dropout_rate", "does the same as with 0.2", twin=RateCell)
class ConstantRate(RateCell):
    """The dropout is one half, whatever the rate is."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        return 2 * new * jax.random.bernoulli(self.make_rng("dropout"), 0.5, new.shape)


@planted("dropout_rate", "with all rates 0", twin=RateCell)
class SwappedRate(RateCell):
    """The entries are kept with the probability to drop."""

    def modify(self, new, state, projected):
        if not self.has_rng("dropout"):
            return new
        keep = jax.random.bernoulli(self.make_rng("dropout"), self.dropout, new.shape)
        return jnp.where(keep, new / (1 - self.dropout), 0)


class UpdateCell(GatedCell):
    """A correct cell with dropout of its candidate, off by default."""

    output_part: ClassVar[str | None] = ""

    def setup(self):
        self.input = self.dense(2 * self.features)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        gate, candidate = jnp.split(projected.astype(state.dtype), 2, axis=-1)
        gate = jax.nn.sigmoid(gate)
        new = gate * state + (1 - gate) * self.regularize(jnp.tanh(candidate))
        return new, new.astype(projected.dtype)

    def regularize(self, candidate):
        """Applies the dropout; a subclass modifies it."""
        return self.dropped(candidate)


@planted("dropout_rate", "update_dropout = 0.4 nothing is drawn", twin=UpdateCell)
class ForgottenUpdateDropout(UpdateCell):
    """The inherited rate, off by default, is never applied."""

    def regularize(self, candidate):
        return candidate


class WrappedZoneout(Zoneout):
    """Zoneout around an LSTM."""

    cell: Any = LSTMCell(4)
    rate: Any = 0.3
    features: int = 4


@planted("dropout_rate", "with rate = 0.4 nothing is drawn", twin=WrappedZoneout)
class ExpectedZoneout(WrappedZoneout):
    """Zoneout takes the expectation in training as well."""

    def _zoneout(self, rate, old, new):
        return new + rate * (old - new)


@planted("dropout_rate", "rate['cell'] = 0.4 nothing", twin=WrappedZoneout)
class HalfZoneout(WrappedZoneout):
    """One of two rates is not applied."""

    rate: Any = (("hidden", 0.3), ("cell", 0.3))

    def step(self, state, projected):
        old = state
        state, output = super().step(state, projected)
        new, _ = self.cell.step(old, projected)
        return state._replace(cell=new.cell), output


class InputDropout(Wrapper):
    """A correct wrapper that drops projected inputs."""

    cell: Any = CorrectCell(4)
    rate: float = 0.4
    features: int = 4

    def project(self, inputs):
        return self.drop(self.cell.project(inputs))

    def drop(self, projected):
        """Applies dropout; a subclass modifies it."""
        if not (self.rate and self.scope is not None and self.has_rng("dropout")):
            return projected
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, projected.shape)
        return jnp.where(keep, projected / (1 - self.rate), 0)


@planted("dropout_rate", "with rate = 0.4 nothing is drawn", twin=InputDropout)
class DeterministicInputDropout(InputDropout):
    """The dropout of flax is told to be deterministic."""

    def drop(self, projected):
        return self.dropout(projected, deterministic=True)

    def setup(self):
        self.dropout = nn.Dropout(self.rate)


@planted("output_part", "as the state", twin=RateCell)
class DroppedOutput(RateCell):
    """In training the output is dropped, and not the state that it is declared to be."""

    def step(self, state, projected):
        new, output = super(RateCell, self).step(state, projected)
        return new, RateCell.modify(self, output, state, projected)

    def modify(self, new, state, projected):
        return new


@planted("output_part", "for states of 100", twin=LSTMCell)
class BoundedOutput(LSTMCell):
    """The output is bounded where the state is not."""

    output_part: ClassVar[str | None] = "cell"

    def step(self, state, projected):
        state, _ = super().step(state, projected)
        return state, jnp.clip(state.cell, -10, 10).astype(projected.dtype)
