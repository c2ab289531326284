"""What a recurrent cell is: one step of time, cut into what needs the state and what does not."""

import dataclasses
from collections.abc import Iterator
from numbers import Real
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from rnnjax.cells.attributes import Initializer, require_attributes
from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general, flat_matmul

State = Any
"""The state of a cell: a pytree of arrays [batch, ...], a named tuple where it has several."""

INTERNALS = "internals"
"""The collection of what a recurrent layer shows of its steps, where a call asks for it:
`layer.apply(variables, inputs, mask, mutable="internals")`."""


class AbstractCell(nn.Module):
    """What happens between two neighbouring time steps, as `rnnjax.layers.RNN` calls it.

    Cells derive from `Cell`, which has the attributes that they share; a cell that wraps another
    derives from `rnnjax.cells.wrappers.Wrapper`.

    A cell knows nothing of the mask, which the layer obeys. What it draws at random (dropout, say)
    it draws from the stream 'dropout', and only if it is there (`self.has_rng('dropout')`): a call
    without is an evaluation. In `step` the draw is fresh at every step; in `initial_state` it holds
    for the sequence, because it is part of the state.

    Attributes:
      output_part: where in the state the output stands: the name of a part, '' where the state is a
        single array; None if the output is no part of the state.
      zoned: the parts, by their paths, of which a unit may keep its old value for a step while the
        rest of the state moves on, as `Zoneout` has it; '' is the whole state. Parts that mean
        something only together are left out.
      frozen: names of the parameters that no training changes.
    """

    output_part: ClassVar[str | None] = None
    zoneout_parts: ClassVar[tuple[str, ...]] = ("",)
    frozen: ClassVar[tuple[str, ...]] = ()

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """Returns the state before the first step.

        Args:
          input_shape: of the inputs of one step, `(*batch, *features)`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def project(self, inputs: Float[Array, "*batch inputs"]) -> Any:
        """Returns what the steps need of the inputs, for any number of leading axes at once."""
        return inputs

    def step(self, state: State, projected: Any) -> tuple[State, Float[Array, "*batch features"]]:
        """Returns the next state and the output of one time step."""
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def __call__(
        self, state: State, inputs: Float[Array, "*batch inputs"]
    ) -> tuple[State, Float[Array, "*batch features"]]:
        """Returns the next state and the output for the inputs of one time step (streaming)."""
        return self.step(state, self.project(inputs))

    def gate(self, name: str, values: Float[Array, "*batch features"]) -> jax.Array:
        """Returns the values of a gate, which are shown by that name where a call asks for it.

        Args:
          name: in words, 'forget gate', so that it meets no name of a parameter.
          values: what the step multiplies by, from 0, closed, to 1, open.
        """
        record_internal(self, name, values)
        return values

    @property
    def fusible(self) -> bool:
        """Whether `fused`, if the class gives it, knows the options of this cell."""
        return True

    def fused(
        self,
        state: State,
        projected: Any,
        mask: Bool[Array, "batch time"] | None,
        reverse: bool,
    ) -> tuple[State, Float[Array, "batch time features"]]:
        """Returns the final state and the outputs of whole sequences, under the mask law.

        A cell that has a derivative written by hand gives this; `RNN(engine='fused')` uses it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define fused")


class Cell(AbstractCell):
    """A recurrent cell: what happens between two neighbouring time steps.

    A new cell gives `setup`, which makes its parameters, and `step`. It gives `project` as well
    where part of the work does not depend on the state: that part is then done for all time steps
    at once. `rnnjax.layers.RNN` runs the cell over time and obeys the mask, of which a cell knows
    nothing.

    Attributes:
      features: size of the output and of each part of the state.
      dtype: of the computation; None infers it from the inputs and the parameters.
      param_dtype: of the parameters and of the state, which stays in it whatever `dtype` is.

    Raises:
      InputError: `features` is no positive number.
    """

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self):
        require_attributes(self)
        self.validate()
        super().__post_init__()

    def validate(self) -> None:
        """Raises an InputError if an attribute is out of its range; called when a cell is made.

        Every attribute has a value that fits its annotation by then. A cell with more to check
        calls `super().validate()` first.
        """
        if self.features < 1:
            raise InputError(f"features: given {self.features!r}, expected 1 or more")

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """Returns zeros of one part, `(*batch, features)`, unless a cell says otherwise."""
        return jnp.zeros((*input_shape[:-1], self.features), self.param_dtype)

    def dense(self, units: int, **options: Any) -> nn.Dense:
        """Returns a projection to `units` in the cell's dtypes, for `setup`."""
        return nn.Dense(
            units,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            dot_general=flat_dot_general,
            **options,
        )

    def recurrent_product(
        self, state: Float[Array, "*batch features"], kernel: Float[Array, "features units"]
    ) -> Float[Array, "*batch units"]:
        """Returns `state @ kernel`, computed in `dtype`."""
        state, kernel = promote_dtype(state, kernel, dtype=self.dtype)
        return flat_matmul(state, kernel)


