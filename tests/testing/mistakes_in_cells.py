"""Cells with one mistake in what they are by themselves: state, parameters, precision, draws."""

import collections
import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from rnnjax.cells import LSTMCell, SimpleCell

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


@planted("contract", "in the collection 'memory'")
class Variable(Simple):
    """Something that lasts is kept in a variable of flax, beside the state."""

    def setup(self):
        super().setup()
        self.scale = self.variable("memory", "scale", jnp.ones, ())

    def spoiled(self, new, state, projected):
        return self.scale.value * new


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


@planted("parameters", "32 parameters, and by the docstring features * (inputs + features) = 28")
class Miscounted(Simple):
    """Bias forgotten. Parameters: features * (inputs + features)."""


@planted("parameters", "no Python expression")
class Unreadable(Simple):
    """An equation for people. Parameters: n(n + m + 1) for n = features, m = inputs."""


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


@planted("vmap", "without a batch axis")
class AllAxesButOne(Simple):
    """Features are taken to be all axes but the first, rows or none."""

    def spoiled(self, new, state, projected):
        return new - new.mean(axis=tuple(range(1, new.ndim)), keepdims=True)


# What a step is.


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


@planted("empty_rows", "nan")
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


# What training needs.


@planted("learning", "gradient of parameters.spare is zero")
class Spare(Simple):
    """A parameter is made and not used."""

    def setup(self):
        super().setup()
        self.spare = self.param("spare", nn.initializers.ones, (3,))


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
        return new, output.astype(jnp.float32)


@planted("bfloat16", "as in float32")
class Stalled(Simple):
    """Small steps are added in bfloat16, where they are lost."""

    def initial_state(self, input_shape):
        return 1 + super().initial_state(input_shape)

    def spoiled(self, new, state, projected):
        step = (0.0015 * new).astype(projected.dtype)
        return (state.astype(projected.dtype) + step).astype(state.dtype)


# What is drawn.


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
