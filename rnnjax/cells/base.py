"""Base classes of recurrent cells: a projection of all inputs, and one step in time."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from rnnjax.cells.attributes import Initializer, require_attributes
from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general, flat_matmul
from rnnjax.kernels.linear_recurrence import Method, linear_recurrence
from rnnjax.kernels.masking import zero_masked

State = Any
"""The state of a cell: a pytree of arrays [batch, ...], a named tuple where it has several."""

INTERNALS = "internals"
"""The collection of gates and states that a recurrent layer records on request:
`layer.apply(variables, inputs, mask, mutable="internals")`."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Broadcast:
    """A part of a projection that is the same for all rows and steps, and has no axis for either.

    `project` computes it once a call of the layer, or once a segment where the layer works in
    segments (`remat`), and every `step` reads it: a normalised or masked kernel, or a parameter
    that is made in `project`.

    Attributes:
      value: a pytree of arrays, which may depend on parameters but not on the inputs.
    """

    value: Any


class AbstractCell(nn.Module):
    """The interface of a recurrent cell, as `rnnjax.layers.RNN` calls it.

    Cells derive from `Cell`, which has the attributes that they share; a cell that wraps another
    derives from `rnnjax.cells.wrappers.Wrapper`.

    The mask is the layer's concern, not the cell's. Dropout draws from the rng stream 'dropout', if
    there is one (`self.has_rng('dropout')`): a call without it is an evaluation. In `step` the draw
    is new at every step; in `initial_state` it is part of the state, and so the same for all steps.

    Attributes:
      output_part: path of the part of the state that is the output, '' where the state is a single
        array; None if the output is no part of the state.
      zoneout_parts: paths of the parts to which `Zoneout` applies; '' is a state of a single array.
        Parts that must change together are left out.
      frozen: names of the parameters that training leaves unchanged.
      jacobian: structure of a step's derivative by the state, for `RNN(engine='newton')`: 'blocks'
        where the next values of a unit depend on the unit's own values alone, one in each part of
        the state, whose parts then have the same size; a diagonal where there is one part.
      conformance_skips: reasons by the names of checks of the conformance kit that cannot hold for
        the cell: {"finite_differences": "surrogate gradient"}.
    """

    output_part: ClassVar[str | None] = None
    zoneout_parts: ClassVar[tuple[str, ...]] = ("",)
    frozen: ClassVar[tuple[str, ...]] = ()
    conformance_skips: ClassVar[Mapping[str, str]] = {}
    jacobian: ClassVar[Literal["dense", "blocks"]] = "dense"

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """Returns the state before the first step.

        Args:
          input_shape: of the inputs of one step, `(*batch, *features)`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def project(self, inputs: Float[Array, "*batch inputs"]) -> Any:
        """Projects the inputs, for any number of leading axes: the part of a step without the
        state.

        Returns:
          A pytree, of which `step` gets the time step; parts that are a `Broadcast` it gets whole.
        """
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
        """Records the values of a gate under a name if a call requests internals; returns them.

        Args:
          name: with a space, as 'forget gate', so that it equals no parameter's name.
          values: factors from 0, closed, to 1, open.
        """
        record_internal(self, name, values)
        return values

    @property
    def fusible(self) -> bool:
        """Whether `fused`, if the class has it, supports the options of this cell."""
        return True

    def fused(
        self,
        state: State,
        projected: Any,
        mask: Bool[Array, "batch time"] | None,
        reverse: bool,
    ) -> tuple[State, Float[Array, "batch time features"]]:
        """Returns the final state and the outputs of whole sequences, under the mask rule.

        Implemented by cells that compute a whole sequence in another way than step by step, with a
        hand-written derivative for instance; `RNN(engine='fused')` calls it. A method that takes
        resets has the arguments `resets=None, reset_state=None` besides, as that of `LinearCell`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define fused")


