"""Mutants of a cell's state, rows and steps."""

import collections
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.cells import Cell, LSTMCell, SimpleCell

from .mutants import mutant


class CorrectCell(SimpleCell):
    """A correct cell whose subclasses modify the next state."""

    def step(self, state, projected):
        """Returns the next state as state and as output."""
        new, _ = super().step(state, projected)
        new = self.modify(new, state, projected)
        return new, new.astype(projected.dtype)

    def modify(self, new, state, projected):
        """Returns the next state; a subclass modifies it."""
        return new


# State and output.


@mutant("state_structure", "a tuple of 2, expected LSTMState(hidden, cell)")
class PlainTuple(LSTMCell):
    """The state becomes a plain tuple."""

    def step(self, state, projected):
        state, output = super().step(state, projected)
        return tuple(state), output


@mutant("state_structure", "has the shape (1, 4, 1), expected (1, 4)")
class ExtraAxis(CorrectCell):
    """The state gains an axis."""

    def modify(self, new, state, projected):
        return new[..., None]


@mutant("state_structure", "has the dtype bfloat16, expected float32")
class NarrowState(CorrectCell):
    """The dtype of the state changes."""

    def modify(self, new, state, projected):
        return new.astype(jnp.bfloat16)


@mutant("state_structure", "for a batch of shape (2, 1) has the shape (2, 4)")
class OneBatchAxis(CorrectCell):
    """The initial state supports one batch axis only."""

    def initial_state(self, input_shape):
        return (
            jnp.zeros((*input_shape[:1], self.features)) if len(input_shape) > 1 else jnp.zeros(4)
        )


@mutant("state_structure", "the state after a step, batch (2, 1) has the shape (2, 1, 4, 1)")
class ExtraAxisInBatch(CorrectCell):
    """With two batch axes the state gains an axis."""

    def modify(self, new, state, projected):
        return new if new.ndim < 3 else new[..., None]


@mutant("state_structure", "the output for a batch of shape (2, 1) has the shape (1, 4)")
class OneBatchOutput(CorrectCell):
    """With two batch axes a part of the output is lost."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output if output.ndim < 3 else output[0]


@mutant("state_structure", "expected an array of floats")
class IntegerOutput(CorrectCell):
    """The output has an integer dtype."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, jnp.round(output).astype(jnp.int32)


@mutant("state_structure", "the output has the shape (4,), expected it to begin")
class SumOfRows(CorrectCell):
    """The output sums over the rows."""

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, output.sum(axis=0)


