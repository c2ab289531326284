"""Fixed and slow points, their eigenvalues and time constants, of maps known in closed form."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.dynamics import find_points
from rnnjax.dynamics import fixed_points as module
from rnnjax.errors import InputError

from .closed_forms import LinearMap, SaddleNode, TanhMap, rotation, run_cell

ZERO = {"no input": np.zeros(1)}


def from_states(cell, states):
    """Returns a trajectory of one step from each of some states."""
    trajectory = run_cell(cell, 1, len(states))
    return trajectory.replace(initial_state=jnp.array(states, jnp.float32))


@pytest.mark.parametrize("masks", ["", "right"])
def test_bistable_unit_has_two_stable_points_and_one_between(masks):
    cell = TanhMap(features=1)
    trajectory = run_cell(cell, 1, 9, masks=masks)
    starts = jnp.linspace(-1.0, 1.0, 9)[:, None]
    points = find_points(trajectory.replace(initial_state=starts), ZERO)["no input"]
    assert len(points) == 3
    below, middle, above = sorted(points, key=lambda point: float(point.state[0]))
    assert middle.state[0] == pytest.approx(0, abs=1e-4)
    assert middle.eigenvalues[0] == pytest.approx(2, abs=1e-3)
    assert (middle.stability, middle.unstable) == ("unstable", 1)
    assert middle.time_constants[0] == pytest.approx(1 / math.log(2), rel=1e-3)
    for point, sign in ((below, -1), (above, 1)):
        assert point.state[0] == pytest.approx(sign * 0.957504, abs=1e-4)
        slope = 2 * (1 - 0.957504**2)
        assert point.eigenvalues[0] == pytest.approx(slope, abs=1e-3)
        assert (point.kind, point.stability) == ("fixed", "stable")
        assert point.time_constants[0] == pytest.approx(-1 / math.log(slope), rel=1e-2)
    assert sum(point.starts for point in points) == pytest.approx(1)


def test_spiral_has_one_point_with_complex_eigenvalues():
    states = np.random.default_rng(0).standard_normal((6, 2))
    points = find_points(from_states(LinearMap(rows=rotation(0.5, 0.9)), states), ZERO)["no input"]
    (point,) = points
    np.testing.assert_allclose(point.state, 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(point.eigenvalues), 0.9, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.angle(point.eigenvalues)), 0.5, rtol=1e-5)


def test_saddle_has_directions_of_both_kinds():
    states = np.random.default_rng(0).standard_normal((6, 2))
    cell = LinearMap(rows=((1.5, 0.0), (0.0, 0.5)))
    (point,) = find_points(from_states(cell, states), ZERO)["no input"]
    assert (point.stability, point.unstable) == ("saddle", 1)


def test_slow_point_is_told_from_a_fixed_one():
    states = np.linspace(-0.4, 0.4, 8)[:, None]
    (point,) = find_points(from_states(SaddleNode(features=1), states), ZERO)["no input"]
    assert point.kind == "slow"
    assert point.speed == pytest.approx(1e-3, rel=0.01)
    assert abs(point.state[0]) < 0.01


def test_every_state_of_the_identity_is_fixed():
    states = np.random.default_rng(0).standard_normal((5, 2))
    points = find_points(from_states(LinearMap(), states), ZERO)["no input"]
    assert len(points) == 5
    assert all(np.all(np.isinf(point.time_constants)) for point in points)


def test_states_without_a_rest_have_no_point():
    states = np.linspace(-0.4, 0.4, 8)[:, None]
    assert find_points(from_states(SaddleNode(features=1, speed=0.5), states), ZERO) == {
        "no input": []
    }


def test_large_states_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_SIZE", 1)
    with pytest.raises(InputError, match="has 2 numbers, too many"):
        find_points(run_cell(LinearMap(), 3), ZERO)
