"""How cells begin: the distributions and the structure of each library."""

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
def compiled_in_haste() -> Iterator[None]:
    """Leaves out the optimisations of the compiler: what is compiled here is run once."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def initialised(cell, inputs=INPUTS):
    """Returns a cell's new parameters in NumPy arrays."""
    init = jax.jit(functools.partial(cell.init, method="project"))
    return jax.tree.map(np.asarray, init(jax.random.key(0), jnp.ones((1, inputs)))["params"])


@functools.cache
def begun(name, cell) -> Any:
    """Returns the parameters with which a cell begins as in a library."""
    return initialised(init_like(CELLS[cell](FEATURES), name, inputs=INPUTS))


def likely(test: Any) -> bool:
    """Returns whether a test finds nothing wrong; the keys are fixed, and so is what it finds."""
    return test.pvalue > 1e-3


def assert_drawn_from(distribution, values):
    """Fails unless values are a likely sample of a distribution, and of its standard deviation."""
    values = np.ravel(values)
    assert likely(stats.kstest(values, distribution.cdf))
    excess = float(distribution.stats("k"))
    error = np.sqrt((excess + 2) / (4 * values.size))  # relative, of a standard deviation
    assert abs(values.std() / distribution.std() - 1) < 4 * error
    low, high = distribution.support()
    assert low <= values.min()
    assert values.max() <= high


def assert_alike(one, other):
    """Fails unless two samples are likely to be of one distribution."""
    assert likely(stats.ks_2samp(np.ravel(one), np.ravel(other)))


def is_orthogonal(kernel):
    return np.allclose(kernel @ kernel.T, np.eye(len(kernel)), atol=1e-5)


def gates_of(kernel, cell):
    return np.split(kernel, GATES[cell], axis=-1)


