"""What wrapped cells draw, for which parts, what they say of themselves, and what they refuse."""

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


class Reads(Cell):
    """The state becomes the input; the output is the state that was read."""

    def step(self, state, projected):
        """Returns the input and the state."""
        return projected, state


class Counts(Cell):
    """The state grows by one at each step, and is the output."""

    output_part: ClassVar[str | None] = ""

    def step(self, state, projected):
        """Returns the state plus one, twice."""
        return state + 1, state + 1


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_are_kept_and_draws_are_independent(rate):
    rows, time, features = 40, 25, 40
    ones = np.ones((rows, time, features), np.float32)
    deviation = np.sqrt(rate * (1 - rate))
    counts = jax.jit(lambda: RNN(Zoneout(Counts(features), rate)).apply({}, ones, rngs=DROPOUT))()
    kept = np.diff(np.asarray(counts[1]), axis=1, prepend=0) == 0
    assert abs(kept.mean() - rate) < 4 * deviation / np.sqrt(kept.size)
    for axis in range(3):
        both = kept.take(range(24), axis) & kept.take(range(1, 25), axis)
        assert abs(both.mean() - rate**2) < 4 * rate / np.sqrt(both.size)
    cell = RecurrentDropout(Reads(features), rate, part="")

    def begun(key) -> Any:
        return cell.apply({}, (rows, features), rngs={"dropout": key}, method="initial_state")

    state, other = map(begun, jax.random.split(jax.random.key(2)))
    state = state._replace(state=ones[:, 0])
    read = np.asarray(jax.jit(lambda: RNN(cell).apply({}, ones, None, state))()[1])
    np.testing.assert_array_equal(read, np.broadcast_to(read[:, :1], read.shape))
    gone = read[:, 0] == 0
    assert abs(gone.mean() - rate) < 4 * deviation / np.sqrt(gone.size)
    assert abs((gone[1:] & gone[:-1]).mean() - rate**2) < 4 * rate / np.sqrt(gone.size)
    np.testing.assert_allclose(read[:, 0][~gone], 1 / (1 - rate), rtol=1e-6)
    assert not np.array_equal(other.keep == 0, gone)


@pytest.mark.parametrize("rate", [{"cell": RATE}, (("", RATE), ("hidden", 0.0))])
def test_each_part_has_its_rate_of_zoneout(rate):
    cell, wrapped = LSTMCell(FEATURES), Zoneout(LSTMCell(FEATURES), rate)
    assert hash(wrapped) == hash(wrapped.clone())
    state = LSTMState(*np.random.default_rng(3).standard_normal((2, ROWS, FEATURES), np.float32))

    @jax.jit
    def both():
        variables = cell.init(jax.random.key(0), state, INPUT[:, 0])
        given = {"params": {"cell": variables["params"]}}
        return (
            cell.apply(variables, state, INPUT[:, 0])[0],
            wrapped.apply(given, state, INPUT[:, 0]),
            wrapped.apply(given, state, INPUT[:, 0], rngs=DROPOUT)[0],
        )

    new, (evaluated, output), trained = jax.tree.map(np.asarray, both())
    np.testing.assert_array_equal(output, evaluated.hidden)
    np.testing.assert_allclose(evaluated.hidden, new.hidden, atol=1e-6)
    expected = RATE * state.cell + (1 - RATE) * new.cell
    np.testing.assert_allclose(evaluated.cell, expected, atol=1e-6)
    np.testing.assert_allclose(trained.hidden, new.hidden, atol=1e-6)
    kept = trained.cell == state.cell
    assert 0 < kept.mean() < 1
    np.testing.assert_allclose(trained.cell[~kept], new.cell[~kept], atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "zoneout_parts"),
    [
        (SLSTMCell(FEATURES), {"hidden"}),
        (RecurrentDropout(SLSTMCell(FEATURES), 0.1), {"hidden"}),
        (QRNNCell(FEATURES), {"cell"}),
        (LSTMCell(FEATURES), {"hidden", "cell"}),
    ],
)
def test_one_rate_is_of_the_parts_of_which_a_unit_may_keep_its_old_value(cell, zoneout_parts):
    @jax.jit
    def run():
        wrapped = RNN(Zoneout(cell, 0.75))
        (moved, _), variables = wrapped.init_with_output(jax.random.key(0), INPUT[:, :1])
        inner = {"params": variables["params"]["cell"]}
        return moved, RNN(cell).apply(inner, INPUT[:, :1])[0]

    # In an evaluation a part that begins at zero moves by 1 - rate of its way in the first step.
    moved, whole = run()
    moved, whole = (getattr(each, "state", each)._asdict() for each in (moved, whole))
    assert {part for part in whole if not np.array_equal(moved[part], whole[part])} == zoneout_parts
    for part in zoneout_parts:
        assert np.asarray(whole[part]).any()
        np.testing.assert_allclose(moved[part], 0.25 * whole[part], rtol=1e-5)


