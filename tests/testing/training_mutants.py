"""Mutants of gradients, stability, dtypes and serialization."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
from flax import struct

from rnnjax.cells import Cell, SimpleCell
from rnnjax.kernels import sigmoid

from .cell_mutants import CorrectCell
from .mutants import mutant

# Gradients.


@mutant("trainable_parameters", "gradient of parameters.spare is zero")
class UnusedParameter(CorrectCell):
    """A parameter is never used."""

    def setup(self):
        super().setup()
        self.spare = self.param("spare", nn.initializers.ones, (3,), self.param_dtype)


@mutant("trainable_parameters", "input.kernel is zero at 4, 5, 6, 7 of the 8 places along axis 1")
class UnusedColumns(Cell):
    """Both gates read the first half of the projection."""

    output_part: ClassVar[str | None] = ""

    def setup(self):
        self.input = self.dense(2 * self.features)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        half = projected[..., : self.features].astype(state.dtype)
        gate = sigmoid(half)
        new = gate * state + (1 - gate) * jnp.tanh(half)
        return new, new.astype(projected.dtype)


@mutant("trainable_parameters", "parameters.initial[0] is inf, expected finite from the default")
class InfiniteGradient(CorrectCell):
    """The initial state is the square root of a parameter that is zero."""

    def setup(self):
        super().setup()
        self.initial = self.param(
            "initial", nn.initializers.zeros, (self.features,), self.param_dtype
        )

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return zeros + jnp.sqrt(jnp.abs(self.initial - jax.lax.stop_gradient(self.initial)))


@mutant("trainable_parameters", "frozen names 'kernels', and there is no such parameter")
class FrozenUnknown(CorrectCell):
    """A frozen name is no parameter."""

    frozen: ClassVar[tuple[str, ...]] = ("kernels",)


@mutant("trainable_parameters", "gradient of parameters.recurrent_kernel is not zero")
class FrozenTrained(CorrectCell):
    """A frozen parameter gets a gradient."""

    frozen: ClassVar[tuple[str, ...]] = ("recurrent_kernel",)


@mutant("finite_differences", "by finite differences")
class Detached(CorrectCell):
    """The gradient through time is detached."""

    def step(self, state, projected):
        return super().step(jax.lax.stop_gradient(state), projected)


@jax.custom_jvp
def _softsign(x):
    return x / (1 + jnp.abs(x))


_softsign.defjvp(
    lambda primals, tangents: (_softsign(*primals), tangents[0] / (1 + jnp.abs(primals[0])))
)


@mutant("finite_differences", "by finite differences", activation=_softsign)
class WrongActivationGradient(SimpleCell):
    """The custom derivative of an activation is wrong by a square."""


@jax.custom_vjp
def _doubled(x):
    return x


_doubled.defvjp(lambda x: (x, None), lambda _, cotangents: (2 * cotangents,))


@mutant("finite_differences", "gradient of inputs, along one direction")
class DoubledInputGradient(CorrectCell):
    """Only the gradient of the inputs is wrong, in every engine."""

    def project(self, inputs):
        return super().project(_doubled(inputs))


@mutant("finite_differences", "gradient of initial state.1, along one direction")
class DoubledStateGradient(SimpleCell):
    """Only the gradient of a constant part of the state is wrong."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return zeros, zeros + 1

    def step(self, state, projected):
        hidden, context = state
        hidden, output = super().step(hidden * _doubled(context), projected)
        return (hidden, context), output


# Stability and dtypes.


@mutant("stability", "of a new cell with inputs of 100")
class NaiveSigmoid(CorrectCell):
    """The gradient of 1 / (1 + exp(-x)) overflows."""

    def modify(self, new, state, projected):
        gate = 1 / (1 + jnp.exp(-projected.astype(state.dtype)))
        return gate * state + (1 - gate) * new


class ExponentialState(NamedTuple):
    """The state of a cell with exponential gates."""

    cell: Any
    normalizer: Any


class UnstableCell(Cell):
    """Exponential gates whose products overflow."""

    zoneout_parts: ClassVar[tuple[str, ...]] = ()  # a sum and its weights count together

    def setup(self):
        self.input = self.dense(3 * self.features)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return ExponentialState(zeros, zeros)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        i, f, z = jnp.split(projected.astype(state.cell.dtype), 3, axis=-1)
        i, f = self.gates(i, f)
        cell, normalizer = f * state.cell + i * jnp.tanh(z), f * state.normalizer + i
        return ExponentialState(cell, normalizer), (cell / normalizer).astype(projected.dtype)

    def gates(self, i, f):
        """Returns the input gate and the forget gate."""
        return jnp.exp(i), jnp.exp(f)


