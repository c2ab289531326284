"""Mutants of numbers: gradients in bfloat16, new cells, counters, and large states."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import LearnedInitialState, SimpleCell

from .cell_mutants import CorrectCell
from .engine_mutants import FusedCell, LeakyIntegrator
from .mutants import planted

# Gradients in bfloat16.


def in_bfloat16(change):
    """Returns an identity whose gradient in bfloat16 is changed by a function."""

    @jax.custom_vjp
    def identity(x):
        return x

    def backward(dtype, cotangents):
        return (change(cotangents) if dtype == jnp.bfloat16 else cotangents,)

    identity.defvjp(lambda x: (x, jnp.zeros((), x.dtype)), lambda x, g: backward(x.dtype, g))
    return identity


class BFloat16Cell(CorrectCell):
    """A correct cell whose projection has a gradient that subclasses modify in bfloat16."""

    def project(self, inputs):
        return in_bfloat16(self.change)(super().project(inputs))

    @staticmethod
    def change(cotangents):
        """Returns the gradient; a subclass modifies it."""
        return cotangents


@planted("bfloat16_gradients", "in bfloat16, as in float32", twin=BFloat16Cell)
class DoubledInBFloat16(BFloat16Cell):
    """In bfloat16 the gradient is doubled."""

    @staticmethod
    def change(cotangents):
        return 2 * cotangents


@planted("bfloat16_gradients", "in bfloat16, as in float32", twin=BFloat16Cell)
class ZeroInBFloat16(BFloat16Cell):
    """In bfloat16 there is no gradient."""

    @staticmethod
    def change(cotangents):
        return jnp.zeros_like(cotangents)


@planted("bfloat16_gradients", "in bfloat16, as in float32", twin=BFloat16Cell)
class CoarseInBFloat16(BFloat16Cell):
    """In bfloat16 the gradient is rounded to quarters."""

    @staticmethod
    def change(cotangents):
        return jnp.round(4 * cotangents) / 4


@planted("bfloat16_gradients", "gradient of", twin=FusedCell)
class DetachedKernelInBFloat16(FusedCell):
    """In bfloat16 the engine's gradient of the recurrent kernel is half of it."""

    def kernel(self):
        kernel = self.recurrent_kernel
        if self.dtype != jnp.bfloat16:
            return kernel
        return 0.5 * kernel + 0.5 * jax.lax.stop_gradient(kernel)


