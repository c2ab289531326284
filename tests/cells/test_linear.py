"""The cells whose state is elementwise: values, engines, how they begin, dtypes."""

import functools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.linalg import block_diag
from scipy.special import expit

from rnnjax.cells import LinearCell
from rnnjax.cells.indrnn import IndRNNCell
from rnnjax.cells.lru import LRUCell
from rnnjax.cells.min_gru import MinGRUCell
from rnnjax.cells.min_lstm import MinLSTMCell
from rnnjax.cells.qrnn import QRNNCell, QRNNState
from rnnjax.cells.rglru import RGLRUCell
from rnnjax.cells.sru import SRUCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, available_engines

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 4
RAGGED = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "...####", "#.##.#.", ".......")
    ]
)

# The equations of the papers, one step of one row, in NumPy. p are the parameters.


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def parts(units, count):
    return np.split(units, count, axis=-1)


def above_zero(x):
    return np.where(x >= 0, x + 0.5, expit(x))


def indrnn(p, x, h, f):
    h = f(dense(p["input"], x) + p["recurrent_kernel"] * h)
    return h, h


def sru(p, x, c, alpha):
    to_f, to_r, new = parts(dense(p["input"], x), 3)
    v, b = parts(p["recurrent_kernel"], 2), parts(p["bias"], 2)
    f, r = expit(to_f + v[0] * c + b[0]), expit(to_r + v[1] * c + b[1])
    c = f * c + (1 - f) * new
    carried = dense(p["highway"], x) if "highway" in p else x
    return c, r * c + (1 - r) * alpha * carried


def qrnn(p, x, state, pooling):
    c, previous = state if "previous" in p else (state, 0)
    z, *gates = parts(dense(p["input"], x) + previous, len(pooling) + 1)
    gates = [expit(gate) for gate in gates]
    f = gates[pooling.index("f")]
    i = gates[0] if pooling == "ifo" else 1 - f
    c = f * c + i * np.tanh(z)
    h = c if pooling == "f" else gates[-1] * c
    return QRNNState(c, dense(p["previous"], x)) if "previous" in p else c, h


def min_gru(p, x, h, g):
    z, new = parts(dense(p["input"], x), 2)
    h = (1 - expit(z)) * h + expit(z) * g(new)
    return h, h


def min_lstm(p, x, h, g):
    f, i, new = parts(dense(p["input"], x), 3)
    f, i = expit(f), expit(i)
    h = f / (f + i) * h + i / (f + i) * g(new)
    return h, h


def lru(p, x, s):
    modulus = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    (b_re, b_im), c = parts(p["input"]["kernel"], 2), np.split(p["output_kernel"], 2)
    s = modulus * s + np.exp(p["gamma_log"]) * (x @ (b_re + 1j * b_im))
    return s, (s @ (c[0] + 1j * c[1])).real + x @ p["skip"]["kernel"]


def rglru(p, x, h):
    x = dense(p["input"], x) if "input" in p else x
    b_r, b_i = parts(p["gate_bias"], 2)
    w_r, w_i = (block_diag(*kernels) for kernels in parts(p["gate_kernel"], 2))
    a = expit(p["decay"]) ** (8 * expit(x @ w_r + b_r))
    h = a * h + np.sqrt(1 - a**2) * expit(x @ w_i + b_i) * x
    return h, h


LESS = (1 + 2 * np.exp(-2.0)) ** 0.5
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "indrnn": (IndRNNCell(FEATURES), indrnn, {"f": functools.partial(np.maximum, 0)}),
    "indrnn, tanh": (IndRNNCell(FEATURES, activation="tanh"), indrnn, {"f": np.tanh}),
    "sru": (SRUCell(FEATURES), sru, {"alpha": 3**0.5}),
    "sru, as wide": (SRUCell(FEATURES, highway_bias=-2.0), sru, {"alpha": LESS}),
    "qrnn": (QRNNCell(FEATURES), qrnn, {"pooling": "fo"}),
    "qrnn, f": (QRNNCell(FEATURES, pooling="f"), qrnn, {"pooling": "f"}),
    "qrnn, f of one": (QRNNCell(FEATURES, window=1, pooling="f"), qrnn, {"pooling": "f"}),
    "qrnn, ifo": (QRNNCell(FEATURES, pooling="ifo"), qrnn, {"pooling": "ifo"}),
    "min gru": (MinGRUCell(FEATURES), min_gru, {"g": np.positive}),
    "min gru, positive": (MinGRUCell(FEATURES, positive=True), min_gru, {"g": above_zero}),
    "min lstm": (MinLSTMCell(FEATURES), min_lstm, {"g": np.positive}),
    "min lstm, positive": (MinLSTMCell(FEATURES, positive=True), min_lstm, {"g": above_zero}),
    "lru": (LRUCell(FEATURES), lru, {}),
    "lru, more state": (LRUCell(FEATURES, state_features=6), lru, {}),
    "rglru": (RGLRUCell(FEATURES), rglru, {}),
    "rglru, as wide": (RGLRUCell(FEATURES, blocks=2), rglru, {}),
}
EACH = ("indrnn", "sru", "qrnn", "min gru", "min lstm, positive", "lru, more state", "rglru")
"""A case of each cell."""
LINEAR = [name for name in EACH if isinstance(CASES[name][0], LinearCell)]


