"""Cells with one mistake in what they are: a state, a row, a step."""

import collections
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.cells import Cell, LSTMCell, SimpleCell

from .planted import planted


class Simple(SimpleCell):
    """A right cell, for mistakes in what a step gives."""

    def step(self, state, projected):
        """Returns the next state twice, as a subclass spoils it."""
        new, _ = super().step(state, projected)
        new = self.spoiled(new, state, projected)
        return new, new.astype(projected.dtype)

    def spoiled(self, new, state, projected):
        """Returns the next state, right here."""
        return new


# What a state is.


@planted("contract", "a tuple of 2, expected LSTMState(hidden, cell)")
class PlainTuple(LSTMCell):
    """The state becomes a plain tuple."""

    def step(self, state, projected):
        state, output = super().step(state, projected)
        return tuple(state), output


@planted("contract", "has the shape (1, 4, 1), expected (1, 4)")
class AnotherAxis(Simple):
    """The state gets an axis."""

    def spoiled(self, new, state, projected):
        return new[..., None]


@planted("contract", "has the dtype bfloat16, expected float32")
class Narrow(Simple):
    """The state gets another dtype."""

    def spoiled(self, new, state, projected):
        return new.astype(jnp.bfloat16)


@planted("contract", "for a batch of shape (2, 1) has the shape (2, 4)")
class OneBatchAxis(Simple):
    """The first state knows of one axis of rows only."""

    def initial_state(self, input_shape):
        return (
            jnp.zeros((*input_shape[:1], self.features)) if len(input_shape) > 1 else jnp.zeros(4)
        )


@planted("contract", "the state after a step, batch (2, 1) has the shape (2, 1, 4, 1)")
class OtherAxis(Simple):
    """With another number of batch axes the state gets an axis."""

    def spoiled(self, new, state, projected):
        return new if new.ndim < 3 else new[..., None]


@planted("contract", "the output for a batch of shape (2, 1) has the shape (1, 4)")
class OneBatchOutput(Simple):
    """With another number of batch axes some of the output is lost."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output if output.ndim < 3 else output[0]


@planted("contract", "expected an array of floats")
class WholeNumbers(Simple):
    """The output is rounded to whole numbers."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, jnp.round(output).astype(jnp.int32)


@planted("contract", "the output has the shape (4,), expected it to begin")
class SumOfRows(Simple):
    """The output is that of all rows together."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output.sum(axis=0)


@planted("contract", "initial_state.1 is 0.0, expected an array")
class PythonNumber(SimpleCell):
    """A part of the state is a number of Python."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        return super().initial_state(input_shape), 0.0

    def step(self, state, projected):
        hidden, output = super().step(state[0], projected)
        return (hidden, state[1] + 1), output