class Cell(AbstractCell):
    """Base class of recurrent cells.

    A new cell implements `setup`, which creates its parameters, and `step`. It implements `project`
    as well where part of the work does not depend on the state: that part is then done for all time
    steps at once. Parameters whose shape depends on the size of the inputs are made in `project`
    under `@nn.compact`; where `step` reads them, `project` passes them on as a `Broadcast`.
    `rnnjax.layers.RNN` runs the cell over time and applies the mask.

    Attributes:
      features: size of the output and of each part of the state.
      dtype: of the computation; None infers it from inputs and parameters.
      param_dtype: of the parameters and of the state, whatever `dtype` is.

    Raises:
      InputError: `features` is not positive.
    """

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self):
        require_attributes(self)
        self.validate()
        super().__post_init__()

    def validate(self) -> None:
        """Checks the ranges of the attributes, whose types fit their annotations already.

        Called when a cell is constructed. A cell with more to check calls `super().validate()`
        first.

        Raises:
          InputError: an attribute is out of its range.
        """
        if self.features < 1:
            raise InputError(f"features: given {self.features!r}, expected 1 or more")

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """Returns zeros `(*batch, features)`; a cell with another state overrides it."""
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
    """A cell whose gates add a new candidate to its memory.

    The candidate may be dropped (recurrent dropout without memory loss): a dropped unit adds
    nothing at this step, and the memory stays. A cell passes its candidate through `dropped`, which
    is the identity in an evaluation and by default.

    Source: Semeniuta, Severyn, Barth, Recurrent dropout without memory loss, COLING 2016. The paper
    scales at evaluation, this in training.

    Attributes:
      update_dropout: dropout rate of the candidate, drawn anew at each step; 0 is off.

    Raises:
      InputError: the rate is out of [0, 1).
    """

    update_dropout: float = 0.0

    def validate(self):
        """Checks the rate of the dropout."""
        super().validate()
        require_rate("update_dropout", self.update_dropout)

    def dropped(self, candidate: Float[Array, "*batch features"]) -> jax.Array:
        """Applies dropout to the candidate if there is an rng stream 'dropout'."""
        if not (self.update_dropout and self.has_rng("dropout")):
            return candidate
        return drop(candidate, self.update_dropout, self.make_rng("dropout"))