@mutant("stability", "of a new cell with inputs of 10000")
class UnstableLargeInputs(UnstableCell):
    """Exponential gates that overflow only for very large inputs."""

    def gates(self, i, f):
        return jnp.exp(0.01 * i), jnp.exp(0.01 * f)


@mutant("stability", "of a new cell over ")
class UnstableLongSequence(UnstableCell):
    """Bounded exponential gates, whose products overflow."""

    def gates(self, i, f):
        return jnp.exp(jnp.tanh(i)), jnp.exp(1 + jnp.tanh(f))


@mutant("param_dtype", "recurrent_kernel has the dtype float64, expected float32")
class DefaultParameterDtype(CorrectCell):
    """A parameter is created without a dtype."""

    def setup(self):
        self.input = self.dense(self.features)
        shape = (self.features, self.features)
        self.recurrent_kernel = self.param("recurrent_kernel", self.recurrent_init, shape)


@mutant("param_dtype", "initial state has the dtype float32, expected float64")
class FixedStateDtype(CorrectCell):
    """The state is always float32."""

    def initial_state(self, input_shape):
        return super().initial_state(input_shape).astype(jnp.float32)


@mutant("bfloat16", "expected finite in bfloat16")
class BFloat16SquareRoot(CorrectCell):
    """A square root at 1 - 1 in bfloat16 has no derivative."""

    def project(self, inputs):
        projected = super().project(inputs)
        gate = nn.sigmoid(7 + 0.5 * jnp.tanh(projected))
        return projected + jnp.sqrt(1 - gate)


@mutant("bfloat16", "has the dtype bfloat16, expected float32")
class RoundedState(CorrectCell):
    """The state has the dtype of the computation."""

    def modify(self, new, state, projected):
        return new.astype(projected.dtype)


@mutant("bfloat16", "outputs have the dtype float32, expected bfloat16")
class WideOutput(CorrectCell):
    """The output does not have the dtype of the computation."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output.astype(jnp.promote_types(output.dtype, jnp.float32))


@mutant("bfloat16", "as in float32")
class BFloat16Accumulation(CorrectCell):
    """Small updates are added in bfloat16, where they are lost."""

    def initial_state(self, input_shape):
        return 1 + super().initial_state(input_shape)

    def modify(self, new, state, projected):
        step = (0.0015 * new).astype(projected.dtype)
        return (state.astype(projected.dtype) + step).astype(state.dtype)


# Serialization.


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class UnregisteredState:
    """A state that JAX can flatten and flax.serialization cannot save."""

    hidden: Any


@mutant("serialization", "cannot be saved")
class UnserializableState(SimpleCell):
    """The state cannot be saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        return UnregisteredState(super().initial_state(input_shape))

    def step(self, state, projected):
        hidden, output = super().step(state.hidden, projected)
        return UnregisteredState(hidden), output


@struct.dataclass
class IncompleteState:
    """A state that omits a part when it is saved."""

    hidden: Any
    older: Any


flax.serialization.register_serialization_state(
    IncompleteState,
    lambda state: {"hidden": state.hidden},
    lambda state, saved: state.replace(hidden=saved["hidden"]),
    override=True,
)


@mutant("serialization", "older")
class IncompletelySavedState(SimpleCell):
    """A part of the state is lost when it is saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return IncompleteState(hidden, hidden)

    def step(self, state, projected):
        hidden, output = super().step(0.5 * (state.hidden + state.older), projected)
        return IncompleteState(hidden, state.hidden), output


@struct.dataclass
class FlatState:
    """A state that is restored as one row."""

    hidden: Any


flax.serialization.register_serialization_state(
    FlatState,
    lambda state: {"hidden": state.hidden},
    lambda state, saved: state.replace(hidden=saved["hidden"].reshape(-1)),
    override=True,
)


@mutant("serialization", "the restored tree")
class ReshapedState(SimpleCell):
    """The shape of the state is lost when it is saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        return FlatState(super().initial_state(input_shape))

    def step(self, state, projected):
        hidden, output = super().step(state.hidden, projected)
        return FlatState(hidden), output
