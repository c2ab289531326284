"""Weight dropout, embedding dropout and activation penalties."""

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
ONE_VALID = np.arange(TIME) == np.array([[0], [6], [3], [2], [5]])
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
    def compare(first, second):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, actual, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_weight_drop_zeroes_single_weights(name):
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

    gradient, in_training = run(wrapped, {"layer": params}, DROPOUT)
    # No gradient comes back through a weight that was dropped.
    gradient = flatten_dict(gradient["layer"], sep="/")
    is_kept = {path: np.asarray(leaf != 0) for path, leaf in gradient.items()}
    assert {path for path in is_kept if not is_kept[path].all()} == DROPPED[name]
    scale = {path: np.float32(1 - RATE if path in DROPPED[name] else 1) for path in is_kept}
    effective = {
        path: is_kept[path] * leaf / scale[path]
        for path, leaf in flatten_dict(params, sep="/").items()
    }
    expected, returned = run(layer, unflatten_dict(effective, sep="/"), {})
    assert_close(in_training, returned)
    for path, leaf in flatten_dict(expected, sep="/").items():
        kept_leaf = np.where(is_kept[path], np.asarray(leaf), 0)
        assert_close(gradient[path], kept_leaf / scale[path], 2e-5)
    evaluations = (
        jax.make_jaxpr(lambda params, module=module: module.apply({"params": params}, INPUT, MASK))(
            params_of_module
        )
        for module, params_of_module in ((layer, params), (wrapped, {"layer": params}))
    )
    assert len(set(map(str, evaluations))) == 1


class ReturnParams(nn.Module):
    """A layer that returns its parameters as it reads them, by their paths."""

    @nn.compact
    def __call__(self, inputs):
        """Makes four parameters of ones."""
        nn.Dense(50, name="hi", kernel_init=nn.initializers.ones)(inputs)
        for name in ("recurrent_kernel", "recurrent_kernel_new", "recurrent_bias"):
            self.param(name, nn.initializers.ones, (50, 50))
        return flatten_dict(self.variables["params"], sep="/")


def params_in_training(layer, key=1) -> dict[str, np.ndarray]:
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
def test_kernel_patterns_select_parameters(case):
    options, expected = KERNELS[case]
    effective = params_in_training(WeightDrop(ReturnParams(), 0.5, **options))
    bias = effective.pop("hi/bias")  # it is zero in any case
    assert {path for path, leaf in effective.items() if not leaf.all()} == expected - {"hi/bias"}
    assert not bias.any()


