"""Cells that wrap another cell: regularisers of the state, and an initial state that is learned.

A part of a state is named by its path, names joined by points: 'hidden' of an LSTM, '1' of a plain
tuple, 'state.hidden' of an LSTM under `RecurrentDropout`. A path covers everything below it; '' is
the whole state, or the state itself where it is a single array.

The other regularisers of recurrent networks are in `rnnjax.layers.regularizers`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from rnnjax.cells.base import (
    AbstractCell,
    Initializer,
    State,
    jacobian_structure,
    require_rate,
    state_parts,
)
from rnnjax.errors import InputError


class FlaxCell(AbstractCell):
    """A cell written for flax as an `AbstractCell`, so that it can be wrapped.

    `RNN` takes flax's cells as they are: only a wrapper needs this.

    Parameters and shapes are those of the cell. The state is its carry, from a fixed key because an
    initial state is no parameter. flax does not say which part of the carry the output is; for its
    own recurrent cells it is known here, for any other class it counts as no part.

    Attributes:
      cell: a cell of flax, `nn.LSTMCell(64)` say.
    """

    cell: nn.RNNCellBase

    def __post_init__(self):
        _require(self.cell, nn.RNNCellBase, "a cell of flax, as an instance: nn.LSTMCell(64)")
        super().__post_init__()

    @property
    def output_part(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where in the carry the output stands, by the very class of the cell."""
        if type(self.cell) in (nn.SimpleCell, nn.GRUCell, nn.MGUCell):
            return ""
        if type(self.cell) in (nn.LSTMCell, nn.OptimizedLSTMCell, nn.ConvLSTMCell):
            return "1"
        return None

    def initial_state(self, input_shape):
        """Returns the carry with which the cell begins."""
        return self.cell.initialize_carry(jax.random.key(0), input_shape)

    def step(self, state, projected):
        """Returns the next carry and the output."""
        return self.cell(state, projected)