class LinearCell(Cell):
    """A cell whose state follows :math:`s_t = a_t s_{t-1} + b_t`, elementwise.

    a and b come from the inputs alone, so that a whole sequence, its masks and its resets are one
    recurrence with a derivative written once (`rnnjax.kernels.linear_recurrence`): step by step
    (`RNN(engine='fused')`), or as an associative scan (`'associative'`), of logarithmic depth on a
    parallel machine. Martin, Cundy, Parallelizing linear recurrent neural nets over sequence
    length, ICLR 2018.

    A cell implements `coefficients` and, where the output is not the state, `read`.
    """

    output_part: ClassVar[str | None] = ""
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    def coefficients(self, projected: Any) -> tuple[jax.Array, jax.Array]:
        """Returns a and b in the state's dtype, for any number of leading axes.

        Those of a that is the same at every step may have size one.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define coefficients")

    def read(self, state: jax.Array, projected: Any) -> jax.Array:
        """Returns the outputs of states, for any number of leading axes."""
        return state.astype(projected.dtype)

    def step(self, state, projected):
        """Returns the next state and its output."""
        a, b = self.coefficients(projected)
        new = a * state + b
        return new, self.read(new, projected)

    def fused(self, state, projected, mask, reverse, resets=None, reset_state=None):
        """Returns the final state and the outputs of whole sequences, computed step by step.

        Args:
          state: before the first step.
          projected: of all steps.
          mask: `[batch, time]`, True where a step is real; None if all are.
          reverse: from the last step to the first.
          resets: `[batch, time]`, True where a step begins from `reset_state`; None for nowhere.
          reset_state: as `initial_state` returns it.
        """
        return self._solve("loop", state, projected, mask, reverse, resets, reset_state)

    def associative(self, state, projected, mask, reverse, resets=None, reset_state=None):
        """Returns the final state and the outputs by a parallel scan; arguments as of `fused`."""
        return self._solve("associative", state, projected, mask, reverse, resets, reset_state)

    def _solve(self, method: Method, state, projected, mask, reverse, resets, reset_state):
        projected = mask_projection(projected, mask)
        a, b = self.coefficients(projected)
        states = linear_recurrence(a, b, state, mask, reverse, resets, reset_state, method)
        outputs = zero_masked(self.read(states, projected), mask)
        return states[:, 0 if reverse else -1], outputs


def is_broadcast(value: Any) -> bool:
    """Returns whether a value is a `Broadcast`, as an `is_leaf` of `jax.tree.map`."""
    return isinstance(value, Broadcast)


def mask_projection(projected: Any, mask: Bool[Array, "batch time"] | None) -> Any:
    """Zeroes the masked steps of a projection; its parts that are a `Broadcast` have none."""
    return jax.tree.map(
        lambda leaf: leaf if is_broadcast(leaf) else zero_masked(leaf, mask),
        projected,
        is_leaf=is_broadcast,
    )


def is_recording(module: nn.Module) -> bool:
    """Returns whether the call requests the collection of internals."""
    # Initialization makes every collection mutable.
    return module.is_mutable_collection(INTERNALS) and not module.is_initializing()


def record_internal(module: nn.Module, name: str, values: Any) -> None:
    """Records values under a name if the call requests internals; otherwise does nothing."""
    if is_recording(module):
        module.sow(INTERNALS, name, values, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def require_rate(name: str, rate: Any) -> None:
    """Checks a dropout rate.

    Raises:
      InputError: it is no number in [0, 1).
    """
    if not (isinstance(rate, Real) and 0 <= float(rate) < 1):
        raise InputError(f"{name}: given {rate!r}, expected a number in [0, 1); 0 is off")


def drop(
    values: jax.Array, rate: float, key: jax.Array, shape: tuple[int, ...] | None = None
) -> jax.Array:
    """Zeroes values with probability `rate`, and scales the others by 1 / (1 - rate).

    Args:
      values: of any shape.
      rate: in [0, 1).
      key: of the draw.
      shape: of the draw, which broadcasts against the values; None for the same shape.
    """
    keep = jax.random.bernoulli(key, 1 - rate, values.shape if shape is None else shape)
    return jnp.where(keep, values / (1 - rate), jnp.zeros_like(values))


def inner_cells(cell: nn.Module) -> Iterator[nn.Module]:
    """Yields a cell and the cells nested in it."""
    yield cell
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        for child in value if isinstance(value, tuple | list) else [value]:
            if field.name != "parent" and isinstance(child, AbstractCell | nn.RNNCellBase):
                yield from inner_cells(child)


def frozen_names(cell: nn.Module) -> frozenset[str]:
    """Returns the names of the frozen parameters of a cell and of those nested in it.

    Raises:
      InputError: `frozen` of a cell is a string instead of a tuple of names.
    """
    names: set[str] = set()
    for inner in inner_cells(cell):
        frozen = getattr(inner, "frozen", ())
        if isinstance(frozen, str):
            raise InputError(
                f"{type(inner).__name__}.frozen: given {frozen!r}, expected a tuple of names: "
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


def jacobian_structure(cell: nn.Module) -> Literal["dense", "blocks"]:
    """Returns the structure of a step's derivative, which a class inherits only with the step."""
    cell_class = type(cell)
    owner = next((base for base in cell_class.__mro__ if "jacobian" in vars(base)), None)
    if owner is None or getattr(cell_class, "step", None) is not getattr(owner, "step", None):
        return "dense"
    return cell.jacobian  # pyright: ignore[reportAttributeAccessIssue]


def state_parts(state: State) -> dict[str, jax.Array]:
    """Returns the arrays of a state by their paths, in the form of `output_part`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
