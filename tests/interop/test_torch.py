"""Weights to and from PyTorch: against its documented equations, and itself where installed."""

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
    drawn,
    make,
    params_of,
    run,
)

GATES = {"simple": 1, "lstm": 4, "gru": 3}


def state_dict_of(cell, depth, both, seed=2, inputs=INPUTS):
    """Returns random weights under the names and in the shapes of PyTorch's documentation."""
    units = GATES[cell] * FEATURES
    shapes = {}
    for layer in range(depth):
        reads = inputs if layer == 0 else FEATURES * (1 + both)
        for end in ("", "_reverse")[: 1 + both]:
            shapes[f"weight_ih_l{layer}{end}"] = (units, reads)
            shapes[f"weight_hh_l{layer}{end}"] = (units, FEATURES)
            shapes[f"bias_ih_l{layer}{end}"] = (units,)
            shapes[f"bias_hh_l{layer}{end}"] = (units,)
    return drawn({name: np.empty(shape) for name, shape in shapes.items()}, seed)


def depth_and_both(layer):
    return 1 + layer.startswith("two"), layer.endswith("both")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_outputs_and_states_are_those_of_the_equations(cell, layer):
    ours = make(cell, layer)
    state_dict = state_dict_of(cell, *depth_and_both(layer))
    expected = equations.module(cell, state_dict, INPUT, LENGTHS)
    assert_close(run(ours, from_torch(ours, state_dict)), expected)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_what_goes_to_pytorch_is_the_same_function_there(cell, layer):
    ours = make(cell, layer)
    params = params_of(ours)
    given = to_torch(ours, params)
    assert sorted(given) == sorted(state_dict_of(cell, *depth_and_both(layer)))
    assert_close(run(ours, params), equations.module(cell, given, INPUT, LENGTHS))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_ours_come_back_from_pytorch_bit_for_bit(cell, layer):
    ours = make(cell, layer)
    params = jax.tree.map(lambda leaf: np.where(leaf > 1, np.float32(-0.0), leaf), params_of(ours))
    assert_same(from_torch(ours, to_torch(ours, params)), params)


@pytest.mark.parametrize("cell", RESET_AFTER)
def test_theirs_come_back_as_the_same_function_with_one_bias(cell):
    ours = make(cell, "both")
    state_dict = state_dict_of(cell, 1, True)
    back = to_torch(ours, from_torch(ours, state_dict))
    expected = equations.module(cell, state_dict, INPUT, LENGTHS)
    actual = equations.module(cell, back, INPUT, LENGTHS)
    assert_close(actual, expected)
    if cell == "gru":
        assert_same(back, state_dict)
    else:
        assert not back["bias_hh_l0"].any()
        assert not np.array_equal(back["bias_ih_l0"], state_dict["bias_ih_l0"])


def test_a_simple_cell_may_have_relu():
    ours = RNN(SimpleCell(FEATURES, activation=jax.nn.relu))
    state_dict = state_dict_of("simple", 1, False)
    expected = equations.module("relu", state_dict, INPUT, LENGTHS)
    assert_close(run(ours, from_torch(ours, state_dict)), expected)


def projected(size):
    """Returns a layer whose outputs are projected, and its random weights in PyTorch's names."""
    cell = LSTMCell(FEATURES, projection=size)
    state_dict = state_dict_of("lstm", 2, True)
    for name in list(state_dict):
        if name.startswith("weight_hh"):
            state_dict[name] = state_dict[name][:, :size]
            state_dict[name.replace("hh", "hr")] = drawn(np.empty((size, FEATURES)), len(name))
        elif name.startswith("weight_ih_l1"):
            state_dict[name] = state_dict[name][:, : 2 * size]
    return Stack((Bidirectional(cell), Bidirectional(cell.clone()))), state_dict


def test_projected_outputs_are_those_of_the_equations():
    ours, state_dict = projected(2)
    params = from_torch(ours, state_dict)
    assert_close(run(ours, params), equations.module("lstm", state_dict, INPUT, LENGTHS))
    assert_same(from_torch(ours, to_torch(ours, params)), params)


def swapped(array, one, other, gates):
    parts = np.split(array, gates)
    parts[one], parts[other] = parts[other], parts[one]
    return np.concatenate(parts)


def exchanged(state_dict, one, other):
    """Returns a state_dict with one part of the names, and so its arrays, in another's place."""
    names = {
        name: name.replace(one, "?").replace(other, one).replace("?", other) for name in state_dict
    }
    return {name: state_dict[names[name]] for name in state_dict}