@planted("bfloat16", "as in float32", twin=CorrectCell)
class CountInBFloat16(SimpleCell):
    """In bfloat16 a count is added up in the dtype of the computation, where it stops at 256."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return hidden, jnp.zeros((*input_shape[:-1], 1), self.param_dtype)

    def step(self, state, projected):
        hidden, output = super().step(state[0], projected)
        count = state[1].astype(projected.dtype) + 1
        return (hidden, count.astype(state[1].dtype)), output


# New cells.


class ParameterCell(CorrectCell):
    """A correct cell with a parameter that begins at zero, in a method that subclasses modify."""

    def setup(self):
        super().setup()
        self.extra = self.param("extra", nn.initializers.zeros, (self.features,), self.param_dtype)

    def modify(self, new, state, projected):
        return new * (1 + self.factor(self.extra.astype(new.dtype), projected.astype(new.dtype)))

    def factor(self, extra, projected):
        """Returns what is added to the factor one; a subclass modifies it."""
        return jnp.tanh(extra)


@planted("new_cell", "in a new cell", twin=ParameterCell)
class SquareRootOfZero(ParameterCell):
    """The square root of a parameter that begins at zero."""

    def factor(self, extra, projected):
        return jnp.sqrt(extra * extra)


@planted("new_cell", "in a new cell", twin=ParameterCell)
class NormOfZero(ParameterCell):
    """A direction that begins at zero is normalized."""

    def factor(self, extra, projected):
        return extra / jnp.maximum(jnp.linalg.norm(extra), 1e-6)


@planted("new_cell", "in a new cell, for inputs of zeros", twin=ParameterCell)
class PowerOfZero(ParameterCell):
    """A power whose exponent is learned has no derivative at a projection of zero."""

    def factor(self, extra, projected):
        return jnp.power(jnp.abs(projected), 0.5 + 0.1 * jnp.tanh(extra)) / 1000


@planted("new_cell", "in a new cell, for inputs of zeros", twin=CorrectCell)
class NormalizedProjectionOfZero(CorrectCell):
    """The projection is normalized; it is zero where inputs and a new bias are zero."""

    def project(self, inputs):
        projected = super().project(inputs)
        norm = jnp.linalg.norm(projected, axis=-1, keepdims=True)
        return projected / jnp.maximum(norm, jnp.asarray(1e-3, norm.dtype))


@planted("new_cell", "in a new cell", twin=CorrectCell)
class NormalizedSumOfZero(SimpleCell):
    """The sum is normalized; it is zero where padding is read first from a state of zeros."""

    def step(self, state, projected):
        total = (projected + self.recurrent_product(state, self.recurrent_kernel)).astype(
            state.dtype
        )
        new = total / jnp.maximum(jnp.linalg.norm(total, axis=-1, keepdims=True), 1e-3)
        return new, new.astype(projected.dtype)


@planted("new_cell", "in a new cell, for inputs of ones", twin=CorrectCell)
class ConstantInputs(CorrectCell):
    """The inputs are divided by their deviation, whose square root is taken at zero."""

    def project(self, inputs):
        is_zero = jnp.abs(inputs).max(axis=-1, keepdims=True) == 0
        safe = jnp.where(is_zero, jnp.arange(inputs.shape[-1], dtype=inputs.dtype), inputs)
        return super().project(inputs / (0.1 + jnp.sqrt(jnp.var(safe, axis=-1, keepdims=True))))


class WrappedInitialState(LearnedInitialState):
    """A learned initial state of a simple cell."""

    cell: Any = CorrectCell(4)
    features: int = 4


@planted("new_cell", "in a new cell", twin=WrappedInitialState)
class NormalizedInitialState(WrappedInitialState):
    """The learned initial state is normalized, and begins at zero."""

    def initial_state(self, input_shape):
        state = super().initial_state(input_shape)
        return state / jnp.linalg.norm(state, axis=-1, keepdims=True).clip(1e-6)


# Counters.


class Counted(NamedTuple):
    """A state and a count of steps."""

    hidden: Any
    count: Any


class CountingCell(SimpleCell):
    """A correct cell with a count that fades its output, in methods that subclasses modify."""

    output_part: ClassVar[str | None] = None

    count_dtype: Any = jnp.int32

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return Counted(hidden, jnp.zeros((*input_shape[:-1], 1), self.count_dtype))

    def step(self, state, projected):
        hidden, output = super().step(state.hidden, projected)
        count = self.increase(state.count)
        # Of the remainder, so that the output stays the same for any size of the count.
        fade = 1 / (1 + (count % 4).astype(jnp.float32))
        return Counted(hidden, count), output * fade.astype(output.dtype)

    def increase(self, count):
        """Returns the next count; a subclass modifies it."""
        return count + 1


@planted("counters", "from 127 to -128", twin=CountingCell, count_dtype=jnp.int8)
class Int8Count(CountingCell):
    """The count is an int8."""


@planted("counters", "from 255 to 0", twin=CountingCell, count_dtype=jnp.uint8)
class UInt8Count(CountingCell):
    """The count is a uint8."""


@planted("counters", "from 32767 to -32768", twin=CountingCell, count_dtype=jnp.int16)
class Int16Count(CountingCell):
    """The count is an int16."""


@planted("counters", "stops at 256", twin=CountingCell, count_dtype=jnp.bfloat16)
class BFloat16Count(CountingCell):
    """The count is a bfloat16."""


@planted("counters", "stops at 2048", twin=CountingCell, count_dtype=jnp.float16)
class Float16Count(CountingCell):
    """The count is a float16."""


@planted("counters", "from 255 to 0", twin=CountingCell)
class CastCount(CountingCell):
    """The count is an int32 and is increased in uint8."""

    def increase(self, count):
        return (count.astype(jnp.uint8) + 1).astype(jnp.int32)


# Large and small states.


@planted("large_states", "times", twin=LeakyIntegrator)
class BoundedStep(LeakyIntegrator):
    """A step bounds the state, and the coefficients do not."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def step(self, state, projected):
        new, _ = super().step(state, projected)
        new = jnp.clip(new, -40, 40)
        return new, self.read(new, projected)


@planted("large_states", "times", twin=LeakyIntegrator)
class BoundedCoefficients(LeakyIntegrator):
    """The coefficients of a sequence are bounded, and those of a step are not."""

    def coefficients(self, projected):
        a, b = super().coefficients(projected)
        return a, jnp.clip(b, -30, 30)

    def step(self, state, projected):
        a, b = super().coefficients(projected)
        new = a * state + b
        return new, self.read(new, projected)


@planted("large_states", "times", twin=FusedCell)
class BoundedInitialState(FusedCell):
    """The engine bounds the initial state."""

    def initial(self, state):
        return jnp.clip(state, -20, 20)


@planted("large_states", "times", twin=FusedCell)
class FlushedInitialState(FusedCell):
    """The engine takes small states for zero."""

    def initial(self, state):
        return jnp.where(jnp.abs(state) < 1e-3, 0, state)


@planted("large_states", "times", twin=FusedCell)
class BoundedInputs(FusedCell):
    """The engine bounds the projected inputs."""

    def read(self, projected, mask, reverse):
        return jnp.clip(projected, -25, 25) + 0.02 * jnp.clip(projected - 25, 0), mask, reverse
