"""What the kit stands on: masks that are moved, differences that are found, cells that are read."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.cells.wrappers import FlaxCell, Zoneout
from rnnjax.kernels.time_scan import zero_masked
from rnnjax.layers import rnn
from rnnjax.testing import CellError, check_cell
from rnnjax.testing.cell_adapter import describe_cell, recast
from rnnjax.testing.comparison import (
    BrokenError,
    differ,
    named,
    require_close,
    require_finite,
    require_same_bits,
    require_same_structure,
    require_zero,
)
from rnnjax.testing.mask_patterns import drawn, flipped, masks, moved, sorted_to


def mask_of(*rows):
    return np.array([[step == "#" for step in row] for row in rows])


def test_of_a_small_size_every_mask_is_looked_at_the_fullest_first():
    every = [drawn(mask) for mask in masks(1, 2)]
    assert every == ["##", "#.", ".#", ".."]
    assert len({drawn(mask) for mask in masks(2, 3)}) == 64


@pytest.mark.parametrize(("rows", "steps"), [(6, 7), (3, 4), (4, 5), (8, 5)])
def test_of_a_larger_size_every_kind_of_row_is_looked_at(rows, steps):
    full, *ragged = masks(rows, steps)
    assert full.all()
    assert {mask.shape for mask in ragged} == {(rows, steps)}
    seen = [tuple(row) for mask in ragged for row in mask]
    half = (steps + 1) // 2
    right = (True,) * half + (False,) * (steps - half)
    for kind in ((True,) * steps, (False,) * steps, right, right[::-1]):
        assert kind in seen
    inside = [row for row in seen if not row[1] and row[0] and any(row[2:])]
    assert inside


def test_at_the_size_of_the_checks_two_masks_do():
    assert drawn(masks(6, 7)[1]).split() == [
        "#######",
        "####...",
        "...####",
        "#.##.#.",
        ".......",
        "...#...",
    ]


def test_steps_move_from_one_mask_to_another_in_their_order():
    mask, other = mask_of("#.#.", "..##"), mask_of(".##.", "##..")
    values = np.arange(1, 9).reshape(2, 4)
    assert moved(values, mask, other).tolist() == [[0, 1, 3, 0], [7, 8, 0, 0]]
    assert flipped(values, mask).tolist() == [[3, 2, 1, 4], [5, 6, 8, 7]]
    assert drawn(sorted_to("start", mask)).split() == ["##..", "##.."]
    assert drawn(sorted_to("end", mask)).split() == ["..##", "..##"]


A = np.array([1.0, 2.0, 4.0], np.float32)
B = np.array([1.0, 2.5, 4.25], np.float32)
NAN = np.array([1.0, np.nan, 4.0], np.float32)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: require_close({"x": A}, {"x": B}, {"x": 0.4}, "here"), "x[1] is 2, expected 2.5"),
        (lambda: require_close({"x": A}, {"x": B}, {"x": 0.4}, "here"), "here (off by 0.5; round"),
        (lambda: require_close({"x": A}, {"x": NAN}, {"x": 9.0}, ""), "x[1] is 2, expected nan"),
        (lambda: require_close({"x": NAN}, {"x": A}, {"x": 9.0}, ""), "x[1] is nan, expected 2"),
        (lambda: require_close({"x": A + 1j}, {"x": A + 0j}, {"x": 0.5}, ""), "off by 1"),
        (
            lambda: require_close({"x": A[:2]}, {"x": A}, {"x": 9.0}, ""),
            "shape (2,), expected (3,)",
        ),
        (lambda: require_close({"x": np.arange(3)}, {"x": np.ones(3, int)}, {}, ""), "x[0] is 0"),
        (lambda: require_close({"x": A * (1 + 2e-5)}, {"x": A}, None, ""), "x[2]"),
        (lambda: require_same_bits({"x": A}, {"x": B}, ""), "not a bit"),
        (lambda: require_zero({"x": A}, ""), "x[2] is 4, expected 0"),
        (lambda: require_finite({"x": NAN}, "here"), "x[1] is nan, expected finite here"),
        (lambda: require_finite({"x": NAN.astype(jnp.bfloat16)}, ""), "x[1] is nan"),
        (lambda: require_same_structure("s", (A, A), [A, A]), "a tuple of 2, expected a list of 2"),
        (lambda: require_same_structure("s", {"a": A}, {"a": 1j * A}), "s.a has the dtype float32"),
        (lambda: require_same_structure("s", A[:2], A), "s has the shape (2,), expected (3,)"),
    ],
)
def test_a_difference_is_told(check, words):
    with pytest.raises(BrokenError) as caught:
        check()
    assert words in str(caught.value)


def test_no_difference_is_told_where_there_is_none():
    assert require_close({"x": A}, {"x": B}, {"x": 1.0}, "") == 0.5
    assert require_close({"x": NAN}, {"x": NAN.copy()}, {"x": 1.0}, "") == 0.0
    require_close({"x": A * (1 + 1e-6)}, {"x": A}, None, "")
    require_close({"x": A.astype(jnp.bfloat16)}, {"x": B.astype(jnp.bfloat16)}, {"x": 1.0}, "")
    require_same_bits({"x": NAN}, {"x": NAN.copy()}, "")
    require_zero({"x": 0 * A}, "")
    require_finite({"x": A, "n": np.arange(3)}, "")
    require_same_structure("s", {"a": A}, {"a": B})
    assert differ(A, B)
    assert not differ((A, B), (A.copy(), B))
    assert differ(np.zeros(1), -np.zeros(1))
    assert list(named({"s": LSTMCell(4).initial_state((1, 3))})) == ["s.hidden", "s.cell"]


def test_a_cell_is_described_by_what_is_not_its_default():
    assert describe_cell(SimpleCell(4)) == "SimpleCell(features=4)"
    assert (
        describe_cell(SimpleCell(4, activation=nn.relu))
        == "SimpleCell(features=4, activation=relu)"
    )
    wrapped = Zoneout(FlaxCell(nn.GRUCell(4)), rate=0.5)
    assert describe_cell(wrapped) == "Zoneout(cell=FlaxCell(cell=GRUCell(features=4)), rate=0.5)"


def test_a_dtype_reaches_the_cells_inside_a_cell():
    wide = recast(Zoneout(FlaxCell(nn.GRUCell(4)), rate=0.5), param_dtype=jnp.float64)
    assert wide == Zoneout(FlaxCell(nn.GRUCell(4, param_dtype=jnp.float64)), rate=0.5)
    assert recast(SimpleCell(4), size=3) is None


@pytest.mark.parametrize(
    ("function", "mistake", "verdict"),
    [
        ("_held", lambda mask, new, old: new, "empty_rows"),
        ("own_state", lambda cell, inputs: jnp.ones((len(inputs), 4)), "initial_state"),
        ("real", lambda values, mask: values, "masked_steps"),
    ],
)
def test_a_mistake_in_the_layer_is_found_as_well(monkeypatch, function, mistake, verdict):
    monkeypatch.setattr(rnn, function, mistake)
    with pytest.raises(CellError) as caught:
        check_cell(SimpleCell(4))
    assert caught.value.check == verdict


def _unguarded(values, mask):
    return values if values.shape[-1:] == (3,) else zero_masked(values, mask)


def _leaking(values, mask):
    found = zero_masked(values, mask)
    if values.shape[-1:] != (3,):
        return found
    nothing = jnp.pad(values - jax.lax.stop_gradient(values), ((0, 0), (1, 0), (0, 0)))
    return found + nothing[:, :-1]  # The gradient of a step reaches the one before it.


@pytest.mark.parametrize(
    ("guard", "verdict", "words"),
    [
        (_unguarded, "junk", "because the inputs at masked steps are"),
        (_leaking, "masked_gradient", "gradient of inputs"),
    ],
)
def test_a_mistake_in_what_the_layer_reads_is_found_as_well(monkeypatch, guard, verdict, words):
    monkeypatch.setattr(rnn, "real", guard)
    with pytest.raises(CellError, match=words) as caught:
        check_cell(SimpleCell(4))
    assert caught.value.check == verdict
