"""The gated cells and their options, against the equations of their papers in NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.gru import GRUCell
from rnnjax.cells.janet import JANETCell
from rnnjax.cells.layer_norm import LayerNormGRUCell, LayerNormLSTMCell
from rnnjax.cells.lstm import LSTMCell, LSTMState
from rnnjax.cells.mgu import MGUCell
from rnnjax.cells.multiplicative_lstm import MultiplicativeLSTMCell
from rnnjax.cells.simple import SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

ROWS, TIME, INPUTS, FEATURES, PROJECTION = 3, 6, 5, 4, 3
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)


def sigmoid(x):
    """Returns the logistic function by its definition."""
    return 1 / (1 + np.exp(-x))


def simple(cell, p, h, x):
    """Elman's cell."""
    f = {"relu": lambda z: z * (z > 0), "identity": lambda z: z, "tanh": np.tanh}[cell.activation]
    h = f(x @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent_kernel"])
    return h, h


def lstm(cell, p, state, x):
    """The LSTM with peepholes (Gers 2002), projection (Sak 2014) and one gate for i and f."""
    h, c = state
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent_kernel"]
    peepholes = p.get("recurrent_kernel_peepholes", np.zeros((3, FEATURES)))
    if cell.coupled:
        f, g, o = (z[:, k * FEATURES : (k + 1) * FEATURES] for k in range(3))
        p_f, p_o = peepholes[-2:]
        f = sigmoid(f + p_f * c)
        i = 1 - f
    else:
        i, f, g, o = (z[:, k * FEATURES : (k + 1) * FEATURES] for k in range(4))
        p_i, p_f, p_o = peepholes
        i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    if cell.projection:
        h = h @ p["projection_kernel"]
    return (h, c), h


def gru(cell, p, h, x):
    """The GRU whose reset gate comes after the product."""
    del cell
    i_r, i_z, i_n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 3, axis=1)
    h_r, h_z, h_n = np.split(h @ p["recurrent_kernel"] + p["recurrent_bias"], 3, axis=1)
    z = sigmoid(i_z + h_z)
    h = (1 - z) * np.tanh(i_n + sigmoid(i_r + h_r) * h_n) + z * h
    return h, h


def mgu(cell, p, h, x):
    """The minimal gated unit of Zhou et al. (2016) and of flax."""
    i_f, i_n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 2, axis=1)
    u_f, u_n = np.split(p["recurrent_kernel"], 2, axis=1)
    f = sigmoid(i_f + h @ u_f)
    from_state = {
        "after": lambda: f * (h @ u_n + p["recurrent_bias"]),
        "before": lambda: (f * h) @ u_n,
        "none": lambda: h @ u_n,
    }[cell.reset]()
    n = np.tanh(i_n + from_state)
    h = (1 - f) * n + f * h if cell.f_keeps else (1 - f) * h + f * n
    return h, h


def janet(cell, p, h, x):
    """JANET, van der Westhuizen and Lasenby (2018)."""
    w_f, w_g = np.split(p["input"]["kernel"], 2, axis=1)
    u_f, u_g = np.split(p["recurrent_kernel"], 2, axis=1)
    b_f, b_g = np.split(p["input"]["bias"], 2)
    s = x @ w_f + h @ u_f + b_f
    h = sigmoid(s) * h + (1 - sigmoid(s - cell.beta)) * np.tanh(x @ w_g + h @ u_g + b_g)
    return h, h


def normal(values, p, cell):
    """Returns values normalised over the features, with gain and bias (Ba et al. 2016)."""
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).sum(axis=1, keepdims=True) / values.shape[1]
    return p["scale"] * centred / np.sqrt(variance + cell.epsilon) + p.get("bias", 0)


def layer_norm_lstm(cell, p, state, x):
    """Ba, Kiros and Hinton (2016), the LSTM."""
    h, c = state
    z = normal(h @ p["recurrent_kernel"], p["recurrent_norm"], cell)
    z = z + normal(x @ p["input"]["kernel"], p["input_norm"], cell)
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normal(c, p["cell_norm"], cell))
    return (h, c), h


def layer_norm_gru(cell, p, h, x):
    """Ba, Kiros and Hinton (2016), the GRU; the paper's z is that of a gain and a bias negated."""
    two = 2 * FEATURES
    product, inputs = h @ p["recurrent_kernel"], x @ p["input"]["kernel"]
    gates = normal(product[:, :two], p["recurrent_norm"], cell)
    gates = gates + normal(inputs[:, :two], p["input_norm"], cell)
    r, theirs = sigmoid(gates[:, :FEATURES]), sigmoid(-gates[:, FEATURES:])
    n = normal(inputs[:, two:], p["input_norm_new"], cell)
    n = np.tanh(n + r * normal(product[:, two:], p["recurrent_norm_new"], cell))
    h = (1 - theirs) * h + theirs * n
    return h, h