class GatedCell(Cell):
    """A cell whose gates let a new candidate into what it remembers.

    The candidate may be dropped (recurrent dropout without memory loss): a unit of it that is
    dropped adds nothing at this step, and what is remembered stays. A cell passes its candidate
    through `dropped`. In an evaluation, and by default, that is the identity.

    Source: Semeniuta, Severyn, Barth, Recurrent dropout without memory loss, COLING 2016. The paper
    scales at evaluation, this in training.

    Attributes:
      update_dropout: rate of the dropout of the candidate, drawn afresh at each step; 0 is off.

    Raises:
      InputError: the rate is out of [0, 1).
    """

    update_dropout: float = 0.0

    def validate(self):
        """Checks the rate of the dropout."""
        super().validate()
        require_rate("update_dropout", self.update_dropout)

    def dropped(self, candidate: Float[Array, "*batch features"]) -> jax.Array:
        """Returns the candidate, some of it zero and the rest larger where 'dropout' is given."""
        if not (self.update_dropout and self.has_rng("dropout")):
            return candidate
        return drop(candidate, self.update_dropout, self.make_rng("dropout"))


class LinearCell(Cell):
    """A cell whose state follows :math:`s_t = a_t s_{t-1} + b_t`, elementwise.

    a and b come from the inputs alone, so that the whole sequence is one associative scan
    (`RNN(engine='associative')`): logarithmic depth on a parallel machine. Martin, Cundy,
    Parallelizing linear recurrent neural nets over sequence length, ICLR 2018.

    A cell gives `coefficients` and, where the output is not the state, `read`.
    """

    output_part: ClassVar[str | None] = ""

    def coefficients(self, projected: Any) -> tuple[jax.Array, jax.Array]:
        """Returns a and b, for any number of leading axes at once, of the state's dtype."""
        raise NotImplementedError(f"{type(self).__name__} does not define coefficients")

    def read(self, state: jax.Array, projected: Any) -> jax.Array:
        """Returns the output of states, for any number of leading axes at once."""
        return state.astype(projected.dtype)

    def step(self, state, projected):
        """Returns the next state and what is read from it."""
        a, b = self.coefficients(projected)
        new = a * state + b
        return new, self.read(new, projected)


def is_recording(module: nn.Module) -> bool:
    """Returns whether a call asks what happens inside its recurrent layers."""
    # To make parameters is to ask for every collection there is.
    return module.is_mutable_collection(INTERNALS) and not module.is_initializing()


def record_internal(module: nn.Module, name: str, values: Any) -> None:
    """Shows values by a name where a call asks for what happens inside, and costs nothing else."""
    if is_recording(module):
        module.sow(INTERNALS, name, values, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def require_rate(name: str, rate: Any) -> None:
    """Raises an InputError if this is no rate of dropout."""
    if not (isinstance(rate, Real) and 0 <= float(rate) < 1):
        raise InputError(f"{name}: given {rate!r}, expected a number in [0, 1); 0 is off")


def drop(
    values: jax.Array, rate: float, key: jax.Array, shape: tuple[int, ...] | None = None
) -> jax.Array:
    """Returns values, each zero with probability `rate` and 1 / (1 - rate) times itself otherwise.

    Args:
      values: what is dropped.
      rate: in [0, 1).
      key: of the draw.
      shape: of the draw, which broadcasts against the values; None for theirs.
    """
    kept = jax.random.bernoulli(key, 1 - rate, values.shape if shape is None else shape)
    return jnp.where(kept, values / (1 - rate), jnp.zeros_like(values))


def inner_cells(cell: nn.Module) -> Iterator[nn.Module]:
    """Yields a cell and the cells inside it."""
    yield cell
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        for each in value if isinstance(value, tuple | list) else [value]:
            if field.name != "parent" and isinstance(each, AbstractCell | nn.RNNCellBase):
                yield from inner_cells(each)


def frozen_names(cell: nn.Module) -> frozenset[str]:
    """Returns the names of the parameters that no training changes, of cells inside it as well.

    Raises:
      InputError: a cell gives a string in place of a tuple of names.
    """
    names: set[str] = set()
    for each in inner_cells(cell):
        frozen = getattr(each, "frozen", ())
        if isinstance(frozen, str):
            raise InputError(
                f"{type(each).__name__}.frozen: given {frozen!r}, expected a tuple of names: "
                f"({frozen!r},)"
            )
        names.update(frozen)
    return frozenset(names)


def symmetric_uniform(bound: float) -> Initializer:
    """Returns an initializer that draws uniformly between -bound and bound."""

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def state_parts(state: State) -> dict[str, jax.Array]:
    """Returns the arrays of a state by their paths, as `output_part` has them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
