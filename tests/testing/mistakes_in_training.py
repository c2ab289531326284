"""Cells with one mistake in what training needs: gradients, size, precision, and saving."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
from flax import struct

from rnnjax.cells import Cell, SimpleCell
from rnnjax.kernels import sigmoid

from .mistakes_in_cells import Simple
from .planted import planted

# What training needs.


@planted("learning", "gradient of parameters.spare is zero")
class Spare(Simple):
    """A parameter is made and not used."""

    def setup(self):
        super().setup()
        self.spare = self.param("spare", nn.initializers.ones, (3,), self.param_dtype)


@planted("learning", "input.kernel is zero at 4, 5, 6, 7 of the 8 places along axis 1")
class DeadHalf(Cell):
    """Both gates read the first half of what is projected."""

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


@planted("learning", "parameters.begun[0] is inf, expected finite from the cell's own")
class RootBegins(Simple):
    """The cell begins with the root of a learned zero, which has no derivative."""

    def setup(self):
        super().setup()
        self.begun = self.param("begun", nn.initializers.zeros, (self.features,), self.param_dtype)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return zeros + jnp.sqrt(jnp.abs(self.begun - jax.lax.stop_gradient(self.begun)))


@planted("learning", "frozen names 'kernels', and there is no such parameter")
class FrozenNothing(Simple):
    """What is declared frozen is no parameter."""

    frozen: ClassVar[tuple[str, ...]] = ("kernels",)


@planted("learning", "gradient of parameters.recurrent_kernel is not zero")
class Thawed(Simple):
    """A parameter is declared frozen, and learns."""

    frozen: ClassVar[tuple[str, ...]] = ("recurrent_kernel",)


@planted("derivative", "by finite differences")
class Detached(Simple):
    """The gradient through time is cut."""

    def step(self, state, projected):
        return super().step(jax.lax.stop_gradient(state), projected)


@jax.custom_jvp
def _soft(x):
    return x / (1 + jnp.abs(x))


_soft.defjvp(lambda primals, tangents: (_soft(*primals), tangents[0] / (1 + jnp.abs(primals[0]))))


@planted("derivative", "by finite differences", activation=_soft)
class OwnActivation(SimpleCell):
    """The derivative of an activation is wrong by a square."""


@jax.custom_vjp
def _twice(x):
    return x


_twice.defvjp(lambda x: (x, None), lambda _, cotangents: (2 * cotangents,))


@planted("derivative", "gradient of inputs, along one direction")
class TwiceInputs(Simple):
    """Only the gradient of the inputs is wrong, of every engine."""

    def project(self, inputs):
        return super().project(_twice(inputs))


@planted("derivative", "gradient of initial state.1, along one direction")
class TwiceState(SimpleCell):
    """Only the gradient of a part of the state that no step changes is wrong."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return zeros, zeros + 1

    def step(self, state, projected):
        hidden, context = state
        hidden, output = super().step(hidden * _twice(context), projected)
        return (hidden, context), output


# What is large, and other dtypes.


@planted("large", "of a new cell with inputs of 100")
class NaiveSigmoid(Simple):
    """The gradient of 1 / (1 + exp(-x)) overflows."""

    def spoiled(self, new, state, projected):
        gate = 1 / (1 + jnp.exp(-projected.astype(state.dtype)))
        return gate * state + (1 - gate) * new


class Exponential(NamedTuple):
    """The state of a cell with exponential gates."""

    cell: Any
    normalizer: Any


class Unstable(Cell):
    """Exponential gates, and nothing that keeps their products small."""

    def setup(self):
        self.input = self.dense(3 * self.features)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return Exponential(zeros, zeros)

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        i, f, z = jnp.split(projected.astype(state.cell.dtype), 3, axis=-1)
        i, f = self.gates(i, f)
        cell, normalizer = f * state.cell + i * jnp.tanh(z), f * state.normalizer + i
        return Exponential(cell, normalizer), (cell / normalizer).astype(projected.dtype)

    def gates(self, i, f):
        """Returns the two gates."""
        return jnp.exp(i), jnp.exp(f)