@planted("contract", "is a random key")
class KeyState(SimpleCell):
    """A key is carried in the state, which then cannot be saved."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        keys = jax.random.split(jax.random.key(0), input_shape[:-1])
        return super().initial_state(input_shape), keys

    def step(self, state, projected):
        hidden, output = super().step(state[0], projected)
        return (hidden, state[1]), output


@planted("contract", "in the collection 'memory'")
class Variable(Simple):
    """Something that lasts is kept in a variable of flax, beside the state."""

    def setup(self):
        super().setup()
        self.scale = self.variable("memory", "scale", jnp.ones, ())

    def spoiled(self, new, state, projected):
        return self.scale.value * new


@planted("contract", "make them in setup")
class TwoCompact(Cell):
    """Two methods make parameters, and both call theirs Dense_0."""

    output_part: ClassVar[str | None] = ""

    @nn.compact
    def project(self, inputs):
        return nn.Dense(self.features)(inputs)

    @nn.compact
    def step(self, state, projected):
        new = jnp.tanh(projected + nn.Dense(self.features)(state))
        return new, new


CALLS: collections.Counter = collections.Counter()


@planted("repeatable", "next state")
class Counting(Simple):
    """Calls are counted in Python."""

    def spoiled(self, new, state, projected):
        CALLS["Counting"] += 1
        return new + 0.1 * CALLS["Counting"]


GENERATOR = np.random.default_rng(0)


@planted("repeatable", "next state")
class NumpyNoise(Simple):
    """NumPy draws, once for each time that JAX traces."""

    def spoiled(self, new, state, projected):
        return new + 0.1 * GENERATOR.standard_normal(new.shape[-1:]).astype(np.float32)


@planted("jit", "TracerBoolConversionError")
class Branching(Simple):
    """Python asks for a value, which under jit there is not."""

    def spoiled(self, new, state, projected):
        return new if new.sum() > 0 else 2 * new


@planted("jit", "as it is without jit")
class Tracing(Simple):
    """Under jit it is another cell."""

    def spoiled(self, new, state, projected):
        return new if isinstance(new, Tracer) else 2 * new


@planted("output_part", "as the state's cell")
class OtherPart(LSTMCell):
    """The output is another part than is said."""

    output_part: ClassVar[str | None] = "cell"


@planted("output_part", "the state's parts are 'hidden', 'cell'")
class NoSuchPart(LSTMCell):
    """The output is said to be in a part that the state has not."""

    output_part: ClassVar[str | None] = "h"


@planted("output_part", "say so in the class: output_part = ''")
class Unsaid(Simple):
    """The output is the state, and the class does not say so."""

    output_part: ClassVar[str | None] = None


@planted("output_part", "the output is the state's hidden, bit for bit")
class UnsaidPart(LSTMCell):
    """The output is a part of the state, and the class does not say so."""

    output_part: ClassVar[str | None] = None


@planted("parameters", "32 parameters, and by the docstring features * (inputs + features) = 28")
class Miscounted(Simple):
    """Bias forgotten. Parameters: features * (inputs + features)."""


@planted("parameters", "no Python expression")
class Unreadable(Simple):
    """An equation for people. Parameters: n(n + m + 1) for n = features, m = inputs."""


@planted("parameters", "write the * of every product")
class NoTimes(Simple):
    """A product as on paper. Parameters: features (inputs + features + 1)."""


@planted("parameters", "by the docstring features * (inputs + features) = 28")
class NoFullStop(Simple):
    """Bias forgotten, and the full stop.

    Parameters: features * (inputs + features)

    State: a single array.
    """


@planted("parameters", "name 'units' is not defined")
class UnknownName(Simple):
    """The count has a name that the cell has not. Parameters: units * (inputs + units + 1)."""


# What a row is.


@planted("rows", "because another row changed")
class BatchNorm(Simple):
    """Statistics are taken across the rows."""

    def spoiled(self, new, state, projected):
        return new - new.mean(axis=0)


@planted("rows", "in another order of the rows")
class RowNumber(Simple):
    """The place of a row in the batch counts."""

    def spoiled(self, new, state, projected):
        number = 0.1 * jnp.arange(new.shape[0], dtype=new.dtype)
        return new + number.reshape(-1, *[1] * (new.ndim - 1))


@planted("rows", "as in the first row, without an initial state")
class RowsBegin(Simple):
    """The rows begin differently, by their place."""

    def initial_state(self, input_shape):
        noise = np.random.default_rng(0).standard_normal((*input_shape[:-1], self.features))
        return jnp.asarray(noise, self.param_dtype)


@planted("size", "without an initial state")
class BatchBegins(Simple):
    """The initial state depends on the number of rows."""

    def initial_state(self, input_shape):
        return super().initial_state(input_shape) + 1 / math.prod(input_shape[:-1])


@planted("vmap", "without a batch axis")
class AllAxesButOne(Simple):
    """Features are taken to be all axes but the first, rows or none."""

    def spoiled(self, new, state, projected):
        return new - new.mean(axis=tuple(range(1, new.ndim)), keepdims=True)


# What a step is.


@planted("finite", "from a random state")
class Root(Simple):
    """A root is taken of what may be negative."""

    def spoiled(self, new, state, projected):
        return jnp.sqrt(new)


@planted("finite", "gradient of initial state[0, 0] is nan, expected finite from the cell's own")
class UnitState(Simple):
    """The state is scaled to length one, at zero without a derivative."""

    def step(self, state, projected):
        length = jnp.linalg.norm(state, axis=-1, keepdims=True)
        return super().step(state / (length + 1e-6), projected)


@planted("project", "of that step's alone")
class LookAhead(Simple):
    """The projection of a step takes in the next."""

    def project(self, inputs):
        ahead = jnp.roll(inputs, -1, axis=1) if inputs.ndim == 3 else 0
        return super().project(inputs + ahead)


@planted("project")
class Cumulative(Simple):
    """The projection takes in all the steps after."""

    def project(self, inputs):
        return super().project(
            jnp.cumsum(inputs[:, ::-1], axis=1)[:, ::-1] if inputs.ndim == 3 else inputs
        )


@planted("project")
class LookBack(Simple):
    """The projection takes in the step before, as a convolution would."""

    def project(self, inputs):
        before = jnp.pad(inputs, ((0, 0), (1, 0), (0, 0)))[:, :-1] if inputs.ndim == 3 else 0
        return super().project(inputs + before)


@planted("project")
class Positions(Simple):
    """The projection adds a position, counted from the start of the array."""

    def project(self, inputs):
        position = jnp.arange(inputs.shape[1])[:, None] if inputs.ndim == 3 else 0
        return super().project(inputs + 0.1 * position)


@planted("project")
class PadLength(Simple):
    """The projection divides by the number of steps, padding included."""

    def project(self, inputs):
        return super().project(inputs / inputs.shape[1] if inputs.ndim == 3 else inputs)


@planted("finite", "with inputs of zero")
class UnitInputs(Simple):
    """Inputs are scaled to length one, and zeros, as at a masked step, to NaN."""

    def project(self, inputs):
        return super().project(inputs / jnp.linalg.norm(inputs, axis=-1, keepdims=True))


@planted("streaming", "in calls of cell(state, inputs)")
class OtherCall(Simple):
    """A call is not a projection and a step."""

    def __call__(self, state, inputs):
        state, output = super().__call__(state, inputs)
        return 0.5 * state, output


@planted("bidirectional", "in the backward half")
class ByName(Simple):
    """What it computes depends on where in the module tree it stands."""

    def spoiled(self, new, state, projected):
        return 0.5 * new if "backward" in self.path else new