class Wrapper(AbstractCell):
    """A cell that is another cell but for the methods that a subclass gives.

    Its only engine is 'scan': another one of the cell's would not know of the wrapper. A second
    wrapper with parameters of its own is a `copy`; a `clone` shares the cell.

    Attributes:
      cell: any `AbstractCell`, another wrapper too; a cell of flax as `FlaxCell(nn.LSTMCell(64))`.
    """

    cell: AbstractCell

    def __post_init__(self):
        _require(
            self.cell,
            AbstractCell,
            "a rnnjax.cells.Cell, as an instance: LSTMCell(64); one of flax goes into FlaxCell(..)",
        )
        super().__post_init__()

    @property
    def output_part(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where in the state the output stands, as the cell says."""
        return self.cell.output_part

    @property
    def zoneout_parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parts of which a unit may keep its old value, as the cell says."""
        return self.cell.zoneout_parts

    @property
    def jacobian(self) -> Literal["dense", "blocks"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The structure of a step's derivative, that of the cell where the step is."""
        return jacobian_structure(self.cell)

    @property
    def frozen(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the cell's parameters that no training changes."""
        return self.cell.frozen

    def initial_state(self, input_shape):
        """Returns that of the cell."""
        return self.cell.initial_state(input_shape)

    def project(self, inputs):
        """Returns the projection of the cell."""
        return self.cell.project(inputs)

    def step(self, state, projected):
        """Returns the next state and the output of the cell."""
        return self.cell.step(state, projected)


class Zoneout(Wrapper):
    r"""At each step, some units of the state keep their old value.

    .. math::
        s_t = d_t s_{t-1} + (1 - d_t) \tilde s_t

    where :math:`\tilde s_t` is the cell's next state and each :math:`d_t` is 1 with probability
    `rate`, drawn anew for every row, unit and step. In an evaluation :math:`d_t` is `rate`, its
    expectation. Parts that are not floating numbers (a count of steps) are left alone.

    The output is the part of s that the cell's `output_part` names, in the dtype of the cell's
    output; it is the cell's own output if that is no part of the state.

    Parameters, state and shapes are those of the cell.

    Source: Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden activations,
    ICLR 2017. Its LSTM has a rate for the hidden part and another for the cell.

    Attributes:
      rate: probability to keep the old value, in [0, 1), of the parts that the cell's
        `zoneout_parts` names: all but those that mean something only together, as the cell, the
        normalizer and the stabilizer of an sLSTM do. Or a mapping, or pairs, from a part's path
        to its rate. Parts that no path covers are left alone; where several cover
        one, the longest counts.

    Raises:
      InputError: a rate is out of [0, 1), the rates are no pairs, or the state has no part of that
        name.
    """

    rate: float | Mapping[str, float] | Sequence[tuple[str, float]]

    def __post_init__(self):
        if isinstance(self.rate, Mapping | tuple | list):
            try:
                # flax freezes a dict only when it binds the module; until then it has no hash.
                object.__setattr__(self, "rate", FrozenDict(self.rate))
            except (TypeError, ValueError):
                raise InputError(
                    f"rate: given {self.rate!r}, expected one number, or a mapping from parts of "
                    "the state to numbers: {'hidden': 0.1, 'cell': 0.05} for an LSTM"
                ) from None
        rates = self.rate if isinstance(self.rate, Mapping) else {"": self.rate}
        for part, rate in rates.items():
            require_rate(f"rate of {part!r}" if part else "rate", rate)
        super().__post_init__()

    def step(self, state, projected):
        """Returns the next state, some units of it as before the step, and the output."""
        new, output = self.cell.step(state, projected)
        parts = state_parts(state)
        rates = dict.fromkeys(parts, 0.0)
        by_path: Any = self.rate
        if not isinstance(by_path, Mapping):
            by_path = dict.fromkeys(self.cell.zoneout_parts, by_path)
        for path, rate in sorted(by_path.items(), key=lambda item: len(item[0])):
            for name in _covered(parts, path, "Zoneout.rate"):
                rates[name] = rate
        leaves = map(self._zoneout, rates.values(), parts.values(), jax.tree.leaves(new))
        new = jax.tree.unflatten(jax.tree.structure(new), leaves)
        if self.output_part is not None:
            output = state_parts(new)[self.output_part].astype(output.dtype)
        return new, output

    def _zoneout(self, rate: float, old: jax.Array, new: jax.Array) -> jax.Array:
        if rate == 0 or not jnp.issubdtype(new.dtype, jnp.inexact):
            return new
        if not _training(self):
            return new + rate * (old - new)  # in this form a part that has not changed stays exact
        return jnp.where(jax.random.bernoulli(self.make_rng("dropout"), rate, new.shape), old, new)


class Dropped(NamedTuple):
    """The state of a cell under `RecurrentDropout`, and the dropout mask of its reads.

    `keep` has the shape and the dtype of the part that is dropped (it is a tuple where that has
    several arrays): 0 or 1 / (1 - rate), and 1 throughout in an evaluation.
    """

    state: State
    keep: Any


class RecurrentDropout(Wrapper):
    r"""The steps read a part of the state through one mask, which holds for the sequence.

    .. math::
        (s_t, y_t) = \mathrm{step}(m s_{t-1}, x_t)

    where m is 0 with probability `rate` and 1 / (1 - rate) otherwise, drawn for every row and unit
    of the part. It is drawn in `initial_state` and travels with the state: a sequence that is read
    in several calls keeps its mask, and it is the first call that decides between training and
    evaluation. Whoever carries states on from batch to batch replaces `keep` for a new mask. The
    documents of a row that begin with a reset share one. No gradient flows to the mask.

    Parameters and outputs are those of the cell.

    State: `Dropped(state, keep)`. A state from elsewhere becomes one by
    `initial_state(input_shape)._replace(state=...)`.

    Source: Gal, Ghahramani, A theoretically grounded application of dropout in recurrent neural
    networks, NeurIPS 2016, with one mask for all gates. There the mask stands only inside the
    products with the recurrent kernels, here wherever the step reads the part. That is the same for
    a simple cell and for an LSTM, whose hidden part only the products read. It is not the same
    where the step also carries the part on, as a GRU does by its update gate: a dropped unit then
    forgets, and the others are carried on 1 / (1 - rate) times as large at each step. `Zoneout` and
    `rnnjax.layers.WeightDrop` leave the carried state unscaled.

    Attributes:
      rate: probability to drop, in [0, 1).
      part: path of the part that is dropped, '' for the whole state; None for that in which the
        output stands.

    Raises:
      InputError: the rate is out of [0, 1), the state has no such part, or `part` is not given and
        the output is no part of the state.
    """

    rate: float
    part: str | None = None

    def __post_init__(self):
        require_rate("rate", self.rate)
        super().__post_init__()

    @property
    def output_part(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where in the state the output stands: below `Dropped.state`."""
        part = self.cell.output_part
        return part if part is None else f"state.{part}" if part else "state"

    @property
    def zoneout_parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parts of which a unit may keep its old value: below `Dropped.state`."""
        return tuple(f"state.{part}" if part else "state" for part in self.cell.zoneout_parts)

    def initial_state(self, input_shape):
        """Returns the cell's state and its mask, ones in an evaluation."""
        state = self.cell.initial_state(input_shape)
        parts = state_parts(state)
        keep = [self._keep(parts[name]) for name in self._dropped(parts)]
        return Dropped(state, keep[0] if len(keep) == 1 else tuple(keep))

    def step(self, state, projected):
        """Returns the next state beside the same mask, and the output."""
        state, keep = state
        parts = state_parts(state)
        for name, factor in zip(self._dropped(parts), jax.tree.leaves(keep), strict=True):
            parts[name] = parts[name] * jax.lax.stop_gradient(factor)
        read = jax.tree.unflatten(jax.tree.structure(state), parts.values())
        new, output = self.cell.step(read, projected)
        return Dropped(new, keep), output

    def _dropped(self, parts: Iterable[str]) -> list[str]:
        """Returns the names of the arrays that are dropped."""
        part = self.cell.output_part if self.part is None else self.part
        if part is None:
            raise InputError(
                f"RecurrentDropout.part: given none, and the output of {type(self.cell).__name__} "
                f"is no part of its state; expected the part to drop: {_listed(parts)}"
            )
        return _covered(parts, part, "RecurrentDropout.part")

    def _keep(self, part: jax.Array) -> jax.Array:
        if not (_training(self) and jnp.issubdtype(part.dtype, jnp.inexact)):
            return jnp.ones_like(part)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, part.shape)
        return keep.astype(part.dtype) / (1 - self.rate)


class LearnedInitialState(Wrapper):
    """The state before the first step is a parameter: one value for each unit of each part.

    All rows begin with the same values. By inputs of several axes of features (images) the values
    are shared by all of these but the last. Parts that are not floating numbers are the cell's own.

    Parameters: those of the cell, and `initial_state`, or `initial_hidden` and so on for each of
    several parts. They are made where a layer asks for the state, so that a layer is initialised
    without a state of its caller's.

    State and outputs are those of the cell. `RecurrentDropout` goes around this, not inside it.

    Attributes:
      state_init: of these parameters, called once for each part with the shape of one row's; None
        for the values of the cell's own initial state.

    Raises:
      InputError: the state holds a mask of dropout, or a part that does not begin with the axes
        that the rows have.
    """

    state_init: Initializer | None = None

    @nn.compact
    def initial_state(self, input_shape):
        """Returns the parameters, once for each row."""
        rows = input_shape[:-1]
        default = self.cell.initial_state((*(1 for _ in rows), input_shape[-1]))
        if any(isinstance(leaf, Dropped) for leaf in jax.tree.leaves(default, is_leaf=_is_dropped)):
            raise InputError(
                "LearnedInitialState: the cell's state holds a mask of dropout, which cannot be "
                "learned; expected RecurrentDropout(LearnedInitialState(cell), rate)"
            )
        parts = {
            name: self._learned(name, part, rows) for name, part in state_parts(default).items()
        }
        return jax.tree.unflatten(jax.tree.structure(default), parts.values())

    def _learned(self, name: str, default: jax.Array, rows: tuple[int, ...]) -> jax.Array:
        if default.shape[: len(rows)] != (1,) * len(rows):
            raise InputError(
                f"LearnedInitialState: by one row the part {name!r} of the state of "
                f"{type(self.cell).__name__} has the shape {default.shape}; expected it to begin "
                f"with {(1,) * len(rows)}, as the inputs do"
            )
        shape = default.shape[len(rows) :]
        value = default.reshape(shape)
        if jnp.issubdtype(default.dtype, jnp.inexact):
            init = self.state_init or (lambda key, shape, dtype: value)
            name = "initial_" + (name.replace(".", "_") or "state")
            value = self.param(name, init, shape, default.dtype)
        return jnp.broadcast_to(value, (*rows, *shape))


def _is_dropped(state: State) -> bool:
    return isinstance(state, Dropped)


def _training(cell: AbstractCell) -> bool:
    """Returns whether the cell has something to draw from; outside of `apply` it has not."""
    return cell.scope is not None and cell.has_rng("dropout")


def _covered(parts: Iterable[str], part: str, where: str) -> list[str]:
    """Returns those of the paths that a path covers."""
    covered = [name for name in parts if not part or name == part or name.startswith(f"{part}.")]
    if not covered:
        raise InputError(
            f"{where}: given the part {part!r}, and the state has {_listed(parts)}; expected one "
            "of these, or '' for the whole state"
        )
    return covered


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(map(repr, parts))


def _require(cell: Any, kind: type, expected: str) -> None:
    # Not `not isinstance(cell, kind)`: flax puts placeholders here while it lifts a module.
    if isinstance(cell, type) or (isinstance(cell, nn.Module) and not isinstance(cell, kind)):
        description = (
            f"the class {cell.__name__}" if isinstance(cell, type) else type(cell).__name__
        )
        raise InputError(f"cell: given {description}; expected {expected}")