def inputs_of(name: str) -> int:
    return FEATURES if name.endswith("as wide") else INPUTS


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes, complex ones too."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        real, imaginary = 0.7 * rng.standard_normal((2, *leaf.shape))
        complex_ = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        return (real + 1j * imaginary if complex_ else real).astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


@functools.cache
def given(name: str) -> tuple[Any, np.ndarray, Any]:
    """Returns random parameters, inputs and initial states for a case."""
    cell = CASES[name][0]
    x = drawn(jax.ShapeDtypeStruct((ROWS, TIME, inputs_of(name)), jnp.float32), 1)
    returned, variables = jax.eval_shape(RNN(cell).init_with_output, jax.random.key(0), x)
    return drawn(variables, 2), x, drawn(returned[0], 3)


def scan(cell: Any, variables: Any, x: Any, state: Any) -> Any:
    """Returns the final states and the outputs over the ragged mask, in NumPy arrays."""
    apply = jax.jit(RNN(cell, engine="scan").apply)
    return jax.tree.map(np.asarray, apply(variables, x, RAGGED, state))


@functools.cache
def scanned(name: str) -> Any:
    return scan(CASES[name][0], *given(name))


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    compare = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(compare, actual, expected)


@pytest.mark.parametrize("name", CASES)
def test_states_and_outputs_are_those_of_the_paper(name):
    _, reference, options = CASES[name]
    variables, x, state = given(name)
    p = jax.tree.map(np.float64, variables["params"]["cell"])
    final, outputs = scanned(name)
    assert not outputs[~RAGGED].any()
    for row in range(ROWS):
        expected = jax.tree.map(lambda leaf, row=row: leaf[row], state)
        for time in np.flatnonzero(RAGGED[row]):
            expected, output = reference(p, np.float64(x[row, time]), expected, **options)
            assert_close(outputs[row, time], output, 3e-6)
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], final), expected, 3e-6)


