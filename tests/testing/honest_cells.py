"""Correct cells that a strict kit could take for mistaken ones."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import Cell, SimpleCell

from .cell_mutants import CorrectCell
from .mutants import PLANTED
from .number_mutants import CountingCell

# Kernels with zeros.


class TriangularCell(CorrectCell):
    """A recurrent kernel that is strictly lower triangular: a chain of units."""

    def step(self, state, projected):
        kernel = jnp.tril(self.recurrent_kernel, -1)
        new = jnp.tanh((projected + self.recurrent_product(state, kernel)).astype(state.dtype))
        return new, new.astype(projected.dtype)


class TriangularGatesCell(Cell):
    """Two gates whose kernels stand side by side, each strictly upper triangular."""

    output_part: ClassVar[str | None] = ""

    def setup(self):
        self.input = self.dense(2 * self.features)
        shape = (self.features, 2 * self.features)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", nn.initializers.normal(), shape, self.param_dtype
        )

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        halves = [jnp.triu(half, 1) for half in jnp.split(self.recurrent_kernel, 2, axis=1)]
        product = self.recurrent_product(state, jnp.concatenate(halves, axis=1))
        gate, new = jnp.split((projected + product).astype(state.dtype), 2, axis=-1)
        gate = jax.nn.sigmoid(gate)
        new = gate * state + (1 - gate) * jnp.tanh(new)
        return new, new.astype(projected.dtype)


# Units that are silent, and that spike.


class SilentUnitsCell(SimpleCell):
    """Rectified units with high thresholds, most of which are silent for common inputs."""

    activation: Any = "relu"
    threshold: float = 4.0

    def project(self, inputs):
        projected = super().project(inputs)
        return projected - jnp.asarray(self.threshold, projected.dtype)


@jax.custom_jvp
def spike(x):
    """Returns 1 where x is positive, with the derivative of a fast sigmoid."""
    return (x > 0).astype(x.dtype)


@spike.defjvp
def _spike_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return spike(x), tangent / (1 + 10 * jnp.abs(x)) ** 2


@jax.custom_vjp
def spike_backward(x):
    """Returns 1 where x is positive, with the derivative of a triangle."""
    return jnp.heaviside(x, jnp.zeros((), x.dtype))


spike_backward.defvjp(
    lambda x: (spike_backward(x), x),
    lambda x, cotangents: (cotangents * jnp.maximum(0, 1 - jnp.abs(x)),),
)


class SpikingCell(Cell):
    """Leaky integrate-and-fire units with a surrogate gradient."""

    output_part: ClassVar[str | None] = "spikes"

    def setup(self):
        self.input = self.dense(self.features)
        shape = (self.features, self.features)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", nn.initializers.orthogonal(), shape, self.param_dtype
        )

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return {"potential": zeros, "spikes": zeros}

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        product = self.recurrent_product(state["spikes"], self.recurrent_kernel)
        drive = (projected + product).astype(state["potential"].dtype)
        potential = 0.9 * state["potential"] * (1 - state["spikes"]) + drive
        spikes = self.fire(potential - 1)
        return {"potential": potential, "spikes": spikes}, spikes.astype(projected.dtype)

    def fire(self, x):
        """Returns the spikes."""
        return spike(x)


class BackwardSpikingCell(SpikingCell):
    """The same with a hand-written reverse derivative."""

    def fire(self, x):
        return spike_backward(x)


# Normalized kernels.


def spectral_norm(kernel, start, iterations=8):
    """Returns a kernel divided by its largest singular value, by power iteration."""
    u = start
    for _ in range(iterations):
        v = kernel.T @ u
        v = v / jnp.sqrt((v * v).sum() + 1e-12)
        u = kernel @ v
        u = u / jnp.sqrt((u * u).sum() + 1e-12)
    return kernel / (u @ kernel @ v)


class SpectralNormCell(CorrectCell):
    """A recurrent kernel divided by its norm, in every step, from a vector of ones."""

    def start(self):
        """Returns the first vector of the power iteration."""
        return jnp.ones((self.features,), self.param_dtype)

    def step(self, state, projected):
        kernel = spectral_norm(self.recurrent_kernel, self.start())
        new = jnp.tanh((projected + self.recurrent_product(state, kernel)).astype(state.dtype))
        return new, new.astype(projected.dtype)


class DrawnSpectralNormCell(SpectralNormCell):
    """The same from a random vector, by a constant key."""

    def start(self):
        return jax.random.normal(jax.random.key(0), (self.features,), self.param_dtype)


class DetachedSpectralNormCell(CorrectCell):
    """The same with a norm that has converged, whose vectors get no gradient."""

    def step(self, state, projected):
        kernel = self.recurrent_kernel
        u = jnp.ones((self.features,), kernel.dtype)
        gram = kernel @ kernel.T
        for _ in range(12):  # Squared: 4096 iterations.
            gram = gram @ gram / jnp.trace(gram @ gram)
        u = gram @ u
        u = jax.lax.stop_gradient(u / jnp.linalg.norm(u))
        v = kernel.T @ u
        v = jax.lax.stop_gradient(v / jnp.linalg.norm(v))
        kernel = kernel / (u @ kernel @ v)
        new = jnp.tanh((projected + self.recurrent_product(state, kernel)).astype(state.dtype))
        return new, new.astype(projected.dtype)


# States.


class MaximumState(NamedTuple):
    """A sum, its normalizer and the largest logarithm so far, minus infinity at first."""

    total: Any
    weight: Any
    largest: Any


class MaximumCell(Cell):
    """A running mean with exponential weights, from a maximum of minus infinity."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        self.input = self.dense(2 * self.features)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return MaximumState(zeros, zeros, jnp.full_like(zeros, -jnp.inf))

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        logit, value = jnp.split(projected.astype(state.total.dtype), 2, axis=-1)
        largest = jnp.maximum(state.largest, logit)
        old, new = jnp.exp(state.largest - largest), jnp.exp(logit - largest)
        total = old * state.total + new * jnp.tanh(value)
        weight = old * state.weight + new
        return MaximumState(total, weight, largest), (total / weight).astype(projected.dtype)


