"""Random draws of wrapped cells, state parts, class attributes and invalid arguments."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Cell, GRUCell, LSTMCell, LSTMState, QRNNCell, SimpleCell, SLSTMCell
from rnnjax.cells.wrappers import (
    Dropped,
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    Wrapper,
    Zoneout,
)
from rnnjax.errors import InputError
from rnnjax.layers import RNN, available_engines

ROWS, TIME, INPUTS, FEATURES, RATE = 5, 7, 3, 4, 0.4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
DROPOUT = {"dropout": jax.random.key(1)}


class PreviousInput(Cell):
    """The state becomes the input; the output is the state that was read."""

    def step(self, state, projected):
        """Returns the input and the state."""
        return projected, state


class StepCounter(Cell):
    """The state grows by one at each step, and is the output."""

    output_part: ClassVar[str | None] = ""

    def step(self, state, projected):
        """Returns the state plus one, twice."""
        return state + 1, state + 1


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_and_independence_of_draws(rate):
    rows, time, features = 40, 25, 40
    ones = np.ones((rows, time, features), np.float32)
    deviation = np.sqrt(rate * (1 - rate))
    counts = jax.jit(
        lambda: RNN(Zoneout(StepCounter(features), rate)).apply({}, ones, rngs=DROPOUT)
    )()
    is_retained = np.diff(np.asarray(counts[1]), axis=1, prepend=0) == 0
    assert abs(is_retained.mean() - rate) < 4 * deviation / np.sqrt(is_retained.size)
    for axis in range(3):
        overlap = is_retained.take(range(24), axis) & is_retained.take(range(1, 25), axis)
        assert abs(overlap.mean() - rate**2) < 4 * rate / np.sqrt(overlap.size)
    cell = RecurrentDropout(PreviousInput(features), rate, part="")

    def initial_state(key) -> Any:
        return cell.apply({}, (rows, features), rngs={"dropout": key}, method="initial_state")

    state, second = map(initial_state, jax.random.split(jax.random.key(2)))
    state = state._replace(state=ones[:, 0])
    read = np.asarray(jax.jit(lambda: RNN(cell).apply({}, ones, None, state))()[1])
    np.testing.assert_array_equal(read, np.broadcast_to(read[:, :1], read.shape))
    is_dropped = read[:, 0] == 0
    assert abs(is_dropped.mean() - rate) < 4 * deviation / np.sqrt(is_dropped.size)
    assert abs((is_dropped[1:] & is_dropped[:-1]).mean() - rate**2) < 4 * rate / np.sqrt(
        is_dropped.size
    )
    np.testing.assert_allclose(read[:, 0][~is_dropped], 1 / (1 - rate), rtol=1e-6)
    assert not np.array_equal(second.keep == 0, is_dropped)


@pytest.mark.parametrize("rate", [{"cell": RATE}, (("", RATE), ("hidden", 0.0))])
def test_zoneout_rate_of_each_state_part(rate):
    cell, wrapped = LSTMCell(FEATURES), Zoneout(LSTMCell(FEATURES), rate)
    assert hash(wrapped) == hash(wrapped.clone())
    state = LSTMState(*np.random.default_rng(3).standard_normal((2, ROWS, FEATURES), np.float32))

    @jax.jit
    def run():
        variables = cell.init(jax.random.key(0), state, INPUT[:, 0])
        inner_variables = {"params": {"cell": variables["params"]}}
        return (
            cell.apply(variables, state, INPUT[:, 0])[0],
            wrapped.apply(inner_variables, state, INPUT[:, 0]),
            wrapped.apply(inner_variables, state, INPUT[:, 0], rngs=DROPOUT)[0],
        )

    new, (in_evaluation, output), in_training = jax.tree.map(np.asarray, run())
    np.testing.assert_array_equal(output, in_evaluation.hidden)
    np.testing.assert_allclose(in_evaluation.hidden, new.hidden, atol=1e-6)
    expected = RATE * state.cell + (1 - RATE) * new.cell
    np.testing.assert_allclose(in_evaluation.cell, expected, atol=1e-6)
    np.testing.assert_allclose(in_training.hidden, new.hidden, atol=1e-6)
    is_retained = in_training.cell == state.cell
    assert 0 < is_retained.mean() < 1
    np.testing.assert_allclose(in_training.cell[~is_retained], new.cell[~is_retained], atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "zoneout_parts"),
    [
        (SLSTMCell(FEATURES), {"hidden"}),
        (RecurrentDropout(SLSTMCell(FEATURES), 0.1), {"hidden"}),
        (QRNNCell(FEATURES), {"cell"}),
        (LSTMCell(FEATURES), {"hidden", "cell"}),
    ],
)
def test_single_zoneout_rate_applies_to_the_default_parts(cell, zoneout_parts):
    @jax.jit
    def run():
        wrapped = RNN(Zoneout(cell, 0.75))
        (zoned, _), variables = wrapped.init_with_output(jax.random.key(0), INPUT[:, :1])
        inner = {"params": variables["params"]["cell"]}
        return zoned, RNN(cell).apply(inner, INPUT[:, :1])[0]

    # In an evaluation a part that begins at zero moves by 1 - rate of its way in the first step.
    zoned, inner = (getattr(state, "state", state)._asdict() for state in run())
    changed = {part for part in inner if not np.array_equal(zoned[part], inner[part])}
    assert changed == zoneout_parts
    for part in zoneout_parts:
        assert np.asarray(inner[part]).any()
        np.testing.assert_allclose(zoned[part], 0.25 * inner[part], rtol=1e-5)


class TimedState(NamedTuple):
    """A state with an integer part and an infinite one."""

    value: Any
    steps: Any


class IntegerPart(Cell):
    """Counts its steps."""

    def initial_state(self, input_shape):
        """Returns minus infinity and three."""
        value = super().initial_state(input_shape)
        return TimedState(value - jnp.inf, jnp.full(value.shape, 3, jnp.int32))

    def step(self, state, projected):
        """Returns the input and the next count, and one beside them."""
        return TimedState(projected, state.steps + 1), jnp.ones_like(projected)


def test_integer_state_parts_are_unchanged():
    cells = (
        Zoneout(IntegerPart(INPUTS), {"steps": 0.9}),
        RecurrentDropout(IntegerPart(INPUTS), 0.9, part=""),
        LearnedInitialState(IntegerPart(INPUTS)),
    )

    @jax.jit
    def run():
        results: list[Any] = []
        for cell in cells:
            variables = RNN(cell).init(jax.random.key(0), INPUT)
            for rngs in ({}, DROPOUT):
                results.append(RNN(cell).apply(variables, INPUT, rngs=rngs))
        return results

    shapes = jax.eval_shape(RNN(cells[2]).init, jax.random.key(0), INPUT)["params"]["cell"]
    assert set(shapes) == {"initial_value"}
    for final, outputs in run():
        state = final.state if isinstance(final, Dropped) else final
        assert state.steps.dtype == jnp.int32
        assert (state.steps == 3 + TIME).all()
        np.testing.assert_array_equal(state.value, INPUT[:, -1])
        assert (outputs == 1).all()


class UnknownCell(nn.GRUCell):
    """A subclass whose carry the wrapper does not know."""


def test_output_part_of_flax_cells():
    classes = (nn.SimpleCell, nn.GRUCell, nn.MGUCell, nn.LSTMCell, nn.OptimizedLSTMCell)
    cells = [FlaxCell(module(FEATURES)) for module in classes]
    cells.append(FlaxCell(nn.ConvLSTMCell(FEATURES, kernel_size=(2,))))
    inputs = [INPUT[:, 0]] * len(classes) + [INPUT]

    @jax.jit
    def run():
        results = []
        for cell, x in zip(cells, inputs, strict=True):
            state = cell.initial_state(x.shape)
            shapes = jax.eval_shape(cell.init, jax.random.key(0), state, x)
            variables: Any = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), shapes)
            results.append(cell.apply(variables, state, x))
        return results

    for cell, (state, output) in zip(cells, run(), strict=True):
        assert cell.output_part is not None
        part = state[int(cell.output_part)] if cell.output_part else state
        np.testing.assert_array_equal(part, output)
        assert np.asarray(output).any()
    assert FlaxCell(UnknownCell(FEATURES)).output_part is None


class Frozen(SimpleCell):
    """A cell with a frozen parameter."""

    frozen: ClassVar[tuple[str, ...]] = ("recurrent_kernel",)


def test_wrapper_forwards_cell_attributes():
    def zoneout(cell):
        return Zoneout(cell, RATE)

    for wrapper in (zoneout, LearnedInitialState, Wrapper):
        wrapped = wrapper(Frozen(FEATURES))
        assert wrapped.frozen == ("recurrent_kernel",)
        assert available_engines(wrapper(LSTMCell(FEATURES))) == ("scan",)
        assert wrapper(PreviousInput(FEATURES)).output_part is None
    assert Wrapper(LSTMCell(FEATURES)).output_part == "hidden"
    assert RecurrentDropout(LSTMCell(FEATURES), RATE).output_part == "state.hidden"
    assert RecurrentDropout(GRUCell(FEATURES), RATE).output_part == "state"


LSTM, WRONG = LSTMCell(FEATURES), {"hiden": 0.5}
CLASS: Any = LSTMCell
FLAX_CELL: Any = nn.LSTMCell(FEATURES)
RNNJAX_CELL: Any = LSTM
TEXT: Any = "0.1"
PAIR: Any = (0.1, 0.05)
MISTAKES = {
    "a rate of one": (lambda: Zoneout(LSTM, 1), r"rate: given 1, .*\[0, 1\)"),
    "a negative rate": (lambda: RecurrentDropout(LSTM, -0.1), "rate: given -0.1"),
    "no number": (lambda: Zoneout(LSTM, TEXT), "rate: given '0.1'"),
    "nan": (lambda: RecurrentDropout(LSTM, float("nan")), "given nan"),
    "a part's rate": (lambda: Zoneout(LSTM, {"cell": 2.0}), "rate of 'cell': given 2.0"),
    "rates without parts": (
        lambda: Zoneout(LSTM, PAIR),
        r"rate: given \(0.1, 0.05\), .*\{'hidden': 0.1, 'cell': 0.05\}",
    ),
    "no such part": (lambda: Zoneout(LSTM, WRONG), "'hiden'.* 'hidden', 'cell';"),
    "nothing there": (lambda: RecurrentDropout(LSTM, 0.1, "h"), "'h'.* 'hidden', 'cell';"),
    "no part": (
        lambda: RecurrentDropout(IntegerPart(INPUTS), 0.1),
        "IntegerPart .*'value', 'steps'",
    ),
    "a class": (lambda: Zoneout(CLASS, 0.1), "the class LSTMCell"),
    "a flax cell": (lambda: LearnedInitialState(FLAX_CELL), "given LSTMCell.*FlaxCell"),
    "no flax cell": (lambda: FlaxCell(RNNJAX_CELL), r"given LSTMCell.*nn\.LSTMCell\(64\)"),
    "a learned mask": (
        lambda: LearnedInitialState(Zoneout(RecurrentDropout(LSTM, 0.1), 0.1)),
        r"RecurrentDropout\(LearnedInitialState\(cell\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_wrappers_raise(mistake):
    make, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        jax.eval_shape(RNN(make()).init, jax.random.key(0), INPUT)
