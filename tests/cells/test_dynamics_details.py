"""What is special of the cells with dynamics of their own: gates, spectra, stability."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.antisymmetric import AntisymmetricCell
from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.cornn import CoRNNCell, CoRNNState
from rnnjax.cells.echo_state import EchoStateCell, reservoir, spectral_radius
from rnnjax.cells.fast_grnn import FastGRNNCell
from rnnjax.cells.lstm import LSTMState
from rnnjax.cells.rhn import RHNCell
from rnnjax.cells.slstm import SLSTMCell, SLSTMState
from rnnjax.layers import RNN

from .dynamics import (
    FEATURES,
    INPUTS,
    ROWS,
    TIME,
    assert_close,
    drawn,
    drawn_state,
    initial,
    initialised,
    jit,
    sigmoid,
)


@functools.partial(jit, static_argnames="forget_gate")
def driven(gates, forget_gate) -> Any:
    """Returns an sLSTM's final state and outputs for given preactivations (i, f, z, o) of each
    step, and the derivatives of the outputs.
    """
    layer: Any = RNN(SLSTMCell(1, forget_gate=forget_gate))
    params = {
        "input": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)},
        "recurrent_kernel": jnp.zeros((1, 1, 4)),
    }

    def run(gates):
        final, outputs = layer.apply({"params": {"cell": params}}, gates)
        return outputs[..., 0], final

    outputs, pull, final = jax.vjp(run, gates, has_aux=True)
    # The rows do not mix, so that their derivatives can be had at once, one step after another.
    steps = jnp.eye(gates.shape[1])[:, None] * jnp.ones_like(outputs)[None]
    return final, outputs, jax.vmap(pull)(steps)[0]


class TestSLSTM:
    @pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
    def test_the_first_step_does_not_depend_on_its_gates(self, forget_gate):
        i, f = np.meshgrid([-1e4, -200, 0, 200, 1e4], [-1e4, 0, 1e4])
        gates = np.stack([i, f, 0 * i + 0.3, 0 * i - 0.4], axis=-1).reshape(15, 1, 4)
        final, outputs, grads = driven(jnp.asarray(gates, jnp.float32), forget_gate)
        assert_close(outputs, np.full((15, 1), np.tanh(0.3) * sigmoid(-0.4)), atol=1e-7)
        assert (final.normalizer == 1).all()
        assert np.isfinite(grads).all()
        assert not grads[..., :2].any()
        assert grads[..., 2:].all()

    @pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
    def test_large_preactivations_weigh_the_steps_as_small_ones_do(self, forget_gate):
        gates = 300 * np.random.default_rng(6).standard_normal((5, 30, 4))
        gates[..., 2:] /= 300
        final, outputs, grads = driven(jnp.asarray(gates, jnp.float32), forget_gate)
        for part in (*final, outputs, grads):
            assert np.isfinite(part).all()
        assert (final.normalizer >= 1).all()
        i, f, z, o = np.moveaxis(gates, -1, 0)
        log_f = -np.logaddexp(0, -f) if forget_gate == "sigmoid" else f
        for t in range(30):
            # What a step weighs at the end: its input gate, and every later forget gate.
            later = np.cumsum(log_f[:, t:0:-1], axis=1)[:, ::-1]
            weights = i[:, : t + 1] + np.pad(later, ((0, 0), (0, 1)))
            weights = np.exp(weights - weights.max(axis=1, keepdims=True))
            mean = (weights * np.tanh(z[:, : t + 1])).sum(axis=1) / weights.sum(axis=1)
            # The sums of the gates reach 1e4, whose rounding is 1e-3.
            assert_close(outputs[:, t], sigmoid(o[:, t]) * mean, atol=3e-3)

    def test_gradients_are_those_of_the_equations_without_the_stabiliser(self):
        with jax.enable_x64(True):
            cell = SLSTMCell(FEATURES, heads=2, param_dtype=jnp.float64)
            layer: Any = RNN(cell)
            shapes, _ = initial(cell)
            params = jax.tree.map(np.float64, drawn(shapes))
            inputs = np.random.default_rng(7).standard_normal((2, 3, INPUTS))

            def ours(params):
                final, outputs = layer.apply({"params": {"cell": params}}, inputs)
                return jnp.sum(jnp.cos(outputs)) + jnp.sum(jnp.sin(final.hidden))

            def theirs(params):
                h, c, n = jnp.zeros((3, 2, FEATURES))
                total = 0
                kernel = jnp.zeros((FEATURES, 4, FEATURES))
                for head, block in enumerate(params["recurrent_kernel"]):
                    units = slice(3 * head, 3 * head + 3)
                    kernel = kernel.at[units, :, units].set(block.reshape(3, 4, 3))
                for x in np.moveaxis(inputs, 1, 0):
                    gates = x @ params["input"]["kernel"] + params["input"]["bias"][None]
                    gates = gates + h @ kernel.reshape(FEATURES, -1)
                    i, f, z, o = jnp.split(gates, 4, axis=-1)
                    i, f = jnp.exp(i), jax.nn.sigmoid(f)
                    c, n = f * c + i * jnp.tanh(z), f * n + i
                    h = jax.nn.sigmoid(o) * c / n
                    total += jnp.sum(jnp.cos(h))
                return total + jnp.sum(jnp.sin(h))

            actual, expected = jit(jax.grad(ours))(params), jit(jax.grad(theirs))(params)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), actual, expected
            )

    @pytest.mark.parametrize(("heads", "forget_gate"), [(3, "sigmoid"), (1, "exponential")])
    def test_heads_begin_orthogonal_and_forget_little(self, heads, forget_gate):
        params = initialised(SLSTMCell(FEATURES, heads=heads, forget_gate=forget_gate))
        kernels = params["recurrent_kernel"]
        for kernel in kernels:
            assert_close(kernel @ kernel.T, np.eye(FEATURES // heads), atol=1e-6)
        assert len({kernel.tobytes() for kernel in kernels}) == heads
        bias = params["input"]["bias"].reshape(4, FEATURES)
        assert (bias == [[0], [forget_gate == "sigmoid"], [0], [0]]).all()

    def test_the_state_has_its_parts(self):
        state = SLSTMCell(4).initial_state((2, 3, 5))
        assert isinstance(state, SLSTMState)
        for part in state:
            assert part.shape == (2, 3, 4)
            assert part.dtype == jnp.float32


class TestRHN:
    def test_the_layers_begin_orthogonal_and_closed(self):
        cell = RHNCell(4, depth=2, transform_bias=-100.0)
        params = initialised(cell)
        for bias in (params["input"]["bias"], params["recurrent_bias_2"]):
            assert bias.tolist() == [0] * 4 + [-100] * 4
        one, other = params["recurrent_kernel_1"], params["recurrent_kernel_2"]
        assert_close(one @ one.T, np.eye(4), atol=1e-6)
        assert_close(other @ other.T, np.eye(4), atol=1e-6)
        assert not np.array_equal(one, other)
        state = np.linspace(-2, 2, 4, dtype=np.float32)[None]
        new, _ = jit(cell.apply)({"params": params}, state, np.ones((1, INPUTS)))
        np.testing.assert_array_equal(new, state)


def largest_eigenvalue(matrix):
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


class TestEchoState:
    @pytest.mark.parametrize("size", [1, 7, 100])
    def test_the_spectral_radius_is_that_of_numpy(self, size):
        for seed, scale in enumerate([1e-3, 0.5, 1.0, 40.0, 1e3]):
            matrix = scale * np.random.default_rng(seed).standard_normal((size, size))
            radius = spectral_radius(jnp.asarray(matrix, jnp.float32))
            np.testing.assert_allclose(radius, largest_eigenvalue(matrix), rtol=1e-5)

    def test_the_spectral_radius_of_special_matrices(self):
        rotation, jordan, cycle = np.zeros((3, 4, 4), np.float32)
        rotation[:2, :2] = [[0, -3], [3, 0]]
        jordan[:2, :2] = [[2, 1], [0, 2]]
        cycle[[0, 1, 2], [1, 2, 0]] = 1, 2, 4
        for matrix, radius in ((rotation, 3), (jordan, 2), (cycle, 2), (np.eye(4), 1)):
            found = spectral_radius(jnp.asarray(matrix, jnp.float32))
            np.testing.assert_allclose(found, radius, rtol=1e-5)
        assert spectral_radius(jnp.triu(jnp.ones((4, 4)), 1)) == 0

    @pytest.mark.parametrize(("radius", "connectivity"), [(0.9, 1.0), (1.25, 0.1), (0.3, 0.05)])
    def test_a_reservoir_has_its_radius_and_connectivity(self, radius, connectivity):
        kernel = np.asarray(reservoir(radius, connectivity)(jax.random.key(0), (100, 100)))
        np.testing.assert_allclose(largest_eigenvalue(kernel), radius, rtol=2e-5)
        share = np.mean(kernel != 0)
        assert abs(share - connectivity) <= 4 * np.sqrt(connectivity * (1 - connectivity) / 1e4)
        entries = kernel[kernel != 0]
        assert abs(entries.mean()) < 0.1 * np.abs(entries).max()
        assert entries.min() < 0 < entries.max()

    def test_a_reservoir_without_a_cycle_is_left_as_it_is(self):
        kernels = [reservoir(0.9, 0.12)(jax.random.key(seed), (4, 4)) for seed in range(8)]
        radii = [largest_eigenvalue(kernel) for kernel in kernels]
        assert_close(sorted({round(radius, 5) for radius in radii}), [0, 0.9])
        left = [kernel for kernel, radius in zip(kernels, radii, strict=True) if radius == 0]
        assert 0 < np.abs(left).max() <= 1

    def test_a_reservoir_in_bfloat16_has_its_radius(self):
        kernel = reservoir(0.9)(jax.random.key(0), (100, 100), jnp.bfloat16)
        assert kernel.dtype == jnp.bfloat16
        np.testing.assert_allclose(largest_eigenvalue(kernel), 0.9, rtol=2e-3)

    def test_a_cell_begins_as_its_attributes_say(self):
        cell = EchoStateCell(100, spectral_radius=0.6, connectivity=0.3, input_scale=0.2)
        params = initialised(cell)
        kernel = params["recurrent_kernel"]
        np.testing.assert_allclose(largest_eigenvalue(kernel), 0.6, rtol=2e-5)
        assert abs(np.mean(kernel != 0) - 0.3) < 0.02
        for part in params["input"].values():
            assert 0.19 < part.max() <= 0.2
            assert -0.2 <= part.min() < -0.19

    def test_the_state_forgets_how_it_began(self):
        cell = EchoStateCell(100, spectral_radius=0.6, connectivity=0.3, input_scale=0.2)
        params = {"params": {"cell": initialised(cell)}}
        inputs = np.random.default_rng(8).standard_normal((2, 60, INPUTS))
        inputs[1] = inputs[0]
        state = np.random.default_rng(9).standard_normal((2, 100)).astype(np.float32)
        final, outputs = jit(RNN(cell).apply)(params, inputs, None, state)
        assert np.abs(outputs[0, 0] - outputs[1, 0]).max() > 0.1
        assert_close(final[0], final[1])
        assert np.abs(outputs[0, -1] - outputs[0, -2]).max() > 0.1


class TestAntisymmetric:
    @pytest.mark.parametrize("gated", [False, True])
    def test_the_jacobian_at_rest_is_antisymmetric_but_for_the_diffusion(self, gated):
        cell = AntisymmetricCell(FEATURES, epsilon=0.25, gamma=0.125, gated=gated)
        params = initialised(cell)

        def step(state):
            return cell.apply({"params": params}, state, jnp.zeros(INPUTS))[0]

        jacobian = np.asarray(jit(jax.jacobian(step))(jnp.zeros(FEATURES)))
        # At rest the gate is a half.
        flow = (jacobian - np.eye(FEATURES)) / (0.125 if gated else 0.25)
        assert_close(flow + flow.T, -2 * 0.125 * np.eye(FEATURES))
        assert np.abs(flow).max() > 0.5
        np.testing.assert_allclose(np.linalg.eigvals(flow).real, -0.125, atol=1e-5)

    def test_the_kernels_begin_normal(self):
        params = initialised(AntisymmetricCell(100), inputs=50)
        kernel, inputs = params["recurrent_kernel"], params["input"]["kernel"]
        assert abs(np.var(kernel) * 100 - 1) < 0.1
        assert abs(np.var(inputs) * 50 - 1) < 0.1
        # A uniform distribution of this variance ends at 1.73 deviations, a truncated one at 2.3.
        assert np.abs(kernel).max() > 0.3
        assert not params["input"]["bias"].any()


class TestCoRNN:
    @pytest.mark.parametrize(("dt", "stable"), [(0.98, True), (1.02, False)])
    def test_free_oscillators_come_to_rest_while_the_step_is_short(self, dt, stable):
        gamma, epsilon = 2.0, 1.0
        assert (dt * (dt * gamma + 2 * epsilon) < 4) == stable
        cell = CoRNNCell(2, dt=dt, gamma=gamma, epsilon=epsilon)
        shapes, _ = initial(cell)
        params = {"cell": jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)}
        state = CoRNNState(jnp.array([[1.0, -2.0]]), jnp.array([[0.5, 0.0]]))
        inputs = jnp.zeros((1, 300, INPUTS))
        final, _ = jit(RNN(cell).apply)({"params": params}, inputs, None, state)
        largest = np.abs(final.position)
        assert (largest < 1e-2).all() if stable else (largest > 10).all()

    def test_the_state_has_its_parts(self):
        state = CoRNNCell(4).initial_state((2, 3, 5))
        assert isinstance(state, CoRNNState)
        assert [part.shape for part in state] == [(2, 3, 4)] * 2


class TestFastGRNN:
    def test_it_begins_as_the_attributes_say(self):
        params = initialised(FastGRNNCell(8, input_rank=2, recurrent_rank=3, zeta=0.5), inputs=5)
        assert params["zeta_logit"] == 0.5
        assert params["nu_logit"] == -4
        assert params["gate_bias"].tolist() == [1] * 8
        assert params["bias"].tolist() == [0] * 8
        inputs = params["input_reduced"]["kernel"] @ params["input"]["kernel"]
        recurrent = params["recurrent_kernel_reduced"] @ params["recurrent_kernel"]
        assert inputs.shape == (5, 8)
        assert np.linalg.matrix_rank(inputs, 1e-5) == 2
        values = np.linalg.svd(recurrent, compute_uv=False)
        assert_close(values, [1] * 3 + [0] * 5, atol=1e-6)


class TestConvLSTM:
    @pytest.mark.parametrize(("size", "image"), [((4,), (5,)), ((2, 1, 3), (2, 2, 3))])
    def test_values_are_those_of_flax(self, size, image):
        theirs = nn.ConvLSTMCell(FEATURES, size)
        inputs = np.random.default_rng(10).standard_normal((ROWS, TIME, *image, INPUTS))
        inputs = inputs.astype(np.float32)
        layer = nn.RNN(theirs, return_carry=True)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), inputs)["params"]["cell"]
        params = drawn(shapes)
        lengths = np.array([6, 1, 4, 2])
        mask = np.arange(TIME) < lengths[:, None]
        variables = {"params": {"cell": params}}
        (c, h), expected = jit(layer.apply)(variables, inputs, seq_lengths=lengths)

        def ordered(units):
            i, g, f, o = np.split(units, 4, axis=-1)
            return np.concatenate([i, f, g, o], axis=-1)

        bias = ordered(params["ih"]["bias"] + params["hh"]["bias"])
        bias[FEATURES : 2 * FEATURES] += 1
        ours = {
            "input": {"kernel": ordered(params["ih"]["kernel"]), "bias": bias},
            "recurrent_kernel": ordered(params["hh"]["kernel"]),
        }
        cell = ConvLSTMCell(FEATURES, kernel_size=size)
        final, outputs = jit(RNN(cell).apply)({"params": {"cell": ours}}, inputs, mask)
        assert_close(np.asarray(outputs)[mask], np.asarray(expected)[mask])
        assert_close(final.hidden, h)
        assert_close(final.cell, c)

    def test_it_begins_with_the_forget_gates_open(self):
        cell = ConvLSTMCell(3, kernel_size=(2,))
        state = cell.initial_state((5, 4, 2))
        assert isinstance(state, LSTMState)
        assert [part.shape for part in state] == [(5, 4, 3)] * 2
        init = jit(functools.partial(cell.init, method="project"))
        params = init(jax.random.key(0), jnp.zeros((5, 4, 2)))["params"]
        assert params["input"]["bias"].reshape(4, 3).tolist() == [[0] * 3, [1] * 3, *[[0] * 3] * 2]

    def test_it_streams_a_single_image(self):
        cell = ConvLSTMCell(2, kernel_size=(3, 3))
        shapes, _ = initial(cell, (4, 5))
        images = np.random.default_rng(11).standard_normal((3, 4, 5, INPUTS)).astype(np.float32)
        variables = {"params": drawn(shapes)}
        state = drawn_state(cell.initial_state(images.shape))
        apply = jit(cell.apply)
        _, expected = apply(variables, state, images)
        for row in range(3):
            one = jax.tree.map(lambda part, row=row: part[row], state)
            _, output = apply(variables, one, images[row])
            assert_close(output, expected[row])