def test_a_window_of_two_is_a_convolution_padded_with_zeros():
    variables, x, _ = given("qrnn")
    p = variables["params"]["cell"]
    before = np.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    z, f, o = parts(dense(p["input"], x) + before @ p["previous"]["kernel"], 3)
    c, expected = np.zeros((ROWS, FEATURES)), []
    for time in range(TIME):
        forget = expit(f[:, time])
        c = forget * c + (1 - forget) * np.tanh(z[:, time])
        expected.append(expit(o[:, time]) * c)
    _, outputs = jax.jit(RNN(QRNNCell(FEATURES)).apply)(variables, x)
    assert_close(outputs, np.stack(expected, axis=1), 3e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_the_associative_engine_is_the_scan(name):
    cell = CASES[name][0]
    assert available_engines(cell) == ("scan", "associative")
    variables, x, state = given(name)
    cotangents = [drawn(jax.eval_shape(lambda: scanned(name)), seed) for seed in (4, 5)]

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(engine):
        def both(variables, x, state):
            layers = [RNN(cell, reverse, engine=engine) for reverse in (False, True)]
            return [layer.apply(variables, x, RAGGED, state) for layer in layers]

        outputs, pull_back = jax.vjp(both, variables, x, state)
        return outputs, pull_back(cotangents)

    (outputs, pulled_back), expected = gradients("associative"), gradients("scan")
    assert_close((outputs, pulled_back), expected, 1e-5)
    for leaf in jax.tree.leaves(pulled_back):
        assert np.asarray(leaf).any()
    assert not np.asarray(pulled_back[1])[~RAGGED].any()


@pytest.mark.parametrize("name", LINEAR)
def test_coefficients_are_computed_in_the_dtype_of_the_state(name):
    cell = CASES[name][0].clone(dtype=jnp.bfloat16)
    variables, x, state = given(name)
    bound = cell.bind({"params": variables["params"]["cell"]})
    projected = bound.project(x)
    assert projected.dtype == jnp.bfloat16
    exact = bound.coefficients(projected.astype(jnp.float32))
    for one, other in zip(bound.coefficients(projected), exact, strict=True):
        assert (one.shape, one.dtype) == ((ROWS, TIME, *state.shape[1:]), state.dtype)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_the_docstring_counts_the_parameters(name):
    cell = CASES[name][0]
    sentence = re.search(r"Parameters: (.*?)\.(?: |$)", " ".join((cell.__doc__ or "").split()))
    assert sentence
    variables, _, _ = given(name)
    names = {field: getattr(cell, field) for field in cell.__dataclass_fields__}
    expected = eval(sentence[1], {**names, "inputs": inputs_of(name)})
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


@pytest.mark.parametrize("name", EACH)
def test_in_bfloat16_the_state_keeps_its_dtype(name):
    cell = CASES[name][0]
    state, outputs = scan(cell.clone(dtype=jnp.bfloat16), *given(name))
    exact_state, exact = scanned(name)
    assert outputs.dtype == jnp.bfloat16
    assert_close(np.float32(outputs), exact, 0.015 * abs(exact).max())
    for leaf, expected in zip(*map(jax.tree.leaves, (state, exact_state)), strict=True):
        assert leaf.dtype == (jnp.complex64 if isinstance(cell, LRUCell) else jnp.float32)
        assert_close(leaf, expected, 0.015 * abs(expected).max())
    # What is kept from step to step has more than eight bits.
    kept = (state.cell if isinstance(state, QRNNState) else state)[RAGGED.any(axis=1)].real
    assert not np.array_equal(kept, kept.astype(jnp.bfloat16).astype(np.float32))


def test_in_float64_the_state_is_complex128_and_the_derivatives_are_right():
    with jax.enable_x64(True):
        layer = RNN(LRUCell(2, param_dtype=jnp.float64))
        x = drawn(jax.ShapeDtypeStruct((2, 3, 3), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
        assert [leaf.dtype for leaf in returned] == [jnp.complex128, jnp.float64]
        mask = np.array([[True, False, True], [True, True, True]])
        run = jax.jit(lambda *given: layer.apply(given[0], given[1], mask, given[2]))
        given = drawn(variables, 2), x, drawn(returned[0], 3)
        check_grads(run, given, order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


def begun(cell: Any, inputs: int = 3) -> Any:
    """Returns the parameters with which a cell begins, in float64."""
    init = jax.jit(lambda key: cell.init(key, jnp.ones((1, inputs)), method="project"))
    return jax.tree.map(np.float64, init(jax.random.key(0))["params"])


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Compares the quantiles of many values with those of the uniform distribution."""
    assert values.min() >= low
    assert values.max() <= high
    expected = np.linspace(low, high, values.size)
    np.testing.assert_allclose(np.sort(values, axis=None), expected, atol=0.05 * (high - low))


def test_an_indrnn_begins_between_nothing_and_all_of_its_past():
    assert_uniform(begun(IndRNNCell(2000))["recurrent_kernel"], 0, 1)


def test_an_sru_begins_as_its_authors_say():
    p = begun(SRUCell(1000, highway_bias=-3.0), inputs=12)
    assert_uniform(p["input"]["kernel"], -0.5, 0.5)  # sqrt(3 / 12)
    assert_uniform(p["recurrent_kernel"], -(1.5**0.5), 1.5**0.5)
    assert p["bias"].tolist() == [0.0] * 1000 + [-3.0] * 1000


BARE: Any = dict.fromkeys(("kernel_init", "output_init", "skip_init"), nn.initializers.zeros)


@pytest.mark.parametrize("ring", [{}, {"r_min": 0.9, "r_max": 0.99, "max_phase": 0.6}])
def test_an_lru_begins_in_its_ring_and_normalised(ring):
    p = begun(LRUCell(1, state_features=3000, **ring, **BARE))
    square = np.exp(-2 * np.exp(p["nu_log"]))
    assert_uniform(square, ring.get("r_min", 0.0) ** 2, ring.get("r_max", 1.0) ** 2 + 1e-6)
    assert_uniform(np.exp(p["theta_log"]), 0, ring.get("max_phase", 2 * np.pi) + 1e-6)
    np.testing.assert_allclose(np.exp(2 * p["gamma_log"]), 1 - square, rtol=1e-3, atol=1e-7)


def test_an_lru_begins_with_the_variances_of_the_paper():
    p = begun(LRUCell(4, state_features=3000), inputs=50)
    b, c, d = p["input"]["kernel"], p["output_kernel"], p["skip"]["kernel"]
    for kernel, variance in ((b, 1 / 100), (c, 1 / 3000), (d, 1 / 50)):
        assert abs(kernel.var() / variance - 1) < 5 * (2 / kernel.size) ** 0.5
        assert abs(kernel.mean()) < 5 * (variance / kernel.size) ** 0.5


@pytest.mark.parametrize(("ring", "uniform"), [({}, 0.0), ({"r_min": 0.95}, 1 - 2.0**-24)])
def test_an_lru_begins_with_finite_numbers_whatever_is_drawn(ring, uniform, monkeypatch):
    def draw(key, shape, dtype, low, high):
        return jnp.full(shape, low + (high - low) * uniform, dtype)

    monkeypatch.setattr(jax.random, "uniform", draw)
    p = begun(LRUCell(4, **ring, **BARE))
    for name in ("nu_log", "theta_log", "gamma_log"):
        assert np.isfinite(p[name]).all()


def test_an_rglru_begins_with_a_long_memory():
    p = begun(RGLRUCell(2000, blocks=500), inputs=2000)
    assert_uniform(expit(p["decay"]) ** 8, 0.9, 0.999)
    assert abs(p["gate_kernel"].std() * 2 - 1) < 0.05  # a block has four inputs
    assert not p["gate_bias"].any()


def test_a_closed_gate_of_an_rglru_has_a_derivative():
    decay = 2.0
    p = {"gate_kernel": np.zeros((1, 1, 2), np.float32), "decay": np.full(1, decay, np.float32)}

    def new(gate):
        params = {**p, "gate_bias": jnp.stack([gate, 0.0 * gate])}
        return RGLRUCell(1).apply({"params": params}, jnp.zeros(1), jnp.ones(1))[0][0]

    gates = np.array([3.0, 0.0, -20.0, -60.0, -95.0, -300.0], np.float32)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(new)))(gates)
    r, rate = expit(np.float64(gates)), 8 * np.log1p(np.exp(-decay))
    roots = np.sqrt(-np.expm1(-2 * rate * r))
    expected = 0.5 * rate * np.exp(-2 * rate * r) * r * (1 - r) / roots
    # Below 1e-38 float32 underflows, and the root of that is the best there is.
    np.testing.assert_allclose(values, 0.5 * roots, rtol=2e-5, atol=1e-19)
    np.testing.assert_allclose(slopes, expected, rtol=2e-5, atol=1e-19)


def test_a_min_lstm_with_both_gates_closed_takes_the_mean():
    cell = MinLSTMCell(1)
    for gate in (-300.0, 300.0):
        params = {"input": {"kernel": jnp.zeros((1, 3)), "bias": jnp.array([gate, gate, 1.0])}}
        state, _ = cell.apply({"params": params}, jnp.full((1, 1), 3.0), jnp.ones((1, 1)))
        np.testing.assert_allclose(state, 2.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["min gru", "min lstm"])
def test_a_positive_cell_never_falls_below_zero(name):
    variables, x, state = given(name)
    for positive, lowest in ((False, -0.1), (True, 0)):
        layer = RNN(CASES[name][0].clone(positive=positive))
        outputs: Any = jax.jit(layer.apply)(variables, 5 * x, None, abs(state))[1]
        assert (outputs.min() > lowest) == positive


PARTS = {"indrnn": "", "min gru": "", "min lstm": "", "rglru": "", "sru": None, "lru": None}
PARTS |= {"qrnn": None, "qrnn, f": "cell", "qrnn, f of one": ""}


@pytest.mark.parametrize("name", PARTS)
def test_where_the_output_stands_in_the_state(name):
    part = CASES[name][0].output_part
    assert part == PARTS[name]
    if part is not None:
        state, outputs = scanned(name)
        assert_close((getattr(state, part) if part else state)[0], outputs[0, -1], 1e-6)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        (IndRNNCell, {"activation": "swish"}, "'swish', expected one of tanh, relu"),
        (QRNNCell, {"window": 3}, "window: given 3, expected one of 1, 2"),
        (QRNNCell, {"pooling": "o"}, "given 'o', expected one of f, fo, ifo"),
        (LRUCell, {"state_features": -1}, "state_features: given -1"),
        (LRUCell, {"r_min": 0.5, "r_max": 0.5}, "given 0.5 and 0.5, expected 0 <= r_min < r_max"),
        (LRUCell, {"r_max": 1.1}, "given 0.0 and 1.1"),
        (LRUCell, {"max_phase": 0.0}, "max_phase: given 0.0"),
        (RGLRUCell, {"blocks": 4}, "blocks: given 4, expected a divisor of the 6 features"),
    ],
)
def test_an_option_that_cannot_be_is_refused(cell, options, words):
    with pytest.raises(InputError) as caught:
        cell(6, **options)
    assert words in str(caught.value)
