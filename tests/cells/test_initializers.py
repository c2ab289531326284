"""Initializers: the distributions and the structure of each library."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from scipy import stats

from rnnjax.cells import (
    LIBRARIES,
    GRUCell,
    LSTMCell,
    SimpleCell,
    init_like,
    per_gate,
    symmetric_uniform,
)
from rnnjax.errors import InputError
from rnnjax.layers import RNN

INPUTS, FEATURES = 40, 64
CELLS = {"simple": SimpleCell, "lstm": LSTMCell, "gru": GRUCell}
GATES = {"simple": 1, "lstm": 4, "gru": 3}
FORGET = np.repeat([0.0, 1.0, 0.0, 0.0], FEATURES)


@pytest.fixture(autouse=True, scope="module")
def skip_compiler_optimizations() -> Iterator[None]:
    """Disables compiler optimisations: each program here runs once."""
    previous = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", previous)


def initial_params(cell, inputs=INPUTS):
    """Returns a cell's new parameters in NumPy arrays."""
    init = jax.jit(functools.partial(cell.init, method="project"))
    return jax.tree.map(np.asarray, init(jax.random.key(0), jnp.ones((1, inputs)))["params"])


@functools.cache
def init_like_library(name, cell) -> Any:
    """Returns the initial parameters of a cell by the scheme of a library."""
    return initial_params(init_like(CELLS[cell](FEATURES), name, inputs=INPUTS))


def is_not_rejected(test: Any) -> bool:
    """Returns whether a test does not reject; keys are fixed, so the outcome is deterministic."""
    return test.pvalue > 1e-3


def assert_drawn_from(distribution, values):
    """Fails unless values are a likely sample of a distribution, and of its standard deviation."""
    values = np.ravel(values)
    assert is_not_rejected(stats.kstest(values, distribution.cdf))
    excess = float(distribution.stats("k"))
    error = np.sqrt((excess + 2) / (4 * values.size))  # relative, of a standard deviation
    assert abs(values.std() / distribution.std() - 1) < 4 * error
    low, high = distribution.support()
    assert low <= values.min()
    assert values.max() <= high


def assert_same_distribution(first, second):
    """Fails unless two samples are likely to have the same distribution."""
    assert is_not_rejected(stats.ks_2samp(np.ravel(first), np.ravel(second)))


def is_orthogonal(kernel):
    return np.allclose(kernel @ kernel.T, np.eye(len(kernel)), atol=1e-5)


def gates_of(kernel, cell):
    return np.split(kernel, GATES[cell], axis=-1)


