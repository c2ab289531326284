"""Conversion of weights to and from PyTorch, tested with its equations and with itself."""

import jax
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.interop import from_torch, to_torch
from rnnjax.layers import RNN, Bidirectional, Stack

from . import equations
from .layers import (
    CELLS,
    FEATURES,
    INPUT,
    INPUTS,
    LAYERS,
    LENGTHS,
    RESET_AFTER,
    TIME,
    assert_close,
    assert_same,
    make_layer,
    random_like,
    random_params,
    run,
)

GATES = {"simple": 1, "lstm": 4, "gru": 3}


def random_state_dict(cell, depth, bidirectional, seed=2, inputs=INPUTS):
    """Returns random weights under the names and in the shapes of PyTorch's documentation."""
    units = GATES[cell] * FEATURES
    shapes = {}
    for layer in range(depth):
        layer_inputs = inputs if layer == 0 else FEATURES * (1 + bidirectional)
        for suffix in ("", "_reverse")[: 1 + bidirectional]:
            shapes[f"weight_ih_l{layer}{suffix}"] = (units, layer_inputs)
            shapes[f"weight_hh_l{layer}{suffix}"] = (units, FEATURES)
            shapes[f"bias_ih_l{layer}{suffix}"] = (units,)
            shapes[f"bias_hh_l{layer}{suffix}"] = (units,)
    return random_like({name: np.empty(shape) for name, shape in shapes.items()}, seed)


def depth_and_direction(layer):
    return 1 + layer.startswith("two"), layer.endswith("bidirectional")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_outputs_and_states_equal_equations(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    state_dict = random_state_dict(cell, *depth_and_direction(layer))
    expected = equations.module(cell, state_dict, INPUT, LENGTHS)
    assert_close(run(rnnjax_layer, from_torch(rnnjax_layer, state_dict)), expected)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_exported_state_dict_computes_same_function(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    params = random_params(rnnjax_layer)
    exported = to_torch(rnnjax_layer, params)
    assert sorted(exported) == sorted(random_state_dict(cell, *depth_and_direction(layer)))
    assert_close(run(rnnjax_layer, params), equations.module(cell, exported, INPUT, LENGTHS))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_round_trip_preserves_bits(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    params = jax.tree.map(
        lambda leaf: np.where(leaf > 1, np.float32(-0.0), leaf), random_params(rnnjax_layer)
    )
    assert_same(from_torch(rnnjax_layer, to_torch(rnnjax_layer, params)), params)


@pytest.mark.parametrize("cell", RESET_AFTER)
def test_state_dict_round_trip_adds_biases(cell):
    rnnjax_layer = make_layer(cell, "bidirectional")
    state_dict = random_state_dict(cell, 1, True)
    restored = to_torch(rnnjax_layer, from_torch(rnnjax_layer, state_dict))
    expected = equations.module(cell, state_dict, INPUT, LENGTHS)
    actual = equations.module(cell, restored, INPUT, LENGTHS)
    assert_close(actual, expected)
    if cell == "gru":
        assert_same(restored, state_dict)
    else:
        assert not restored["bias_hh_l0"].any()
        assert not np.array_equal(restored["bias_ih_l0"], state_dict["bias_ih_l0"])


def test_simple_cell_with_relu_equals_equations():
    rnnjax_layer = RNN(SimpleCell(FEATURES, activation=jax.nn.relu))
    state_dict = random_state_dict("simple", 1, False)
    expected = equations.module("relu", state_dict, INPUT, LENGTHS)
    assert_close(run(rnnjax_layer, from_torch(rnnjax_layer, state_dict)), expected)


def make_projected(size):
    """Returns a layer with projected outputs, and a random state_dict for it."""
    cell = LSTMCell(FEATURES, projection=size)
    state_dict = random_state_dict("lstm", 2, True)
    for name in list(state_dict):
        if name.startswith("weight_hh"):
            state_dict[name] = state_dict[name][:, :size]
            state_dict[name.replace("hh", "hr")] = random_like(
                np.empty((size, FEATURES)), len(name)
            )
        elif name.startswith("weight_ih_l1"):
            state_dict[name] = state_dict[name][:, : 2 * size]
    return Stack((Bidirectional(cell), Bidirectional(cell.clone()))), state_dict


def test_projected_outputs_equal_equations():
    rnnjax_layer, state_dict = make_projected(2)
    params = from_torch(rnnjax_layer, state_dict)
    assert_close(run(rnnjax_layer, params), equations.module("lstm", state_dict, INPUT, LENGTHS))
    assert_same(from_torch(rnnjax_layer, to_torch(rnnjax_layer, params)), params)


def swap_gates(array, first, second, gates):
    parts = np.split(array, gates)
    parts[first], parts[second] = parts[second], parts[first]
    return np.concatenate(parts)


def swap_arrays(state_dict, first, second):
    """Swaps the arrays of two parts of names."""
    names = {
        name: name.replace(first, "?").replace(second, first).replace("?", second)
        for name in state_dict
    }
    return {name: state_dict[names[name]] for name in state_dict}


MISTAKES = {
    "swapped kernels": lambda weights, gates: swap_arrays(weights, "weight_ih", "weight_hh"),
    "one kernel transposed": lambda weights, gates: {
        **weights,
        "weight_hh_l0": np.concatenate(
            [part.T for part in np.split(weights["weight_hh_l0"], gates)]
        ),
    },
    "a lost bias": lambda weights, gates: {**weights, "bias_hh_l0": 0 * weights["bias_hh_l0"]},
    "the other direction": lambda weights, gates: {
        name: weights[name[:-8] if name.endswith("_reverse") else f"{name}_reverse"]
        for name in weights
    },
    **{
        f"gates {first} and {second}": lambda weights, gates, first=first, second=second: {
            name: swap_gates(array, first, second, gates) for name, array in weights.items()
        }
        for first, second in [(0, 1), (1, 2), (2, 3), (0, 3)]
    },
}
CASES = [
    (cell, mistake)
    for cell in RESET_AFTER
    for mistake in MISTAKES
    if not mistake.startswith("gates") or int(mistake[-1]) < GATES[cell]
]


@pytest.mark.parametrize(("cell", "mistake"), CASES)
def test_mistake_in_weights_changes_results(cell, mistake):
    """With as many inputs as features, no mistake shows in a shape."""
    rnnjax_layer = make_layer(cell, "bidirectional")
    inputs = np.concatenate([INPUT, INPUT[:, ::-1, :1]], axis=-1)
    state_dict = random_state_dict(cell, 1, True, inputs=FEATURES)
    expected = equations.module(cell, state_dict, inputs, LENGTHS)
    assert_close(run(rnnjax_layer, from_torch(rnnjax_layer, state_dict), inputs), expected)
    wrong = from_torch(rnnjax_layer, MISTAKES[mistake](state_dict, GATES[cell]))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(rnnjax_layer, wrong, inputs), expected)


def test_swapped_states_change_results():
    rnnjax_layer = make_layer("lstm", "single")
    state_dict = random_state_dict("lstm", 1, False)
    outputs, hidden, cell = equations.module("lstm", state_dict, INPUT, LENGTHS)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(
            run(rnnjax_layer, from_torch(rnnjax_layer, state_dict)), [outputs, cell, hidden]
        )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (RNN(CELLS["gru, reset before"]()), r"reset_after=False\).*expected reset_after=True"),
        (RNN(CELLS["lstm"](), reverse=True), "reads forward or both ways"),
        (RNN(SimpleCell(FEATURES, activation="identity")), "tanh and relu"),
        (Stack([RNN(LSTMCell(4)), RNN(LSTMCell(5))]), "differ in cell, features or directions"),
        (Stack([RNN(LSTMCell(4)), Bidirectional(LSTMCell(4))]), "differ in cell, features or dir"),
        (Stack([RNN(LSTMCell(4)), RNN(SimpleCell(4))]), "differ in cell, features or directions"),
        (Stack([Bidirectional(LSTMCell(4), "sum"), Bidirectional(LSTMCell(4))]), "than 'concat'"),
    ],
)
def test_layer_without_counterpart_in_pytorch_raises(layer, message):
    with pytest.raises(InputError, match=message):
        to_torch(layer, random_params(layer))
    with pytest.raises(InputError, match=message):
        from_torch(layer, {})


