"""Gradient reach equals the closed form, and does not depend on padding."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, RecurrentDropout
from rnnjax.dynamics import gradient_reach, gradients, trace_module
from rnnjax.layers import RNN, Bidirectional, Stack, mask_from_lengths

from .closed_forms import LinearMap, rotation, run_cell

MASKS = ("", "right", "left", "holes")


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("reverse", [False, True])
def test_scaled_rotation_decays_at_its_spectral_radius(masks, reverse):
    cell = LinearMap(rows=rotation(0.7, 0.9))
    reach = gradient_reach(run_cell(cell, 60, masks=masks, reverse=reverse))
    np.testing.assert_array_equal(reach.lags, np.arange(61))
    for norms in (reach.median, reach.lower, reach.upper):
        np.testing.assert_allclose(norms, 0.9**reach.lags, rtol=1e-5)
    assert reach.half_life == pytest.approx(math.log(0.5) / math.log(0.9), rel=1e-5)
    assert reach.verdict == "vanishing"
    assert "half is left after 6.6 steps" in reach.describe()


@pytest.mark.parametrize(
    ("scale", "verdict"), [(1.0, "lasting"), (0.999, "lasting"), (1.6, "exploding")]
)
def test_verdict_names_what_the_norms_do(scale, verdict):
    reach = gradient_reach(run_cell(LinearMap(rows=rotation(0.3, scale)), 250))
    np.testing.assert_allclose(reach.median, scale ** np.arange(201.0), rtol=1e-3)
    assert (reach.verdict, reach.half_life) == (verdict, math.inf)


def test_norms_outside_of_the_range_of_the_state_dtype_are_exact():
    reach = gradient_reach(run_cell(LinearMap(rows=rotation(0.3, 0.1)), 150))
    np.testing.assert_allclose(np.log(reach.median), math.log(0.1) * reach.lags, rtol=1e-5)


def test_norm_is_that_of_the_jacobian_over_several_parts():
    inputs = jax.random.normal(jax.random.key(0), (1, 5, 3))
    layer = RNN(LSTMCell(4))
    variables = layer.init(jax.random.key(1), inputs)
    (trajectory,) = trace_module(layer, variables, inputs)
    reach = gradient_reach(trajectory)

    def final(state):
        hidden, cell = jnp.split(state, 2)
        return jnp.concatenate(
            layer.apply(variables, inputs, None, (hidden[None], cell[None]))[0], 1
        )

    jacobian = jax.jit(jax.jacrev(final))(jnp.zeros(8))
    assert reach.median[5] == pytest.approx(np.linalg.norm(jacobian) / math.sqrt(8), rel=1e-5)


def test_random_directions_estimate_the_norm_of_large_states(monkeypatch):
    rows = tuple(map(tuple, (0.9 * np.eye(40)).tolist()))
    monkeypatch.setattr(gradients, "_MAX_DIRECTIONS", 10)
    monkeypatch.setattr(gradients, "_SAMPLED_DIRECTIONS", 20)
    reach = gradient_reach(run_cell(LinearMap(features=40, rows=rows), 8))
    np.testing.assert_allclose(reach.median, 0.9**reach.lags, rtol=1e-5)


def test_layers_directions_and_wrappers_are_traced():
    inputs = jax.random.normal(jax.random.key(0), (3, 9, 3))
    mask = mask_from_lengths(jnp.array([9, 8, 7]), 9)
    stack = Stack([Bidirectional(LSTMCell(2)), RNN(RecurrentDropout(LSTMCell(3), 0.2))])
    variables = stack.init(jax.random.key(1), inputs, mask)
    trajectories = trace_module(stack, variables, inputs, mask)
    names = ["layer 1, read forward", "layer 1, read backward", "layer 2"]
    assert [trajectory.name for trajectory in trajectories] == names
    assert [trajectory.size for trajectory in trajectories] == [4, 4, 6]
    states, _ = jax.jit(stack.apply)(variables, inputs, mask)
    expected = (states[0][0], states[0][1], states[1].state)
    for trajectory, final in zip(trajectories, expected, strict=True):
        recorded, gates = trajectory.internals()
        np.testing.assert_allclose(recorded.cell[:, -1], final.cell, atol=1e-6)
        assert set(gates) == {"forget gate", "input gate", "output gate"}
        assert len(gradient_reach(trajectory).lags) == 9  # the median length is 8


def test_lags_end_at_a_reset():
    inputs = jnp.ones((2, 8, 3))
    resets = jnp.zeros((2, 8), bool).at[:, 5].set(True)
    layer = RNN(LSTMCell(2))
    variables = layer.init(jax.random.key(0), inputs)
    (trajectory,) = trace_module(layer, variables, inputs)
    cut = gradient_reach(trajectory.replace(resets=resets))
    (rest,) = trace_module(layer, variables, inputs[:, 5:])
    np.testing.assert_array_equal(cut.lags, range(3))
    np.testing.assert_allclose(cut.median, gradient_reach(rest).median[:3], rtol=1e-5)


def test_layers_are_sorted_by_their_numbers():
    layers = (*[RNN(LinearMap())] * 9, *[Bidirectional(LinearMap())] * 2)
    stack = Stack(layers, connection="")
    inputs = jnp.ones((1, 2, 2))
    names = [trajectory.name for trajectory in trace_module(stack, {}, inputs)]
    assert names == [
        *(f"layer {number}" for number in range(1, 10)),
        *(f"layer {number}, read {way}" for number in (10, 11) for way in ("forward", "backward")),
    ]


def test_layers_of_several_parts_are_named_and_those_inside_of_a_loop_left_out():
    class Translator(nn.Module):
        @nn.compact
        def __call__(self, inputs, mask):
            _, encoded = RNN(LSTMCell(2), name="encoder")(inputs, mask)
            _, decoded = RNN(LSTMCell(3), name="decoder")(encoded, mask)

            def attend(layer, carry, values):
                return carry, layer(values[:, None])[1]

            scan = nn.scan(
                attend, variable_broadcast="params", split_rngs={"params": False}, in_axes=1
            )
            return scan(RNN(LSTMCell(2), name="attention"), None, decoded)

    inputs, mask = jnp.ones((2, 4, 3)), jnp.ones((2, 4), bool)
    variables = Translator().init(jax.random.key(0), inputs, mask)
    trajectories = trace_module(Translator(), variables, inputs, mask)
    names = [trajectory.name for trajectory in trajectories]
    assert names == ["decoder: layer 1", "encoder: layer 1"]
