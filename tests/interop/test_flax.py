"""Weights to and from flax."""

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
    changed,
    drawn,
    make,
    params_of,
    run,
)

THEIR_CELLS = {
    "simple": nn.SimpleCell,
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "lstm, optimized": nn.OptimizedLSTMCell,
}


def in_flax(cell, both):
    def rnn():
        return nn.RNN(THEIR_CELLS[cell](FEATURES))

    return nn.Bidirectional(rnn(), rnn()) if both else rnn()


def theirs_of(cell, layer):
    """Returns the layer of flax, and those that it is made of."""
    both = layer.endswith("both")
    if not layer.startswith("two"):
        whole = in_flax(cell, both)
        return whole, [whole]
    parts = [in_flax(cell, both), in_flax(cell, both)]
    return nn.Sequential(parts), parts


def drawn_params(layer, seed=6):
    return drawn(jax.eval_shape(layer.init, jax.random.key(0), INPUT)["params"], seed)


@functools.partial(jax.jit, static_argnums=0)
def _applied(layer, params, inputs):
    return layer.apply({"params": params}, inputs, seq_lengths=LENGTHS, return_carry=True)


def run_theirs(parts, params):
    """Returns the outputs and the final states: by layer, forward first, h before c."""
    outputs, finals = INPUT, []
    for index, part in enumerate(parts):
        given = params if len(parts) == 1 else params[f"layers_{index}"]
        # A Sequential would give the lengths to the first layer alone.
        carry, outputs = _applied(part, given, outputs)
        for state in carry if isinstance(part, nn.Bidirectional) else [carry]:
            finals += list(state)[::-1] if isinstance(state, tuple) else [state]  # (c, h)
    return [np.asarray(outputs), *map(np.asarray, finals)]


CASES = [
    *((cell, layer) for cell in RESET_AFTER for layer in ("one", "both", "two, both")),
    ("lstm, optimized", "both"),
]


@pytest.mark.parametrize(("cell", "layer"), CASES)
def test_outputs_and_states_are_those_of_flax(cell, layer):
    ours = make(cell.split(",")[0], layer)
    theirs, parts = theirs_of(cell, layer)
    params = drawn_params(theirs)
    converted = from_flax(ours, freeze(params))
    assert_close(run(ours, converted), run_theirs(parts, params))
    assert_same(to_flax(ours, converted), params)


@pytest.mark.parametrize("layer", ["one", "both"])
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_what_goes_to_flax_is_the_same_function_there(cell, layer):
    """In a GRU r and z have two biases here and one there."""
    ours = make(cell, layer)
    params = params_of(ours)
    _, parts = theirs_of(cell, layer)
    assert_close(run_theirs(parts, to_flax(ours, params)), run(ours, params))


def without_what_flax_has_not(params):
    """Returns the parameters with zero recurrent biases for r and z."""

    def zeroed(path, leaf):
        if path[-1].key == "recurrent_bias":
            leaf = np.concatenate([np.zeros(2 * FEATURES, np.float32), leaf[2 * FEATURES :]])
        return leaf

    return jax.tree_util.tree_map_with_path(zeroed, params)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_ours_come_back_from_flax_bit_for_bit(cell, layer):
    ours = make(cell, layer)
    params = without_what_flax_has_not(params_of(ours))
    assert_same(from_flax(ours, to_flax(ours, params)), params)


def test_the_two_biases_of_a_gru_come_back_as_one():
    ours = make("gru", "one")
    params = params_of(ours)["cell"]
    back = from_flax(ours, to_flax(ours, {"cell": params}))["cell"]
    bias, recurrent_bias = params["input"]["bias"], params["recurrent_bias"]
    gates = slice(0, 2 * FEATURES)
    np.testing.assert_array_equal(back["input"]["bias"][gates], (bias + recurrent_bias)[gates])
    assert not back["recurrent_bias"][gates].any()
    new = slice(2 * FEATURES, None)
    np.testing.assert_array_equal(back["input"]["bias"][new], bias[new])
    np.testing.assert_array_equal(back["recurrent_bias"][new], recurrent_bias[new])


def renamed(params, one, other):
    """Returns the params with two names exchanged wherever both stand."""
    if not isinstance(params, dict):
        return params
    names = {one: other, other: one} if {one, other} <= set(params) else {}
    return {names.get(name, name): renamed(part, one, other) for name, part in params.items()}


@pytest.mark.parametrize(
    ("cell", "mistake"),
    [
        ("lstm", lambda params: renamed(params, "hi", "hf")),
        ("lstm", lambda params: renamed(params, "ig", "io")),
        ("gru", lambda params: renamed(params, "ir", "iz")),
        ("gru", lambda params: renamed(params, "hz", "hr")),
        ("simple", lambda params: renamed(params, "forward_rnn", "backward_rnn")),
        ("gru", lambda params: changed(params, "forward_rnn/cell/hn/bias", np.zeros_like)),
        ("lstm", lambda params: changed(params, "forward_rnn/cell/ho/bias", np.zeros_like)),
        ("simple", lambda params: changed(params, "backward_rnn/cell/h/kernel", np.transpose)),
    ],
)
def test_a_mistake_in_the_params_is_seen(cell, mistake):
    ours = make(cell, "both")
    theirs, parts = theirs_of(cell, "both")
    params = drawn_params(theirs)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(ours, from_flax(ours, mistake(params))), run_theirs(parts, params))


def test_a_gru_that_resets_before_the_product_is_refused_both_ways():
    ours = RNN(CELLS["gru, reset before"]())
    message = r"GRUCell\(reset_after=False\), and flax.*expected reset_after=True"
    with pytest.raises(InputError, match=message):
        to_flax(ours, params_of(ours))
    with pytest.raises(InputError, match=message):
        from_flax(ours, drawn_params(in_flax("gru", both=False)))


def test_names_that_are_missing_or_too_many_are_told():
    ours = make("lstm", "one")
    params = drawn_params(in_flax("lstm", both=False))
    message = r"missing cell/ii/kernel.*not expected params/cell/hf/bias"
    with pytest.raises(InputError, match=message):
        from_flax(ours, {"params": params})
    del params["cell"]["hg"]
    with pytest.raises(
        InputError, match=r"missing cell/hg/kernel, cell/hg/bias\. Expected exactly"
    ):
        from_flax(ours, params)


def test_the_cell_of_another_library_is_told_by_its_names():
    with pytest.raises(InputError, match=r"missing cell/ir/kernel.*not expected cell/.*if/kernel"):
        from_flax(make("gru", "one"), drawn_params(in_flax("lstm", both=False)))
