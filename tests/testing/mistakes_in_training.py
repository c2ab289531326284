"""Cells with one mistake in what training needs: gradients, precision, draws, and saving."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
from flax import struct

from rnnjax.cells import SimpleCell

from .mistakes_in_cells import Simple
from .planted import planted

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
        return new, output.astype(jnp.promote_types(output.dtype, jnp.float32))


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
