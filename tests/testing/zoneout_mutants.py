"""Mutants of the parts of a state that zoneout may keep."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import Cell, LSTMCell, SLSTMCell

from .mutants import planted


@planted("zoneout_parts", "names 'memory', and the state's parts are", twin=LSTMCell)
class UnknownZoneoutPart(LSTMCell):
    """A part for zoneout has been renamed."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("hidden", "memory")


@planted("zoneout_parts", "expected a tuple", twin=LSTMCell)
class ZoneoutString(LSTMCell):
    """The parts for zoneout are a string."""

    zoneout_parts: ClassVar[Any] = "hidden"


@planted("zoneout_parts", "changes no output", twin=SLSTMCell)
class ZoneoutStabilizer(SLSTMCell):
    """All parts are zoned out, though three count by one stabilizer."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("",)


@planted("zoneout_parts", "changes no output", twin=SLSTMCell)
class ZoneoutWithoutStabilizer(SLSTMCell):
    """The memory is zoned out, and its scale is not."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("hidden", "cell", "normalizer")


class Quotient(NamedTuple):
    """A sum and the sum of its weights."""

    total: Any
    weight: Any


class QuotientCell(Cell):
    """A correct cell: a running mean with weights from the inputs."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        self.input = self.dense(3 * self.features)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return Quotient(zeros, zeros)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        i, f, v = jnp.split(projected.astype(state.total.dtype), 3, axis=-1)
        i, f = jax.nn.sigmoid(i), jax.nn.sigmoid(f)
        new = Quotient(f * state.total + i * jnp.tanh(v), f * state.weight + i)
        return new, (new.total / jnp.maximum(new.weight, 1e-6)).astype(projected.dtype)


@planted("zoneout_parts", "the outputs grow", twin=QuotientCell)
class ZoneoutQuotient(QuotientCell):
    """A sum and its weight are zoned out apart."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("",)


@planted("zoneout_parts", "the outputs grow", twin=QuotientCell)
class ZoneoutTotal(QuotientCell):
    """A sum is zoned out, and its weight is not."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("total",)


class Pair(NamedTuple):
    """The two parts of complex numbers."""

    real: Any
    imaginary: Any


class RotationCell(Cell):
    """A correct cell: complex numbers in two parts, turned at each step."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        self.input = self.dense(2 * self.features)
        self.angle = self.param(
            "angle", nn.initializers.uniform(3.0), (self.features,), self.param_dtype
        )

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return Pair(zeros, zeros)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        real, imaginary = jnp.split(projected.astype(state.real.dtype), 2, axis=-1)
        cosine, sine = 0.9 * jnp.cos(self.angle), 0.9 * jnp.sin(self.angle)
        new = Pair(
            cosine * state.real - sine * state.imaginary + real,
            sine * state.real + cosine * state.imaginary + imaginary,
        )
        return new, jnp.tanh(new.real + 0.5 * new.imaginary).astype(projected.dtype)


@planted("zoneout_parts", "complex numbers", twin=RotationCell)
class ZoneoutComplex(RotationCell):
    """The two parts of complex numbers are zoned out apart."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ("",)