@planted("large", "of a new cell with inputs of 10000")
class WideUnstable(Unstable):
    """Exponential gates that are not large before their inputs are very large."""

    def gates(self, i, f):
        return jnp.exp(0.01 * i), jnp.exp(0.01 * f)


@planted("large", "of a new cell over ")
class LongUnstable(Unstable):
    """Exponential gates of limited size, whose products are not."""

    def gates(self, i, f):
        return jnp.exp(jnp.tanh(i)), jnp.exp(1 + jnp.tanh(f))


@planted("param_dtype", "recurrent_kernel has the dtype float64, expected float32")
class ParameterOfJax(Simple):
    """A parameter is given no dtype."""

    def setup(self):
        self.input = self.dense(self.features)
        shape = (self.features, self.features)
        self.recurrent_kernel = self.param("recurrent_kernel", self.recurrent_init, shape)


@planted("param_dtype", "initial state has the dtype float32, expected float64")
class StateOfOwn(Simple):
    """The state has a dtype of its own."""

    def initial_state(self, input_shape):
        return super().initial_state(input_shape).astype(jnp.float32)


@planted("bfloat16", "expected finite in bfloat16")
class NarrowRoot(Simple):
    """What is almost one is one in bfloat16, and one minus it has no root with a derivative."""

    def project(self, inputs):
        projected = super().project(inputs)
        gate = nn.sigmoid(7 + 0.5 * jnp.tanh(projected))
        return projected + jnp.sqrt(1 - gate)


@planted("bfloat16", "has the dtype bfloat16, expected float32")
class Rounded(Simple):
    """The state is returned in the dtype of the computation."""

    def spoiled(self, new, state, projected):
        return new.astype(projected.dtype)


@planted("bfloat16", "outputs have the dtype float32, expected bfloat16")
class Wide(Simple):
    """The output is not in the dtype of the computation."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output.astype(jnp.promote_types(output.dtype, jnp.float32))


@planted("bfloat16", "as in float32")
class Stalled(Simple):
    """Small steps are added in bfloat16, where they are lost."""

    def initial_state(self, input_shape):
        return 1 + super().initial_state(input_shape)

    def spoiled(self, new, state, projected):
        step = (0.0015 * new).astype(projected.dtype)
        return (state.astype(projected.dtype) + step).astype(state.dtype)


# What is saved.


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Unknown:
    """A state of which JAX knows, and flax.serialization does not."""

    hidden: Any


@planted("save", "cannot be saved")
class Unsaved(SimpleCell):
    """The state is of a class that cannot be saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        return Unknown(super().initial_state(input_shape))

    def step(self, state, projected):
        hidden, output = super().step(state.hidden, projected)
        return Unknown(hidden), output


@struct.dataclass
class Halved:
    """A state that forgets a part when it is saved."""

    hidden: Any
    older: Any


flax.serialization.register_serialization_state(
    Halved,
    lambda state: {"hidden": state.hidden},
    lambda state, saved: state.replace(hidden=saved["hidden"]),
    override=True,
)


@planted("save", "older")
class HalfSaved(SimpleCell):
    """A part of the state is lost when it is saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        hidden = super().initial_state(input_shape)
        return Halved(hidden, hidden)

    def step(self, state, projected):
        hidden, output = super().step(0.5 * (state.hidden + state.older), projected)
        return Halved(hidden, state.hidden), output


@struct.dataclass
class Flat:
    """A state that comes back as one row."""

    hidden: Any


flax.serialization.register_serialization_state(
    Flat,
    lambda state: {"hidden": state.hidden},
    lambda state, saved: state.replace(hidden=saved["hidden"].reshape(-1)),
    override=True,
)


@planted("save", "what is restored")
class FlatSaved(SimpleCell):
    """The shape of the state is lost when it is saved."""

    output_part: ClassVar[str | None] = "hidden"

    def initial_state(self, input_shape):
        return Flat(super().initial_state(input_shape))

    def step(self, state, projected):
        hidden, output = super().step(state.hidden, projected)
        return Flat(hidden), output