MISTAKES = {
    "input and recurrent kernels": lambda given, gates: exchanged(given, "weight_ih", "weight_hh"),
    "one kernel transposed": lambda given, gates: {
        **given,
        "weight_hh_l0": np.concatenate([part.T for part in np.split(given["weight_hh_l0"], gates)]),
    },
    "a lost bias": lambda given, gates: {**given, "bias_hh_l0": 0 * given["bias_hh_l0"]},
    "the other direction": lambda given, gates: {
        name: given[name[:-8] if name.endswith("_reverse") else f"{name}_reverse"] for name in given
    },
    **{
        f"gates {one} and {other}": lambda given, gates, one=one, other=other: {
            name: swapped(array, one, other, gates) for name, array in given.items()
        }
        for one, other in [(0, 1), (1, 2), (2, 3), (0, 3)]
    },
}
CASES = [
    (cell, mistake)
    for cell in RESET_AFTER
    for mistake in MISTAKES
    if not mistake.startswith("gates") or int(mistake[-1]) < GATES[cell]
]


@pytest.mark.parametrize(("cell", "mistake"), CASES)
def test_a_mistake_in_the_weights_is_seen(cell, mistake):
    """Inputs as many as features: nothing is refused by its shape."""
    ours = make(cell, "both")
    inputs = np.concatenate([INPUT, INPUT[:, ::-1, :1]], axis=-1)
    state_dict = state_dict_of(cell, 1, True, inputs=FEATURES)
    expected = equations.module(cell, state_dict, inputs, LENGTHS)
    assert_close(run(ours, from_torch(ours, state_dict), inputs), expected)
    wrong = from_torch(ours, MISTAKES[mistake](state_dict, GATES[cell]))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(ours, wrong, inputs), expected)


def test_swapped_states_are_seen():
    ours = make("lstm", "one")
    state_dict = state_dict_of("lstm", 1, False)
    outputs, hidden, cell = equations.module("lstm", state_dict, INPUT, LENGTHS)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(ours, from_torch(ours, state_dict)), [outputs, cell, hidden])


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
def test_what_pytorch_has_not_is_refused_both_ways(layer, message):
    with pytest.raises(InputError, match=message):
        to_torch(layer, params_of(layer))
    with pytest.raises(InputError, match=message):
        from_torch(layer, {})


def test_the_merge_of_the_last_layer_is_no_matter_of_weights():
    ours = Stack([Bidirectional(LSTMCell(4)), Bidirectional(LSTMCell(4), merge="sum")])
    params = params_of(ours)
    assert_same(from_torch(ours, to_torch(ours, params)), params)


def in_pytorch(torch, cell, depth, both, **options):
    module = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    return module(INPUTS, FEATURES, depth, batch_first=True, bidirectional=both, **options)


def packed(torch, module):
    """Returns what PyTorch computes for the ragged batch, in the order of `layers.run`."""
    sequences = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(INPUT), torch.from_numpy(LENGTHS), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        outputs, last = module(sequences)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
        outputs, batch_first=True, total_length=TIME
    )
    parts = zip(*last, strict=True) if isinstance(last, tuple) else [[h] for h in last]
    return [outputs.numpy(), *(part.numpy() for run in parts for part in run)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_outputs_and_states_are_those_of_pytorch(cell, layer):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = in_pytorch(torch, cell, *depth_and_both(layer))
    ours = make(cell, layer)
    expected = packed(torch, module)
    state_dict = module.state_dict()
    assert_close(equations.module(cell, state_dict, INPUT, LENGTHS), expected)
    assert_close(run(ours, from_torch(ours, state_dict)), expected)
    params = params_of(ours)
    given = {name: torch.from_numpy(array) for name, array in to_torch(ours, params).items()}
    module.load_state_dict(given)
    assert_close(run(ours, params), packed(torch, module))


def test_projected_outputs_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    module = in_pytorch(torch, "lstm", 2, True, proj_size=2)
    ours, _ = projected(2)
    expected = packed(torch, module)
    assert_close(equations.module("lstm", module.state_dict(), INPUT, LENGTHS), expected)
    assert_close(run(ours, from_torch(ours, module.state_dict())), expected)


class Tensor:
    """A tensor of PyTorch in bfloat16, which NumPy cannot read, with a gradient."""

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


def test_tensors_in_bfloat16_are_read():
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