def multiplicative_lstm(cell, p, state, x):
    """Krause et al. (2016)."""
    del cell
    h, c = state
    m = (x @ p["input_factor"]["kernel"]) * (h @ p["recurrent_kernel_factor"])
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + m @ p["recurrent_kernel"]
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


EVERYTHING = {"peepholes": True, "projection": PROJECTION, "coupled": True}

VARIANTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "simple, relu": (simple, SimpleCell, {"activation": "relu"}),
    "simple, identity": (simple, SimpleCell, {"activation": "identity"}),
    "lstm, peepholes": (lstm, LSTMCell, {"peepholes": True}),
    "lstm, projection": (lstm, LSTMCell, {"projection": PROJECTION}),
    "lstm, coupled": (lstm, LSTMCell, {"coupled": True}),
    "lstm, everything": (lstm, LSTMCell, EVERYTHING),
    "lstm, update dropout": (lstm, LSTMCell, {"update_dropout": 0.25}),
    "gru, update dropout": (gru, GRUCell, {"update_dropout": 0.25}),
    "mgu": (mgu, MGUCell, {}),
    "mgu, no reset": (mgu, MGUCell, {"reset": "none"}),
    "mgu of the paper": (mgu, MGUCell, {"reset": "before", "f_keeps": False}),
    "janet": (janet, JANETCell, {}),
    "janet, beta 0.3": (janet, JANETCell, {"beta": 0.3}),
    "layer norm lstm": (layer_norm_lstm, LayerNormLSTMCell, {}),
    "layer norm gru": (layer_norm_gru, LayerNormGRUCell, {}),
    "multiplicative lstm": (multiplicative_lstm, MultiplicativeLSTMCell, {}),
}


def initialised(made, seed=0, **options) -> Any:
    """Returns a cell's new parameters in NumPy arrays, all kernels ones: nothing to compile."""
    ones = nn.initializers.ones
    cell = made(FEATURES, kernel_init=ones, recurrent_init=ones, **options)
    state = cell.initial_state((1, INPUTS))
    variables = cell.init(jax.random.key(seed), state, jnp.ones((1, INPUTS)))
    return jax.tree.map(np.asarray, variables["params"])


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes, biases and gains included."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: (0.6 * rng.standard_normal(s.shape)).astype(np.float32), shapes)


def run(layer) -> Any:
    """Returns random parameters, an initial state, and what the layer makes of the input."""
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), INPUT)
    variables, state = drawn(variables, 1), drawn(returned[0], 2)
    result = jax.jit(layer.apply)(variables, INPUT, None, state)
    return variables["params"]["cell"], state, jax.tree.map(np.asarray, result)