def test_init_drops_no_weights():
    keys = {"params": jax.random.key(0), **DROPOUT}
    module = jax.jit(WeightDrop(ReturnParams(), 0.5).init)(keys, jnp.ones((1, 50)))
    assert all((leaf == leaf[:1]).all() for leaf in jax.tree.leaves(module))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_and_independence_of_draws(rate):
    layer = WeightDrop(ReturnParams(), rate)
    effective = params_in_training(layer)
    first, second = effective["recurrent_kernel"], effective["recurrent_kernel_new"]
    redrawn = params_in_training(layer, key=2)["recurrent_kernel"]
    for kernel in (first, second):
        np.testing.assert_array_equal(np.unique(kernel), np.array([0, 1 / (1 - rate)], np.float32))
        assert abs((kernel == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / kernel.size)
    pairs = ((first, second), (first, redrawn), (first[1:], first[:-1]), (first, first.T))
    for kernel, independent in pairs:
        overlap = (kernel == 0) & (independent == 0)
        assert abs(overlap.mean() - rate**2) < 6 * rate / np.sqrt(overlap.size)


class InlineModel(nn.Module):
    """A model that makes a layer and its cell in its own method, where flax makes them siblings."""

    @nn.compact
    def __call__(self, inputs):
        """Reads the inputs twice with one layer."""
        layer = WeightDrop(RNN(FlaxCell(nn.SimpleCell(FEATURES))), RATE, ("h/kernel",))
        return layer(inputs)[1], layer(inputs)[1]


@pytest.mark.parametrize("lifted", [lambda layer: layer, nn.jit], ids=["plain", "nn.jit"])
def test_each_call_draws_new_masks(lifted):
    model = lifted(InlineModel)()

    @jax.jit
    def run():
        variables = model.init(jax.random.key(0), INPUT)
        return model.apply(variables, INPUT), model.apply(variables, INPUT, rngs=DROPOUT)

    (plain, repeated), (first, second) = run()
    np.testing.assert_array_equal(plain, repeated)
    assert not np.allclose(first, plain, atol=1e-4)
    assert not np.allclose(first, second, atol=1e-4)


TEXT: Any = "recurrent_kernel"
MISTAKES = {
    "a rate": (lambda: WeightDrop(ReturnParams(), 1.0), r"rate: given 1.0, .*\[0, 1\)"),
    "a text": (
        lambda: WeightDrop(ReturnParams(), 0.5, TEXT),
        "'recurrent_kernel', expected a tuple",
    ),
    "nothing": (
        lambda: WeightDrop(ReturnParams(), 0.5, ("kernel", "h/kernel")),
        "'h/kernel', .*hi/kernel, .*recurrent_kernel",
    ),
    "a part of a name": (
        lambda: WeightDrop(ReturnParams(), 0.5, ("recurrent",)),
        "given 'recurrent'",
    ),
    "too long": (lambda: WeightDrop(ReturnParams(), 0.5, ("a/hi/kernel",)), "given 'a/hi/kernel'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_arguments_raise(mistake):
    make, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        jax.eval_shape(make().init, jax.random.key(0), jnp.ones((1, 50)))


def test_embedding_dropout_drops_rows():
    rate = 0.3
    table = jnp.asarray(np.random.default_rng(0).standard_normal((2000, 3)), jnp.bfloat16)
    assert embedding_dropout(table, rate, None) is table

    def run(table):
        dropped = embedding_dropout(table, rate, jax.random.key(0))
        return dropped.sum().astype(float), dropped

    (_, dropped), gradient = jax.value_and_grad(run, has_aux=True)(table)
    assert dropped.dtype == table.dtype
    is_dropped = np.asarray(dropped == 0)
    np.testing.assert_array_equal(is_dropped, np.broadcast_to(is_dropped[:, :1], is_dropped.shape))
    assert abs(is_dropped[:, 0].mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(is_dropped))
    np.testing.assert_array_equal(dropped[~is_dropped], (table / (1 - rate))[~is_dropped])
    np.testing.assert_array_equal(np.asarray(gradient == 0), is_dropped)
    second = embedding_dropout(table, rate, jax.random.key(1))
    assert not np.array_equal(second == 0, is_dropped)
    with pytest.raises(InputError, match=r"rate: given 1\.5"):
        embedding_dropout(table, 1.5, None)


def expected_penalty(penalty, outputs, mask):
    """Returns a penalty from rows without their masked steps."""
    rows = [row[real].astype(np.float64) for row, real in zip(outputs, mask, strict=True)]
    if penalty is temporal_activation_regularization:
        rows = [np.diff(row, axis=0) for row in rows]
    values = np.concatenate([row.ravel() for row in rows])
    return (values**2).mean() if values.size else 0.0


PENALTIES = [activation_regularization, temporal_activation_regularization]
MASKS = {"ragged": MASK, "full": np.ones_like(MASK), "empty": np.zeros_like(MASK), "one": ONE_VALID}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", MASKS)
def test_penalty_is_a_mean_over_valid_steps(name, penalty):
    mask = MASKS[name]
    run = jax.jit(jax.value_and_grad(penalty))
    value, gradient = jax.tree.map(np.asarray, run(OUTPUT, mask))
    np.testing.assert_allclose(value, expected_penalty(penalty, OUTPUT, mask), rtol=1e-6)
    assert (value > 0) == (
        name in ("ragged", "full") or (name == "one" and penalty is activation_regularization)
    )
    for masked_value in (np.nan, np.inf, -1e30):
        spoiled = np.where(mask[..., None], OUTPUT, np.float32(masked_value))
        for first, second in zip(run(spoiled, mask), (value, gradient), strict=True):
            assert np.asarray(first).tobytes() == second.tobytes()
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    direction = np.random.default_rng(3).standard_normal(OUTPUT.shape)
    # A square has no third derivative: the difference is exact but for rounding.
    upper, lower = (
        expected_penalty(penalty, OUTPUT + step * direction, mask) for step in (1.0, -1.0)
    )
    np.testing.assert_allclose(
        (gradient * direction).sum(), (upper - lower) / 2, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_without_a_mask_counts_every_step(penalty):
    images = OUTPUT.reshape(ROWS, TIME, 2, 2)
    expected = expected_penalty(penalty, OUTPUT, MASKS["full"])
    np.testing.assert_allclose(penalty(images), expected, rtol=1e-6)
    np.testing.assert_allclose(
        penalty(images, MASK), expected_penalty(penalty, OUTPUT, MASK), rtol=1e-6
    )


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_of_bfloat16_outputs_is_float32(penalty):
    rounded = jnp.asarray(np.tile(OUTPUT, (40, 1, 1)), jnp.bfloat16)
    mask = np.tile(MASK, (40, 1))
    value = penalty(rounded, mask)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(
        value, expected_penalty(penalty, np.float32(rounded), mask), rtol=1e-5
    )


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_rejects_invalid_masks(penalty):
    with pytest.raises(InputError, match=r"given int32\[5, 7\], expected bool\[5, 7\]"):
        penalty(OUTPUT, MASK.astype(np.int32))
    with pytest.raises(InputError, match=r"given bool\[5, 6\], expected bool\[5, 7\]"):
        penalty(OUTPUT, MASK[:, 1:])
    with pytest.raises(InputError, match="mask: given a list, expected an array of bool"):
        penalty(OUTPUT, MASK.tolist())
