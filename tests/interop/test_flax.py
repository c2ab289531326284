"""Conversion of weights to and from flax."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.core import freeze

from rnnjax.errors import InputError
from rnnjax.interop import from_flax, to_flax
from rnnjax.layers import RNN

from .layers import (
    CELLS,
    FEATURES,
    INPUT,
    LAYERS,
    LENGTHS,
    RESET_AFTER,
    assert_close,
    assert_same,
    make_layer,
    random_like,
    random_params,
    replace_leaf,
    run,
)

FLAX_CELLS = {
    "simple": nn.SimpleCell,
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "lstm, optimized": nn.OptimizedLSTMCell,
}


def make_flax_layer(cell, bidirectional):
    def rnn():
        return nn.RNN(FLAX_CELLS[cell](FEATURES))

    return nn.Bidirectional(rnn(), rnn()) if bidirectional else rnn()


def make_flax_layers(cell, layer):
    """Returns the model of flax, and its layers."""
    bidirectional = layer.endswith("bidirectional")
    if not layer.startswith("two"):
        model = make_flax_layer(cell, bidirectional)
        return model, [model]
    parts = [make_flax_layer(cell, bidirectional), make_flax_layer(cell, bidirectional)]
    return nn.Sequential(parts), parts


def random_flax_params(layer, seed=6):
    return random_like(jax.eval_shape(layer.init, jax.random.key(0), INPUT)["params"], seed)


@functools.partial(jax.jit, static_argnums=0)
def _apply(layer, params, inputs):
    return layer.apply({"params": params}, inputs, seq_lengths=LENGTHS, return_carry=True)


def run_flax(parts, params):
    """Returns the outputs and the final states: by layer, forward first, h before c."""
    outputs, finals = INPUT, []
    for index, part in enumerate(parts):
        part_params = params if len(parts) == 1 else params[f"layers_{index}"]
        # A Sequential passes the lengths to the first layer alone.
        carry, outputs = _apply(part, part_params, outputs)
        for state in carry if isinstance(part, nn.Bidirectional) else [carry]:
            finals += list(state)[::-1] if isinstance(state, tuple) else [state]  # (c, h)
    return [np.asarray(outputs), *map(np.asarray, finals)]


CASES = [
    *(
        (cell, layer)
        for cell in RESET_AFTER
        for layer in ("single", "bidirectional", "two bidirectional")
    ),
    ("lstm, optimized", "bidirectional"),
]


@pytest.mark.parametrize(("cell", "layer"), CASES)
def test_outputs_and_states_equal_flax(cell, layer):
    rnnjax_layer = make_layer(cell.split(",")[0], layer)
    flax_model, parts = make_flax_layers(cell, layer)
    params = random_flax_params(flax_model)
    converted = from_flax(rnnjax_layer, freeze(params))
    assert_close(run(rnnjax_layer, converted), run_flax(parts, params))
    assert_same(to_flax(rnnjax_layer, converted), params)


@pytest.mark.parametrize("layer", ["single", "bidirectional"])
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_exported_params_compute_same_function(cell, layer):
    """In a GRU r and z have two biases in rnnjax and one in flax."""
    rnnjax_layer = make_layer(cell, layer)
    params = random_params(rnnjax_layer)
    _, parts = make_flax_layers(cell, layer)
    assert_close(run_flax(parts, to_flax(rnnjax_layer, params)), run(rnnjax_layer, params))


def zero_redundant_biases(params):
    """Returns the parameters with zero recurrent biases for r and z."""

    def zero(path, leaf):
        if path[-1].key == "recurrent_bias":
            leaf = np.concatenate([np.zeros(2 * FEATURES, np.float32), leaf[2 * FEATURES :]])
        return leaf

    return jax.tree_util.tree_map_with_path(zero, params)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_round_trip_preserves_bits(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    params = zero_redundant_biases(random_params(rnnjax_layer))
    assert_same(from_flax(rnnjax_layer, to_flax(rnnjax_layer, params)), params)


def test_round_trip_adds_biases_of_gru():
    rnnjax_layer = make_layer("gru", "single")
    params = random_params(rnnjax_layer)["cell"]
    restored = from_flax(rnnjax_layer, to_flax(rnnjax_layer, {"cell": params}))["cell"]
    bias, recurrent_bias = params["input"]["bias"], params["recurrent_bias"]
    gates = slice(0, 2 * FEATURES)
    np.testing.assert_array_equal(restored["input"]["bias"][gates], (bias + recurrent_bias)[gates])
    assert not restored["recurrent_bias"][gates].any()
    new = slice(2 * FEATURES, None)
    np.testing.assert_array_equal(restored["input"]["bias"][new], bias[new])
    np.testing.assert_array_equal(restored["recurrent_bias"][new], recurrent_bias[new])


def swap_names(params, first, second):
    """Swaps two names wherever a mapping has bidirectional."""
    if not isinstance(params, dict):
        return params
    names = {first: second, second: first} if {first, second} <= set(params) else {}
    return {names.get(name, name): swap_names(part, first, second) for name, part in params.items()}


@pytest.mark.parametrize(
    ("cell", "mistake"),
    [
        ("lstm", lambda params: swap_names(params, "hi", "hf")),
        ("lstm", lambda params: swap_names(params, "ig", "io")),
        ("gru", lambda params: swap_names(params, "ir", "iz")),
        ("gru", lambda params: swap_names(params, "hz", "hr")),
        ("simple", lambda params: swap_names(params, "forward_rnn", "backward_rnn")),
        ("gru", lambda params: replace_leaf(params, "forward_rnn/cell/hn/bias", np.zeros_like)),
        ("lstm", lambda params: replace_leaf(params, "forward_rnn/cell/ho/bias", np.zeros_like)),
        ("simple", lambda params: replace_leaf(params, "backward_rnn/cell/h/kernel", np.transpose)),
    ],
)
def test_mistake_in_params_changes_results(cell, mistake):
    rnnjax_layer = make_layer(cell, "bidirectional")
    flax_model, parts = make_flax_layers(cell, "bidirectional")
    params = random_flax_params(flax_model)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(
            run(rnnjax_layer, from_flax(rnnjax_layer, mistake(params))), run_flax(parts, params)
        )


def test_gru_with_reset_before_product_raises():
    rnnjax_layer = RNN(CELLS["gru, reset before"]())
    message = r"GRUCell\(reset_after=False\), which flax.*expected reset_after=True"
    with pytest.raises(InputError, match=message):
        to_flax(rnnjax_layer, random_params(rnnjax_layer))
    with pytest.raises(InputError, match=message):
        from_flax(rnnjax_layer, random_flax_params(make_flax_layer("gru", bidirectional=False)))


def test_missing_and_unexpected_names_raise():
    rnnjax_layer = make_layer("lstm", "single")
    params = random_flax_params(make_flax_layer("lstm", bidirectional=False))
    message = r"missing cell/ii/kernel.*not expected params/cell/hf/bias"
    with pytest.raises(InputError, match=message):
        from_flax(rnnjax_layer, {"params": params})
    del params["cell"]["hg"]
    with pytest.raises(
        InputError, match=r"missing cell/hg/kernel, cell/hg/bias\. Expected exactly"
    ):
        from_flax(rnnjax_layer, params)


def test_params_of_another_cell_raise():
    with pytest.raises(InputError, match=r"missing cell/ir/kernel.*not expected cell/.*if/kernel"):
        from_flax(
            make_layer("gru", "single"),
            random_flax_params(make_flax_layer("lstm", bidirectional=False)),
        )