class Clock(NamedTuple):
    """A state of which a part is no floating number, and the other is not finite."""

    value: Any
    steps: Any


class Ticks(Cell):
    """Counts its steps."""

    def initial_state(self, input_shape):
        """Returns minus infinity and three."""
        value = super().initial_state(input_shape)
        return Clock(value - jnp.inf, jnp.full(value.shape, 3, jnp.int32))

    def step(self, state, projected):
        """Returns the input and the next count, and one beside them."""
        return Clock(projected, state.steps + 1), jnp.ones_like(projected)


def test_a_part_that_is_no_floating_number_is_left_alone():
    cells = (
        Zoneout(Ticks(INPUTS), {"steps": 0.9}),
        RecurrentDropout(Ticks(INPUTS), 0.9, part=""),
        LearnedInitialState(Ticks(INPUTS)),
    )

    @jax.jit
    def run():
        found: list[Any] = []
        for cell in cells:
            variables = RNN(cell).init(jax.random.key(0), INPUT)
            for rngs in ({}, DROPOUT):
                found.append(RNN(cell).apply(variables, INPUT, rngs=rngs))
        return found

    shapes = jax.eval_shape(RNN(cells[2]).init, jax.random.key(0), INPUT)["params"]["cell"]
    assert set(shapes) == {"initial_value"}
    for final, outputs in run():
        state = final.state if isinstance(final, Dropped) else final
        assert state.steps.dtype == jnp.int32
        assert (state.steps == 3 + TIME).all()
        np.testing.assert_array_equal(state.value, INPUT[:, -1])
        assert (outputs == 1).all()


class Other(nn.GRUCell):
    """A cell of which nothing is known."""


def test_it_is_known_where_in_its_carry_a_cell_of_flax_has_its_output():
    classes = (nn.SimpleCell, nn.GRUCell, nn.MGUCell, nn.LSTMCell, nn.OptimizedLSTMCell)
    cells = [FlaxCell(each(FEATURES)) for each in classes]
    cells.append(FlaxCell(nn.ConvLSTMCell(FEATURES, kernel_size=(2,))))
    inputs = [INPUT[:, 0]] * len(classes) + [INPUT]

    @jax.jit
    def run():
        found = []
        for cell, each in zip(cells, inputs, strict=True):
            state = cell.initial_state(each.shape)
            shapes = jax.eval_shape(cell.init, jax.random.key(0), state, each)
            variables: Any = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), shapes)
            found.append(cell.apply(variables, state, each))
        return found

    for cell, (state, output) in zip(cells, run(), strict=True):
        assert cell.output_part is not None
        found = state[int(cell.output_part)] if cell.output_part else state
        np.testing.assert_array_equal(found, output)
        assert np.asarray(output).any()
    assert FlaxCell(Other(FEATURES)).output_part is None


class Frozen(SimpleCell):
    """A cell with a parameter that no training changes."""

    frozen: ClassVar[tuple[str, ...]] = ("recurrent_kernel",)


def test_a_wrapper_says_of_itself_what_the_cell_says():
    def zoneout(cell):
        return Zoneout(cell, RATE)

    for wrapper in (zoneout, LearnedInitialState, Wrapper):
        made = wrapper(Frozen(FEATURES))
        assert made.frozen == ("recurrent_kernel",)
        assert available_engines(wrapper(LSTMCell(FEATURES))) == ("scan",)
        assert wrapper(Reads(FEATURES)).output_part is None
    assert Wrapper(LSTMCell(FEATURES)).output_part == "hidden"
    assert RecurrentDropout(LSTMCell(FEATURES), RATE).output_part == "state.hidden"
    assert RecurrentDropout(GRUCell(FEATURES), RATE).output_part == "state"


LSTM, WRONG = LSTMCell(FEATURES), {"hiden": 0.5}
CLASS: Any = LSTMCell
THEIRS: Any = nn.LSTMCell(FEATURES)
OURS: Any = LSTM
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
    "no part": (lambda: RecurrentDropout(Ticks(INPUTS), 0.1), "Ticks .*'value', 'steps'"),
    "a class": (lambda: Zoneout(CLASS, 0.1), "the class LSTMCell"),
    "a flax cell": (lambda: LearnedInitialState(THEIRS), "given LSTMCell.*FlaxCell"),
    "no flax cell": (lambda: FlaxCell(OURS), r"given LSTMCell.*nn\.LSTMCell\(64\)"),
    "a learned mask": (
        lambda: LearnedInitialState(Zoneout(RecurrentDropout(LSTM, 0.1), 0.1)),
        r"RecurrentDropout\(LearnedInitialState\(cell\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_an_error_that_says_what_to_do(mistake):
    make, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        jax.eval_shape(RNN(make()).init, jax.random.key(0), INPUT)