@pytest.mark.parametrize("cell", CELLS)
def test_keras_is_how_our_cells_begin(cell):
    ours = initialised(CELLS[cell](FEATURES))
    for one, other in zip(*map(jax.tree.leaves, (begun("keras", cell), ours)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize("cell", CELLS)
def test_keras_begins_as_keras(cell):
    keras.utils.set_random_seed(0)
    kind = {"simple": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    layer = kind[cell](FEATURES)
    layer.build((1, 2, INPUTS))
    kernel, recurrent_kernel, bias = layer.get_weights()
    ours = begun("keras", cell)
    bound = np.sqrt(6 / sum(kernel.shape))
    for sample in (kernel, ours["input"]["kernel"]):
        assert_drawn_from(stats.uniform(-bound, 2 * bound), sample)
    for sample in (recurrent_kernel, ours["recurrent_kernel"]):
        assert is_orthogonal(sample)
    assert_alike(recurrent_kernel, ours["recurrent_kernel"])
    biases = [ours["input"]["bias"], *([ours["recurrent_bias"]] if cell == "gru" else [])]
    np.testing.assert_array_equal(np.stack(biases) if cell == "gru" else biases[0], bias)
    assert bias.any() == (cell == "lstm")


@pytest.mark.parametrize("cell", CELLS)
def test_torch_draws_everything_in_the_bounds_of_its_features(cell):
    params = begun("torch", cell)
    bound = 1 / np.sqrt(FEATURES)
    one = stats.uniform(-bound, 2 * bound)
    two = stats.triang(0.5, -2 * bound, 4 * bound)  # the sum of two draws
    assert_drawn_from(one, params["input"]["kernel"])
    assert_drawn_from(one, params["recurrent_kernel"])
    assert_drawn_from(one if cell == "gru" else two, params["input"]["bias"])
    if cell == "gru":
        assert_drawn_from(one, params["recurrent_bias"])
        assert abs(np.corrcoef(params["recurrent_bias"], params["input"]["bias"])[0, 1]) < 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_torch_begins_as_pytorch(cell):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    kind = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    theirs = {k: v.numpy() for k, v in kind(INPUTS, FEATURES).state_dict().items()}
    params = begun("torch", cell)
    assert_alike(params["input"]["kernel"], theirs["weight_ih_l0"])
    assert_alike(params["recurrent_kernel"], theirs["weight_hh_l0"])
    if cell == "gru":
        assert_alike(params["recurrent_bias"], theirs["bias_hh_l0"])
        assert_alike(params["input"]["bias"], theirs["bias_ih_l0"])
    else:
        assert_alike(params["input"]["bias"], theirs["bias_ih_l0"] + theirs["bias_hh_l0"])


@pytest.mark.parametrize("cell", CELLS)
def test_flax_begins_as_flax(cell):
    kind = {"simple": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell]
    layer = nn.RNN(kind(FEATURES))
    theirs = jax.jit(layer.init)(jax.random.key(1), jnp.ones((1, 2, INPUTS)))["params"]["cell"]
    ours = begun("flax", cell)
    names = {"simple": [""], "lstm": [*"ifgo"], "gru": [*"rzn"]}[cell]
    kernels = [theirs[f"i{name}"]["kernel"] for name in names]
    recurrent_kernels = [theirs[f"h{name}"]["kernel"] for name in names]
    assert_alike(ours["input"]["kernel"], kernels)
    assert_alike(ours["recurrent_kernel"], recurrent_kernels)
    for kernel in (*recurrent_kernels, *gates_of(ours["recurrent_kernel"], cell)):
        assert is_orthogonal(np.asarray(kernel))
    biases = [gate["bias"] for gate in theirs.values() if "bias" in gate]
    biases += [ours["input"]["bias"], ours.get("recurrent_bias", np.zeros(1))]
    assert not np.concatenate(biases).any()


def cut_normal(scale):
    """The normal of a standard deviation, cut off at two of them."""
    return stats.truncnorm(-2, 2, 0, scale)


def test_flax_draws_the_input_kernel_by_its_rows():
    for cell in CELLS:
        scale = 1 / np.sqrt(INPUTS) / cut_normal(1).std()
        assert_drawn_from(cut_normal(scale), begun("flax", cell)["input"]["kernel"])


@pytest.mark.parametrize("cell", CELLS)
def test_haiku_draws_by_the_rows_that_its_cells_read(cell):
    """Those of both kernels for an LSTM; the deviation is made good for a GRU alone."""
    params = begun("haiku", cell)
    for kernel in (params["input"]["kernel"], params["recurrent_kernel"]):
        rows = INPUTS + FEATURES if cell == "lstm" else len(kernel)
        scale = 1 / np.sqrt(rows) / (cut_normal(1).std() if cell == "gru" else 1)
        assert_drawn_from(cut_normal(scale), kernel)
    expected = FORGET if cell == "lstm" else np.zeros(GATES[cell] * FEATURES)
    np.testing.assert_array_equal(params["input"]["bias"], expected)
    assert not params.get("recurrent_bias", np.zeros(1)).any()


def test_only_flax_draws_the_recurrent_kernel_gate_by_gate():
    for name in LIBRARIES:
        kernel = begun(name, "lstm")["recurrent_kernel"]
        assert is_orthogonal(kernel) == (name == "keras")
        each = [is_orthogonal(gate) for gate in gates_of(kernel, "lstm")]
        assert each == [name == "flax"] * 4


@pytest.mark.parametrize("name", LIBRARIES)
def test_no_two_gates_begin_alike(name):
    for cell in ("lstm", "gru"):
        for kernel in (begun(name, cell)["input"]["kernel"], begun(name, cell)["recurrent_kernel"]):
            gates = [gate.tobytes() for gate in gates_of(kernel, cell)]
            assert len(set(gates)) == GATES[cell]


@pytest.mark.parametrize("name", LIBRARIES)
def test_beginning_like_a_library_changes_initializers_alone(name):
    given = GRUCell(6, dtype=jnp.bfloat16, reset_after=False, update_dropout=0.2)
    cell = init_like(given, name)
    assert isinstance(cell, GRUCell)
    assert (cell.features, cell.dtype, cell.reset_after) == (6, jnp.bfloat16, False)
    assert cell.update_dropout == 0.2
    names = ("kernel_init", "recurrent_init", "bias_init", "recurrent_bias_init")
    zeros: dict[str, Any] = dict.fromkeys(names, nn.initializers.zeros)
    assert cell.clone(**zeros) == given.clone(**zeros)


def test_beginning_like_a_library_keeps_the_options_of_an_lstm():
    coupled = initialised(init_like(LSTMCell(FEATURES, coupled=True), "flax"))
    gates = np.split(coupled["recurrent_kernel"], 3, axis=-1)
    assert [is_orthogonal(gate) for gate in gates] == [True] * 3
    bound = 1 / np.sqrt(FEATURES)
    projected = initialised(init_like(LSTMCell(FEATURES, projection=9), "torch"))
    for name in ("recurrent_kernel", "projection_kernel"):
        assert_drawn_from(stats.uniform(-bound, 2 * bound), projected[name])
    joined = initialised(init_like(LSTMCell(FEATURES, projection=9), "haiku", inputs=INPUTS))
    for kernel in (joined["input"]["kernel"], joined["recurrent_kernel"]):
        assert_drawn_from(cut_normal(1 / np.sqrt(INPUTS + 9)), kernel)


class Reader(nn.Module):
    """A network that makes its cell where it uses it."""

    @nn.compact
    def __call__(self, inputs):
        """Returns the outputs."""
        return RNN(init_like(LSTMCell(3), "torch"))(inputs)[1]


def test_beginning_like_a_library_works_inside_a_network():
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
def test_what_cannot_begin_like_a_library_is_told_what_can(name, cell, message):
    with pytest.raises(InputError, match=message):
        init_like(cell, name)


def test_the_wrong_number_of_inputs_is_found_when_the_cell_begins():
    cell = init_like(LSTMCell(4), "haiku", inputs=5)
    initialised(cell, inputs=5)
    with pytest.raises(InputError, match="given inputs=5, and the cell reads 6; expected inputs=6"):
        initialised(cell, inputs=6)


def test_gates_are_drawn_one_by_one():
    init = per_gate(nn.initializers.xavier_uniform(), 4)
    kernel = np.asarray(init(jax.random.key(0), (INPUTS, 4 * FEATURES), jnp.float32))
    bound = np.sqrt(6 / (INPUTS + FEATURES))
    assert_drawn_from(stats.uniform(-bound, 2 * bound), kernel)
    assert init(jax.random.key(0), (3, 8), jnp.bfloat16).dtype == jnp.bfloat16
    with pytest.raises(InputError, match=r"shape \(3, 9\), whose last axis is not 4 gates"):
        init(jax.random.key(0), (3, 9))


def test_a_symmetric_uniform_is_one():
    drawn = np.asarray(symmetric_uniform(0.3)(jax.random.key(0), (100, 100)))
    assert_drawn_from(stats.uniform(-0.3, 0.6), drawn)