@pytest.mark.parametrize("cell", CELLS)
def test_default_init_is_that_of_keras(cell):
    params = initial_params(CELLS[cell](FEATURES))
    for first, second in zip(
        *map(jax.tree.leaves, (init_like_library("keras", cell), params)), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize("cell", CELLS)
def test_keras_init_matches_keras(cell):
    keras.utils.set_random_seed(0)
    kind = {"simple": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    layer = kind[cell](FEATURES)
    layer.build((1, 2, INPUTS))
    kernel, recurrent_kernel, bias = layer.get_weights()
    params = init_like_library("keras", cell)
    bound = np.sqrt(6 / sum(kernel.shape))
    for sample in (kernel, params["input"]["kernel"]):
        assert_drawn_from(stats.uniform(-bound, 2 * bound), sample)
    for sample in (recurrent_kernel, params["recurrent_kernel"]):
        assert is_orthogonal(sample)
    assert_same_distribution(recurrent_kernel, params["recurrent_kernel"])
    biases = [params["input"]["bias"], *([params["recurrent_bias"]] if cell == "gru" else [])]
    np.testing.assert_array_equal(np.stack(biases) if cell == "gru" else biases[0], bias)
    assert bias.any() == (cell == "lstm")


@pytest.mark.parametrize("cell", CELLS)
def test_torch_init_is_uniform_by_features(cell):
    params = init_like_library("torch", cell)
    bound = 1 / np.sqrt(FEATURES)
    single = stats.uniform(-bound, 2 * bound)
    summed = stats.triang(0.5, -2 * bound, 4 * bound)  # the sum of two draws
    assert_drawn_from(single, params["input"]["kernel"])
    assert_drawn_from(single, params["recurrent_kernel"])
    assert_drawn_from(single if cell == "gru" else summed, params["input"]["bias"])
    if cell == "gru":
        assert_drawn_from(single, params["recurrent_bias"])
        assert abs(np.corrcoef(params["recurrent_bias"], params["input"]["bias"])[0, 1]) < 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_torch_init_matches_pytorch(cell):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    kind = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    library_params = {k: v.numpy() for k, v in kind(INPUTS, FEATURES).state_dict().items()}
    params = init_like_library("torch", cell)
    assert_same_distribution(params["input"]["kernel"], library_params["weight_ih_l0"])
    assert_same_distribution(params["recurrent_kernel"], library_params["weight_hh_l0"])
    if cell == "gru":
        assert_same_distribution(params["recurrent_bias"], library_params["bias_hh_l0"])
        assert_same_distribution(params["input"]["bias"], library_params["bias_ih_l0"])
    else:
        assert_same_distribution(
            params["input"]["bias"], library_params["bias_ih_l0"] + library_params["bias_hh_l0"]
        )


@pytest.mark.parametrize("cell", CELLS)
def test_flax_init_matches_flax(cell):
    kind = {"simple": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell]
    layer = nn.RNN(kind(FEATURES))
    library_params = jax.jit(layer.init)(jax.random.key(1), jnp.ones((1, 2, INPUTS)))["params"][
        "cell"
    ]
    params = init_like_library("flax", cell)
    names = {"simple": [""], "lstm": [*"ifgo"], "gru": [*"rzn"]}[cell]
    kernels = [library_params[f"i{name}"]["kernel"] for name in names]
    recurrent_kernels = [library_params[f"h{name}"]["kernel"] for name in names]
    assert_same_distribution(params["input"]["kernel"], kernels)
    assert_same_distribution(params["recurrent_kernel"], recurrent_kernels)
    for kernel in (*recurrent_kernels, *gates_of(params["recurrent_kernel"], cell)):
        assert is_orthogonal(np.asarray(kernel))
    biases = [gate["bias"] for gate in library_params.values() if "bias" in gate]
    biases += [params["input"]["bias"], params.get("recurrent_bias", np.zeros(1))]
    assert not np.concatenate(biases).any()


def truncated_normal(scale):
    """Returns the normal distribution truncated at two standard deviations."""
    return stats.truncnorm(-2, 2, 0, scale)


def test_flax_input_kernel_scales_with_fan_in():
    for cell in CELLS:
        scale = 1 / np.sqrt(INPUTS) / truncated_normal(1).std()
        assert_drawn_from(
            truncated_normal(scale), init_like_library("flax", cell)["input"]["kernel"]
        )


@pytest.mark.parametrize("cell", CELLS)
def test_haiku_init_scales_with_fan_in(cell):
    """An LSTM counts the rows of both kernels; only a GRU corrects for the truncation."""
    params = init_like_library("haiku", cell)
    for kernel in (params["input"]["kernel"], params["recurrent_kernel"]):
        rows = INPUTS + FEATURES if cell == "lstm" else len(kernel)
        scale = 1 / np.sqrt(rows) / (truncated_normal(1).std() if cell == "gru" else 1)
        assert_drawn_from(truncated_normal(scale), kernel)
    expected = FORGET if cell == "lstm" else np.zeros(GATES[cell] * FEATURES)
    np.testing.assert_array_equal(params["input"]["bias"], expected)
    assert not params.get("recurrent_bias", np.zeros(1)).any()


def test_only_flax_makes_each_gate_orthogonal():
    for name in LIBRARIES:
        kernel = init_like_library(name, "lstm")["recurrent_kernel"]
        assert is_orthogonal(kernel) == (name == "keras")
        is_gate_orthogonal = [is_orthogonal(gate) for gate in gates_of(kernel, "lstm")]
        assert is_gate_orthogonal == [name == "flax"] * 4


@pytest.mark.parametrize("name", LIBRARIES)
def test_gates_start_with_distinct_kernels(name):
    for cell in ("lstm", "gru"):
        for kernel in (
            init_like_library(name, cell)["input"]["kernel"],
            init_like_library(name, cell)["recurrent_kernel"],
        ):
            gates = [gate.tobytes() for gate in gates_of(kernel, cell)]
            assert len(set(gates)) == GATES[cell]


@pytest.mark.parametrize("name", LIBRARIES)
def test_init_like_changes_only_initializers(name):
    cell_before = GRUCell(6, dtype=jnp.bfloat16, reset_after=False, update_dropout=0.2)
    cell = init_like(cell_before, name)
    assert isinstance(cell, GRUCell)
    assert (cell.features, cell.dtype, cell.reset_after) == (6, jnp.bfloat16, False)
    assert cell.update_dropout == 0.2
    names = ("kernel_init", "recurrent_init", "bias_init", "recurrent_bias_init")
    zeros: dict[str, Any] = dict.fromkeys(names, nn.initializers.zeros)
    assert cell.clone(**zeros) == cell_before.clone(**zeros)


def test_init_like_keeps_lstm_options():
    coupled = initial_params(init_like(LSTMCell(FEATURES, coupled=True), "flax"))
    gates = np.split(coupled["recurrent_kernel"], 3, axis=-1)
    assert [is_orthogonal(gate) for gate in gates] == [True] * 3
    bound = 1 / np.sqrt(FEATURES)
    projected = initial_params(init_like(LSTMCell(FEATURES, projection=9), "torch"))
    for name in ("recurrent_kernel", "projection_kernel"):
        assert_drawn_from(stats.uniform(-bound, 2 * bound), projected[name])
    with_haiku = initial_params(init_like(LSTMCell(FEATURES, projection=9), "haiku", inputs=INPUTS))
    for kernel in (with_haiku["input"]["kernel"], with_haiku["recurrent_kernel"]):
        assert_drawn_from(truncated_normal(1 / np.sqrt(INPUTS + 9)), kernel)


class Reader(nn.Module):
    """A network that makes its cell in a compact method."""

    @nn.compact
    def __call__(self, inputs):
        """Returns the outputs."""
        return RNN(init_like(LSTMCell(3), "torch"))(inputs)[1]


def test_init_like_works_inside_a_module():
    shapes = jax.eval_shape(Reader().init, jax.random.key(0), jnp.ones((1, 2, 3)))["params"]
    assert set(shapes) == {"RNN_0"}
    assert set(shapes["RNN_0"]) == {"cell"}


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("theano", LSTMCell(4), "given 'theano', expected one of keras, torch, flax, haiku"),
        (
            "torch",
            nn.LSTMCell(4),
            r"^init_like: given LSTMCell of flax.*SimpleCell\(64\), LSTM",
        ),
        ("torch", RNN(LSTMCell(4)), r"given RNN of rnnjax.*SimpleCell\(64\), LSTMCell\(64\), GRU"),
        ("torch", LSTMCell, r"the class LSTMCell.*SimpleCell\(64\), LSTMCell\(64\), GRUCell\(64\)"),
        ("haiku", LSTMCell(4), r"without inputs.*expected inputs=\.\.\."),
    ],
)
def test_init_like_invalid_arguments_raise(name, cell, message):
    with pytest.raises(InputError, match=message):
        init_like(cell, name)


def test_wrong_number_of_inputs_raises_at_init():
    cell = init_like(LSTMCell(4), "haiku", inputs=5)
    initial_params(cell, inputs=5)
    with pytest.raises(InputError, match="given inputs=5, and the cell reads 6; expected inputs=6"):
        initial_params(cell, inputs=6)


def test_per_gate_initializes_each_gate():
    init = per_gate(nn.initializers.xavier_uniform(), 4)
    kernel = np.asarray(init(jax.random.key(0), (INPUTS, 4 * FEATURES), jnp.float32))
    bound = np.sqrt(6 / (INPUTS + FEATURES))
    assert_drawn_from(stats.uniform(-bound, 2 * bound), kernel)
    assert init(jax.random.key(0), (3, 8), jnp.bfloat16).dtype == jnp.bfloat16
    with pytest.raises(InputError, match=r"shape \(3, 9\), whose last axis is not 4 gates"):
        init(jax.random.key(0), (3, 9))


def test_symmetric_uniform_distribution():
    values = np.asarray(symmetric_uniform(0.3)(jax.random.key(0), (100, 100)))
    assert_drawn_from(stats.uniform(-0.3, 0.6), values)
