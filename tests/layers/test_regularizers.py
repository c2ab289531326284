"""Dropped weights, dropped words and penalties on outputs, each recovered from what it does."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.cells.wrappers import FlaxCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack
from rnnjax.layers.regularizers import (
    WeightDrop,
    activation_regularization,
    embedding_dropout,
    temporal_activation_regularization,
)

ROWS, TIME, INPUTS, FEATURES, RATE = 5, 7, 3, 4, 0.4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
OUTPUT = np.random.default_rng(1).standard_normal((ROWS, TIME, FEATURES)).astype(np.float32)
MASK = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "..#####", ".##.#.#", ".......")
    ]
)
ONE = np.arange(TIME) == np.array([[0], [6], [3], [2], [5]])
DROPOUT = {"dropout": jax.random.key(1)}

LAYERS: dict[str, Any] = {
    "fused": (lambda: RNN(LSTMCell(FEATURES), engine="fused"), ("recurrent_kernel*",)),
    "scan": (lambda: RNN(SimpleCell(FEATURES), reverse=True), ("recurrent_kernel",)),
    "bidirectional": (lambda: Bidirectional(SimpleCell(FEATURES)), ("forward/*/recurrent_kernel",)),
    "stack": (
        lambda: Stack((RNN(nn.GRUCell(FEATURES)), RNN(SimpleCell(FEATURES)))),
        ("h?/kernel", "layers_1/cell/recurrent_kernel"),
    ),
}
DROPPED = {
    "fused": {"cell/recurrent_kernel"},
    "scan": {"cell/recurrent_kernel"},
    "bidirectional": {"forward/cell/recurrent_kernel"},
    "stack": {
        *(f"layers_0/cell/{gate}/kernel" for gate in ("hr", "hz", "hn")),
        "layers_1/cell/recurrent_kernel",
    },
}


def assert_close(actual, expected, tolerance=2e-6):
    def compare(one, other):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, actual, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_call_reads_kernels_from_which_single_weights_are_dropped(name):
    make, kernels = LAYERS[name]
    layer, wrapped = make(), WeightDrop(make(), RATE, kernels)
    shapes = jax.eval_shape(wrapped.init, jax.random.key(0), INPUT)["params"]
    assert shapes == {"layer": jax.eval_shape(layer.init, jax.random.key(0), INPUT)["params"]}
    rng = np.random.default_rng(2)
    params = jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes["layer"]
    )

    @functools.partial(jax.jit, static_argnums=0)
    def run(layer, params, rngs):
        def loss(params):
            final, outputs = layer.apply({"params": params}, INPUT, MASK, rngs=rngs)
            return (outputs**2).sum(), (final, outputs)

        return jax.grad(loss, has_aux=True)(params)

    gradient, trained = run(wrapped, {"layer": params}, DROPOUT)
    # No gradient comes back through a weight that was dropped.
    gradient = flatten_dict(gradient["layer"], sep="/")
    kept = {path: np.asarray(leaf != 0) for path, leaf in gradient.items()}
    assert {path for path in kept if not kept[path].all()} == DROPPED[name]
    scale = {path: np.float32(1 - RATE if path in DROPPED[name] else 1) for path in kept}
    read = {
        path: kept[path] * leaf / scale[path]
        for path, leaf in flatten_dict(params, sep="/").items()
    }
    expected, returned = run(layer, unflatten_dict(read, sep="/"), {})
    assert_close(trained, returned)
    for path, leaf in flatten_dict(expected, sep="/").items():
        assert_close(gradient[path], kept[path] * leaf / scale[path], 2e-5)
    evaluations = (
        jax.make_jaxpr(lambda params, made=made: made.apply({"params": params}, INPUT, MASK))(given)
        for made, given in ((layer, params), (wrapped, {"layer": params}))
    )
    assert len(set(map(str, evaluations))) == 1


class Seen(nn.Module):
    """A layer that returns its parameters as it reads them, by their paths."""

    @nn.compact
    def __call__(self, inputs):
        """Makes four parameters of ones."""
        nn.Dense(50, name="hi", kernel_init=nn.initializers.ones)(inputs)
        for name in ("recurrent_kernel", "recurrent_kernel_new", "recurrent_bias"):
            self.param(name, nn.initializers.ones, (50, 50))
        return flatten_dict(self.variables["params"], sep="/")


def seen(layer, key=1) -> dict[str, np.ndarray]:
    """Returns the parameters that a layer reads in a call in training."""
    inputs = jnp.ones((1, 50))

    @jax.jit
    def run(key):
        variables = layer.init(jax.random.key(0), inputs)
        return layer.apply(variables, inputs, rngs={"dropout": key})

    return {path: np.asarray(leaf) for path, leaf in run(jax.random.key(key)).items()}


KERNELS = {
    "the kernels of a state": ({}, {"recurrent_kernel", "recurrent_kernel_new"}),
    "a whole name": ({"kernels": ("recurrent_kernel",)}, {"recurrent_kernel"}),
    "a name in another module": ({"kernels": ("hi/kernel",)}, {"hi/kernel"}),
    "a name anywhere": ({"kernels": ("hi",)}, {"hi/kernel", "hi/bias"}),
    "letters": ({"kernels": ("h?/*",)}, {"hi/kernel", "hi/bias"}),
    "several": ({"kernels": ["*_bias", "kernel"]}, {"recurrent_bias", "hi/kernel"}),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_say_which_parameters_are_dropped(case):
    options, expected = KERNELS[case]
    read = seen(WeightDrop(Seen(), 0.5, **options))
    bias = read.pop("hi/bias")  # it is zero in any case
    assert {path for path, leaf in read.items() if not leaf.all()} == expected - {"hi/bias"}
    assert not bias.any()


def test_parameters_are_made_whole_even_where_there_is_something_to_draw_from():
    keys = {"params": jax.random.key(0), **DROPOUT}
    made = jax.jit(WeightDrop(Seen(), 0.5).init)(keys, jnp.ones((1, 50)))
    assert all((leaf == leaf[:1]).all() for leaf in jax.tree.leaves(made))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_of_dropped_weights_is_kept_and_draws_are_independent(rate):
    layer = WeightDrop(Seen(), rate)
    read = seen(layer)
    one, other = read["recurrent_kernel"], read["recurrent_kernel_new"]
    again = seen(layer, key=2)["recurrent_kernel"]
    for kernel in (one, other):
        np.testing.assert_array_equal(np.unique(kernel), np.array([0, 1 / (1 - rate)], np.float32))
        assert abs((kernel == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / kernel.size)
    for first, second in ((one, other), (one, again), (one[1:], one[:-1]), (one, one.T)):
        both = (first == 0) & (second == 0)
        assert abs(both.mean() - rate**2) < 6 * rate / np.sqrt(both.size)


class Inline(nn.Module):
    """A model that makes a layer and its cell in its own method, where flax makes them siblings."""

    @nn.compact
    def __call__(self, inputs):
        """Reads the inputs twice with one layer."""
        layer = WeightDrop(RNN(FlaxCell(nn.SimpleCell(FEATURES))), RATE, ("h/kernel",))
        return layer(inputs)[1], layer(inputs)[1]


@pytest.mark.parametrize("lifted", [lambda layer: layer, nn.jit], ids=["plain", "nn.jit"])
def test_a_layer_made_within_a_model_is_dropped_anew_at_each_call(lifted):
    model = lifted(Inline)()

    @jax.jit
    def run():
        variables = model.init(jax.random.key(0), INPUT)
        return model.apply(variables, INPUT), model.apply(variables, INPUT, rngs=DROPOUT)

    (plain, same), (one, other) = run()
    np.testing.assert_array_equal(plain, same)
    assert not np.allclose(one, plain, atol=1e-4)
    assert not np.allclose(one, other, atol=1e-4)


TEXT: Any = "recurrent_kernel"
MISTAKES = {
    "a rate": (lambda: WeightDrop(Seen(), 1.0), r"rate: given 1.0, .*\[0, 1\)"),
    "a text": (lambda: WeightDrop(Seen(), 0.5, TEXT), "'recurrent_kernel', expected a tuple"),
    "nothing": (
        lambda: WeightDrop(Seen(), 0.5, ("kernel", "h/kernel")),
        "'h/kernel', .*hi/kernel, .*recurrent_kernel",
    ),
    "a part of a name": (lambda: WeightDrop(Seen(), 0.5, ("recurrent",)), "given 'recurrent'"),
    "too long": (lambda: WeightDrop(Seen(), 0.5, ("a/hi/kernel",)), "given 'a/hi/kernel'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_an_error_that_says_what_there_is(mistake):
    make, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        jax.eval_shape(make().init, jax.random.key(0), jnp.ones((1, 50)))


def test_words_are_dropped_whole():
    rate = 0.3
    table = jnp.asarray(np.random.default_rng(0).standard_normal((2000, 3)), jnp.bfloat16)
    assert embedding_dropout(table, rate, None) is table

    def run(table):
        dropped = embedding_dropout(table, rate, jax.random.key(0))
        return dropped.sum().astype(float), dropped

    (_, dropped), gradient = jax.value_and_grad(run, has_aux=True)(table)
    assert dropped.dtype == table.dtype
    gone = np.asarray(dropped == 0)
    np.testing.assert_array_equal(gone, np.broadcast_to(gone[:, :1], gone.shape))
    assert abs(gone[:, 0].mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(gone))
    np.testing.assert_array_equal(dropped[~gone], (table / (1 - rate))[~gone])
    np.testing.assert_array_equal(np.asarray(gradient == 0), gone)
    other = embedding_dropout(table, rate, jax.random.key(1))
    assert not np.array_equal(other == 0, gone)
    with pytest.raises(InputError, match=r"rate: given 1\.5"):
        embedding_dropout(table, 1.5, None)


def by_hand(penalty, outputs, mask):
    """Returns a penalty from rows without their masked steps."""
    rows = [row[real].astype(np.float64) for row, real in zip(outputs, mask, strict=True)]
    if penalty is temporal_activation_regularization:
        rows = [np.diff(row, axis=0) for row in rows]
    values = np.concatenate([row.ravel() for row in rows])
    return (values**2).mean() if values.size else 0.0


PENALTIES = [activation_regularization, temporal_activation_regularization]
MASKS = {"ragged": MASK, "full": np.ones_like(MASK), "empty": np.zeros_like(MASK), "one": ONE}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", MASKS)
def test_a_penalty_is_a_mean_over_real_steps_and_nothing_else_reaches_it(name, penalty):
    mask = MASKS[name]
    run = jax.jit(jax.value_and_grad(penalty))
    value, gradient = jax.tree.map(np.asarray, run(OUTPUT, mask))
    np.testing.assert_allclose(value, by_hand(penalty, OUTPUT, mask), rtol=1e-6)
    assert (value > 0) == (
        name in ("ragged", "full") or (name == "one" and penalty is activation_regularization)
    )
    for junk in (np.nan, np.inf, -1e30):
        littered = np.where(mask[..., None], OUTPUT, np.float32(junk))
        for one, other in zip(run(littered, mask), (value, gradient), strict=True):
            assert np.asarray(one).tobytes() == other.tobytes()
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    way = np.random.default_rng(3).standard_normal(OUTPUT.shape)
    # A square has no third derivative: the difference is exact but for rounding.
    there, back = (by_hand(penalty, OUTPUT + step * way, mask) for step in (1.0, -1.0))
    np.testing.assert_allclose((gradient * way).sum(), (there - back) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_without_a_mask_counts_every_step_of_any_features(penalty):
    images = OUTPUT.reshape(ROWS, TIME, 2, 2)
    expected = by_hand(penalty, OUTPUT, MASKS["full"])
    np.testing.assert_allclose(penalty(images), expected, rtol=1e-6)
    np.testing.assert_allclose(penalty(images, MASK), by_hand(penalty, OUTPUT, MASK), rtol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_of_rounded_outputs_is_summed_in_float32(penalty):
    rounded = jnp.asarray(np.tile(OUTPUT, (40, 1, 1)), jnp.bfloat16)
    mask = np.tile(MASK, (40, 1))
    value = penalty(rounded, mask)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, by_hand(penalty, np.float32(rounded), mask), rtol=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_refuses_a_mask_that_is_none(penalty):
    with pytest.raises(InputError, match=r"given int32\[5, 7\], expected bool\[5, 7\]"):
        penalty(OUTPUT, MASK.astype(np.int32))
    with pytest.raises(InputError, match=r"given bool\[5, 6\], expected bool\[5, 7\]"):
        penalty(OUTPUT, MASK[:, 1:])
    with pytest.raises(InputError, match="mask: given a list, expected an array of bool"):
        penalty(OUTPUT, MASK.tolist())