def test_merge_of_last_layer_is_ignored():
    rnnjax_layer = Stack([Bidirectional(LSTMCell(4)), Bidirectional(LSTMCell(4), merge="sum")])
    params = random_params(rnnjax_layer)
    assert_same(from_torch(rnnjax_layer, to_torch(rnnjax_layer, params)), params)


def make_module(torch, cell, depth, bidirectional, **options):
    module = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    return module(INPUTS, FEATURES, depth, batch_first=True, bidirectional=bidirectional, **options)


def run_packed(torch, module):
    """Returns the results of PyTorch for the ragged batch, in the order of `layers.run`."""
    sequences = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(INPUT), torch.from_numpy(LENGTHS), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        outputs, final = module(sequences)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
        outputs, batch_first=True, total_length=TIME
    )
    parts = zip(*final, strict=True) if isinstance(final, tuple) else [[h] for h in final]
    return [outputs.numpy(), *(part.numpy() for group in parts for part in group)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_outputs_and_states_equal_pytorch(cell, layer):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = make_module(torch, cell, *depth_and_direction(layer))
    rnnjax_layer = make_layer(cell, layer)
    expected = run_packed(torch, module)
    state_dict = module.state_dict()
    assert_close(equations.module(cell, state_dict, INPUT, LENGTHS), expected)
    assert_close(run(rnnjax_layer, from_torch(rnnjax_layer, state_dict)), expected)
    params = random_params(rnnjax_layer)
    tensors = {
        name: torch.from_numpy(array) for name, array in to_torch(rnnjax_layer, params).items()
    }
    module.load_state_dict(tensors)
    assert_close(run(rnnjax_layer, params), run_packed(torch, module))


def test_projected_outputs_equal_pytorch():
    torch = pytest.importorskip("torch")
    module = make_module(torch, "lstm", 2, True, proj_size=2)
    rnnjax_layer, _ = make_projected(2)
    expected = run_packed(torch, module)
    assert_close(equations.module("lstm", module.state_dict(), INPUT, LENGTHS), expected)
    assert_close(run(rnnjax_layer, from_torch(rnnjax_layer, module.state_dict())), expected)


class Tensor:
    """A stand-in for a PyTorch tensor in bfloat16, which NumPy cannot read."""

    def __init__(self, array, readable=False):
        self.array, self.readable = array, readable

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return Tensor(self.array, readable=True)

    def __array__(self, dtype=None, copy=None):
        if not self.readable:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


def test_bfloat16_tensors_are_converted():
    layer = RNN(LSTMCell(2))
    arrays = {
        "weight_ih_l0": np.arange(24, dtype=np.float32).reshape(8, 3),
        "weight_hh_l0": np.arange(16, dtype=np.float32).reshape(8, 2),
        "bias_ih_l0": np.arange(8, dtype=np.float32),
        "bias_hh_l0": np.zeros(8, np.float32),
    }
    expected = from_torch(layer, arrays)
    params = from_torch(layer, {name: Tensor(array) for name, array in arrays.items()})
    jax.tree.map(np.testing.assert_array_equal, params, expected)