class RunningMaximumCell(Cell):
    """The largest of the inputs so far, from minus infinity."""

    output_part: ClassVar[str | None] = ""

    def setup(self):
        self.input = self.dense(self.features)

    def initial_state(self, input_shape):
        return jnp.full_like(super().initial_state(input_shape), -jnp.inf)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        new = jnp.maximum(state, projected.astype(state.dtype))
        return new, new.astype(projected.dtype)


class RingCell(CountingCell):
    """A position of a ring of eight places, which is a uint8."""

    count_dtype: Any = jnp.uint8

    def increase(self, count):
        return (count + 1) % 8


class CappedCell(CountingCell):
    """A count that stops at 100, which is a uint8."""

    count_dtype: Any = jnp.uint8

    def increase(self, count):
        return jnp.minimum(count + 1, 100).astype(count.dtype)


class CappedFloatCell(CountingCell):
    """A count that stops at 100, which is a bfloat16."""

    count_dtype: Any = jnp.bfloat16

    def increase(self, count):
        return jnp.minimum(count + 1, 100)


# Parameters, rates and parts.


class ConstantMatrixCell(CorrectCell):
    """A parameter that begins as a constant matrix of many numbers."""

    def setup(self):
        super().setup()
        index = np.arange(1, self.features + 1)
        first = np.sqrt(np.outer(index, index)) / 10
        self.mixing = self.param(
            "mixing", lambda key: jnp.asarray(first / self.features, self.param_dtype)
        )

    def modify(self, new, state, projected):
        return jnp.tanh(new + self.recurrent_product(state, self.mixing).astype(new.dtype))


class LeakCell(CorrectCell):
    """A leaky integrator, with the rate of the leak."""

    rate: float = 0.3

    def modify(self, new, state, projected):
        return (1 - self.rate) * state + self.rate * new


class TwoSpeeds(NamedTuple):
    """A fast state and a slow one."""

    fast: Any
    slow: Any


class TwoSpeedsCell(Cell):
    """Two leaky integrators of different speed, zoned out apart."""

    def setup(self):
        self.input = self.dense(self.features)
        shape = (self.features, self.features)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", nn.initializers.orthogonal(), shape, self.param_dtype
        )

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return TwoSpeeds(zeros, zeros)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        product = self.recurrent_product(state.fast + state.slow, self.recurrent_kernel)
        new = jnp.tanh((projected + product).astype(state.fast.dtype))
        new = TwoSpeeds(0.5 * state.fast + 0.5 * new, 0.9 * state.slow + 0.1 * new)
        return new, (new.fast * new.slow).astype(projected.dtype)


HONEST = (
    *(TriangularCell, TriangularGatesCell, SilentUnitsCell, SpikingCell, BackwardSpikingCell),
    *(SpectralNormCell, DrawnSpectralNormCell, DetachedSpectralNormCell),
    *(MaximumCell, RunningMaximumCell, RingCell, CappedCell, CappedFloatCell),
    *(ConstantMatrixCell, LeakCell, TwoSpeedsCell),
)


def correct_cells() -> list[type]:
    """Returns these cells, and those beside the mistakes that are not of the package."""
    twins = {mutant.twin for mutant in PLANTED.values() if mutant.twin is not None}
    twins = {twin for twin in twins if not twin.__module__.startswith("rnnjax.")}
    return [*HONEST, *sorted(twins, key=lambda twin: twin.__name__)]