@mutant("state_structure", "initial_state.1 is 0.0, expected an array")
class ScalarState(SimpleCell):
    """A part of the state is a Python float."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        return super().initial_state(input_shape), 0.0

    def step(self, state, projected):
        hidden, output = super().step(state[0], projected)
        return (hidden, state[1] + 1), output


@mutant("state_structure", "is a random key")
class KeyState(SimpleCell):
    """The state contains a random key, which cannot be saved."""

    output_part: ClassVar[str | None] = "0"

    def initial_state(self, input_shape):
        keys = jax.random.split(jax.random.key(0), input_shape[:-1])
        return super().initial_state(input_shape), keys

    def step(self, state, projected):
        hidden, output = super().step(state[0], projected)
        return (hidden, state[1]), output


@mutant("state_structure", "in the collection 'memory'")
class FlaxVariable(CorrectCell):
    """A mutable variable of flax persists beside the state."""

    def setup(self):
        super().setup()
        self.scale = self.variable("memory", "scale", jnp.ones, ())

    def modify(self, new, state, projected):
        return self.scale.value * new


@mutant("state_structure", "make them in setup")
class TwoCompact(Cell):
    """Two compact methods create parameters named Dense_0."""

    output_part: ClassVar[str | None] = ""

    @nn.compact
    def project(self, inputs):
        return nn.Dense(self.features)(inputs)

    @nn.compact
    def step(self, state, projected):
        new = jnp.tanh(projected + nn.Dense(self.features)(state))
        return new, new


CALLS: collections.Counter = collections.Counter()


@mutant("purity", "next state")
class CallCounter(CorrectCell):
    """The next state depends on the number of calls."""

    def modify(self, new, state, projected):
        CALLS["CallCounter"] += 1
        return new + 0.1 * CALLS["CallCounter"]


GENERATOR = np.random.default_rng(0)


@mutant("purity", "next state")
class NumpyNoise(CorrectCell):
    """NumPy draws noise once per trace."""

    def modify(self, new, state, projected):
        return new + 0.1 * GENERATOR.standard_normal(new.shape[-1:]).astype(np.float32)


@mutant("jit", "TracerBoolConversionError")
class PythonBranch(CorrectCell):
    """A Python condition on an array fails under jit."""

    def modify(self, new, state, projected):
        return new if new.sum() > 0 else 2 * new


@mutant("jit", "as it is without jit")
class TracerDependence(CorrectCell):
    """The next state depends on whether it is traced."""

    def modify(self, new, state, projected):
        return new if isinstance(new, Tracer) else 2 * new


@mutant("output_part", "as the state's cell")
class WrongOutputPart(LSTMCell):
    """The output is not the part that output_part names."""

    output_part: ClassVar[str | None] = "cell"


@mutant("output_part", "the state's parts are 'hidden', 'cell'")
class MissingOutputPart(LSTMCell):
    """output_part names a missing part of the state."""

    output_part: ClassVar[str | None] = "h"


@mutant("output_part", "declare it in the class: output_part = ''")
class UndeclaredOutput(CorrectCell):
    """The output is the state, and output_part is None."""

    output_part: ClassVar[str | None] = None


@mutant("output_part", "the output is the state's hidden, bit for bit")
class UndeclaredOutputPart(LSTMCell):
    """The output is a part of the state, and output_part is None."""

    output_part: ClassVar[str | None] = None


@mutant(
    "parameter_count", "32 parameters, and by the docstring features * (inputs + features) = 28"
)
class Miscounted(CorrectCell):
    """Bias forgotten. Parameters: features * (inputs + features)."""


@mutant("parameter_count", "no Python expression")
class MathematicalFormula(CorrectCell):
    """A mathematical formula. Parameters: n(n + m + 1) for n = features, m = inputs."""


@mutant("parameter_count", "write the * of every product")
class MissingProductSign(CorrectCell):
    """The product sign is missing. Parameters: features (inputs + features + 1)."""


@mutant("parameter_count", "by the docstring features * (inputs + features) = 28")
class MissingFullStop(CorrectCell):
    """Bias and full stop are missing.

    Parameters: features * (inputs + features)

    State: a single array.
    """


@mutant("parameter_count", "name 'units' is not defined")
class UnknownAttribute(CorrectCell):
    """The cell has no such attribute. Parameters: units * (inputs + units + 1)."""


# Rows.


@mutant("row_independence", "because another row changed")
class BatchNorm(CorrectCell):
    """Statistics are computed across rows."""

    def modify(self, new, state, projected):
        return new - new.mean(axis=0)


@mutant("row_independence", "in another order of the rows")
class RowIndex(CorrectCell):
    """The next state depends on the index of the row."""

    def modify(self, new, state, projected):
        number = 0.1 * jnp.arange(new.shape[0], dtype=new.dtype)
        return new + number.reshape(-1, *[1] * (new.ndim - 1))


@mutant("row_independence", "as in the first row, without an initial state")
class RowInitialState(CorrectCell):
    """The initial state depends on the index of the row."""

    def initial_state(self, input_shape):
        noise = np.random.default_rng(0).standard_normal((*input_shape[:-1], self.features))
        return jnp.asarray(noise, self.param_dtype)


@mutant("batch_shape", "without an initial state")
class BatchSizeInitialState(CorrectCell):
    """The initial state depends on the batch size."""

    def initial_state(self, input_shape):
        return super().initial_state(input_shape) + 1 / math.prod(input_shape[:-1])


@mutant("vmap", "without a batch axis")
class FeatureAxes(CorrectCell):
    """All axes but the first are treated as features, also without a batch axis."""

    def modify(self, new, state, projected):
        return new - new.mean(axis=tuple(range(1, new.ndim)), keepdims=True)


# Steps.


@mutant("finite", "from a random state")
class SquareRoot(CorrectCell):
    """The square root of a negative value is NaN."""

    def modify(self, new, state, projected):
        return jnp.sqrt(new)


@mutant("finite", "gradient of initial state[0, 0] is nan, expected finite from the default")
class NormalizedState(CorrectCell):
    """The state is normalized, which has no derivative at zero."""

    def step(self, state, projected):
        length = jnp.linalg.norm(state, axis=-1, keepdims=True)
        return super().step(state / (length + 1e-6), projected)


@mutant("projection", "of that step's alone")
class NextStep(CorrectCell):
    """The projection of a step reads the next step."""

    def project(self, inputs):
        ahead = jnp.roll(inputs, -1, axis=1) if inputs.ndim == 3 else 0
        return super().project(inputs + ahead)


@mutant("projection")
class FutureCumsum(CorrectCell):
    """The projection of a step reads all later steps."""

    def project(self, inputs):
        return super().project(
            jnp.cumsum(inputs[:, ::-1], axis=1)[:, ::-1] if inputs.ndim == 3 else inputs
        )


@mutant("projection")
class PreviousStep(CorrectCell):
    """The projection of a step reads the previous step, as a convolution would."""

    def project(self, inputs):
        previous = jnp.pad(inputs, ((0, 0), (1, 0), (0, 0)))[:, :-1] if inputs.ndim == 3 else 0
        return super().project(inputs + previous)


@mutant("projection")
class PositionEncoding(CorrectCell):
    """The projection adds positions counted from the start of the array."""

    def project(self, inputs):
        position = jnp.arange(inputs.shape[1])[:, None] if inputs.ndim == 3 else 0
        return super().project(inputs + 0.1 * position)


@mutant("projection")
class PaddedLength(CorrectCell):
    """The projection divides by the number of steps, padding included."""

    def project(self, inputs):
        return super().project(inputs / inputs.shape[1] if inputs.ndim == 3 else inputs)


@mutant("finite", "with inputs of zero")
class NormalizedInputs(CorrectCell):
    """Inputs are normalized, and zeros, as at a masked step, become NaN."""

    def project(self, inputs):
        return super().project(inputs / jnp.linalg.norm(inputs, axis=-1, keepdims=True))


@mutant("streaming", "in calls of cell(state, inputs)")
class DifferentCall(CorrectCell):
    """`__call__` is not a projection and a step."""

    def __call__(self, state, inputs):
        state, output = super().__call__(state, inputs)
        return 0.5 * state, output


@mutant("bidirectional", "in the backward half")
class PathDependence(CorrectCell):
    """The next state depends on the path in the module tree."""

    def modify(self, new, state, projected):
        return 0.5 * new if "backward" in self.path else new