def doubled(tree):
    """Returns a tree in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def computed(name, cell, params, state, inputs):
    """Returns the final state and the outputs that a variant's equations give, in float64."""
    params, state, inputs = doubled((params, state, inputs))
    outputs = []
    for x in np.swapaxes(inputs, 0, 1):
        state, output = VARIANTS[name][0](cell, params, state, x)
        outputs.append(output)
    return state, np.stack(outputs, axis=1)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cell_computes_its_equations(name):
    _, made, options = VARIANTS[name]
    cell = made(FEATURES, **options)
    params, state, (final, outputs) = run(RNN(cell, engine="scan"))
    expected_final, expected = computed(name, cell, params, state, INPUT)
    # A state that grows has the rounding of its size.
    tolerance = 1e-6 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
    for leaf, other in zip(jax.tree.leaves(final), jax.tree.leaves(expected_final), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("reset", ["after", "none"])
def test_the_minimal_gated_unit_is_that_of_flax(reset):
    theirs = nn.RNN(nn.MGUCell(FEATURES, reset_gate=reset == "after"), return_carry=True)
    shapes = jax.eval_shape(theirs.init, jax.random.key(0), INPUT)["params"]["cell"]
    params = drawn(shapes, 4)

    def joined(*parts):
        return np.concatenate(parts, axis=-1)

    ours = {
        "input": {key: joined(params["if"][key], params["in"][key]) for key in ("kernel", "bias")},
        "recurrent_kernel": joined(params["hf"]["kernel"], params["hn"]["kernel"]),
    }
    if reset == "after":
        ours["recurrent_bias"] = params["hn"]["bias"]
    returned: Any = theirs.apply({"params": {"cell": params}}, INPUT)
    cell = MGUCell(FEATURES, reset=reset)
    state, outputs = RNN(cell, engine="scan").apply({"params": {"cell": ours}}, INPUT)
    for ours, expected in zip((state, outputs), returned, strict=True):
        np.testing.assert_allclose(np.asarray(ours), expected, rtol=0, atol=1e-6)


def test_the_options_leave_the_plain_lstm_as_it_was():
    params = initialised(LSTMCell)
    assert jax.tree.map(jnp.shape, params) == {
        "input": {"kernel": (INPUTS, 4 * FEATURES), "bias": (4 * FEATURES,)},
        "recurrent_kernel": (FEATURES, 4 * FEATURES),
    }
    more = initialised(LSTMCell, peepholes=True, update_dropout=0.5)
    assert not more.pop("recurrent_kernel_peepholes").any()
    assert jax.tree.map(jnp.shape, more) == jax.tree.map(jnp.shape, params)


def test_a_projection_gives_the_hidden_state_its_own_size():
    cell = LSTMCell(FEATURES, projection=PROJECTION)
    state = cell.initial_state((2, 7, INPUTS))
    assert state.hidden.shape == (2, 7, PROJECTION)
    assert state.cell.shape == (2, 7, FEATURES)
    assert not any(leaf.any() for leaf in state)
    params = initialised(LSTMCell, projection=PROJECTION)
    new, output = cell.apply({"params": params}, state, jnp.ones((2, 7, INPUTS)))
    assert isinstance(new, LSTMState)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    np.testing.assert_array_equal(output, new.hidden)


def test_only_the_gate_that_forgets_begins_with_a_bias():
    def biases(made, **options):
        params = initialised(made, **options)
        where = "input_norm" if "input_norm" in params else "input"
        return params[where]["bias"].reshape(-1, FEATURES)[:, 0].tolist()

    assert biases(LSTMCell, coupled=True) == [1, 0, 0]
    assert biases(MGUCell) == [1, 0]
    assert biases(JANETCell) == [1, 0]
    assert biases(MultiplicativeLSTMCell) == [0, 1, 0, 0]
    assert biases(LayerNormLSTMCell) == [0, 1, 0, 0]
    assert biases(LayerNormGRUCell) == [0, 0]


@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"),
    # Neighbours in bfloat16, whose mean there is none; in float32, squares that cancel.
    [("bfloat16", 64, 0.02), ("float32", 4096, 1e-5)],
)
@pytest.mark.parametrize("name", ["layer norm lstm", "layer norm gru"])
def test_layer_norm_takes_its_statistics_with_care(name, dtype, offset, tolerance):
    cell = VARIANTS[name][1](FEATURES, dtype=jnp.dtype(dtype))
    state = drawn(cell.initial_state((ROWS, INPUTS)), 7)
    shapes = jax.eval_shape(cell.init, jax.random.key(0), state, INPUT[:, 0])["params"]
    params, rng = drawn(shapes, 8), np.random.default_rng(9)

    # Through inputs of one 1 the sums are the kernel's entries.
    for kernels, key in ((params["input"], "kernel"), (params, "recurrent_kernel")):
        steps = rng.integers(0, 4, kernels[key].shape)
        kernels[key] = (offset + steps / 2).astype(np.float32)
    ones, hidden = (np.eye(ROWS, width, dtype=np.float32) for width in (INPUTS, FEATURES))
    state = state._replace(hidden=hidden) if isinstance(state, LSTMState) else hidden
    _, output = cell.apply({"params": params}, state, ones)
    _, expected = computed(name, cell, params, state, ones[:, None])
    np.testing.assert_allclose(output.astype(jnp.float32), expected[:, 0], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [{"peepholes": True}, {"projection": 2}, {"coupled": True}, {"update_dropout": 0.1}],
    ids=lambda options: next(iter(options)),
)
def test_only_the_plain_lstm_is_fused(options):
    assert LSTMCell(FEATURES).fusible
    cell = LSTMCell(FEATURES, **options)
    assert not cell.fusible
    state = cell.initial_state((ROWS, INPUTS))
    with pytest.raises(InputError, match="given an LSTMCell with options"):
        cell.fused(state, jnp.ones((ROWS, TIME, 4 * FEATURES)), None, False)


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (SimpleCell, {"activation": "gelu"}, "activation: given 'gelu', .* tanh, relu, identity"),
        (SimpleCell, {"activation": 3}, "activation: given 3"),
        (LSTMCell, {"projection": -1}, "projection: given -1"),
        (LSTMCell, {"projection": 2.5}, "projection: given 2.5"),
        (LSTMCell, {"features": 0}, "features: given 0, expected 1 or more"),
        (SimpleCell, {"features": "64"}, "features: given '64'"),
        (MGUCell, {"reset": "never"}, "reset: given 'never', expected one of after, before, none"),
    ],
)
def test_an_option_that_cannot_be_is_refused(made, options, message):
    with pytest.raises(InputError, match=message):
        made(**{"features": FEATURES, **options})


def test_a_named_activation_is_that_function():
    zero = np.zeros((ROWS, FEATURES), np.float32)
    params = drawn(initialised(SimpleCell), 6)
    for name, function in (("tanh", jnp.tanh), ("relu", nn.relu)):
        named, given = (
            np.asarray(
                SimpleCell(FEATURES, activation=each).apply({"params": params}, zero, INPUT[:, 0])
            )
            for each in (name, function)
        )
        np.testing.assert_array_equal(named, given)
        assert named.any()
