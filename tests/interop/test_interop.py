"""Conversion of weights for every library: errors, copies and dtypes."""

import ast
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import interop
from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.interop import from_flax, from_keras, from_torch, to_flax, to_keras, to_torch
from rnnjax.layers import RNN, Bidirectional, Stack

from .layers import (
    FEATURES,
    LAYERS,
    RESET_AFTER,
    assert_same,
    make_layer,
    random_params,
    replace_leaf,
)

EXPORT = {"keras": to_keras, "torch": to_torch, "flax": to_flax}
IMPORT = {"keras": from_keras, "torch": from_torch, "flax": from_flax}


def without(params, path):
    """Returns a copy of a tree without the leaf of a path."""
    *branches, last = path.split("/")
    tree = replace_leaf(params, path, lambda leaf: leaf)
    node = tree
    for branch in branches:
        node = node[branch]
    del node[last]
    return tree


@pytest.mark.parametrize("library", EXPORT)
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda params: without(params, "forward/cell/input/bias"), "missing forward/cell/input/b"),
        (
            lambda params: {**params, "cell": params["forward"]["cell"]},
            "not expected cell/input/bias, cell/input/kernel, cell/recurrent_kernel. Expected",
        ),
        (
            lambda params: replace_leaf(
                params, "backward/cell/recurrent_kernel", lambda leaf: leaf[1:]
            ),
            r"backward/cell/recurrent_kernel has the shape \(3, 16\), expected \(4, 16\)",
        ),
        (
            lambda params: replace_leaf(
                params, "backward/cell/input/kernel", lambda leaf: leaf[1:]
            ),
            r"backward/cell/input/kernel has the shape \(2, 16\), expected \(3, 16\)",
        ),
        (
            lambda params: replace_leaf(params, "forward/cell/input/kernel", np.transpose),
            r"forward/cell/input/kernel has the shape \(16, 3\), expected \(inputs, 16\)",
        ),
        (
            lambda params: replace_leaf(params, "forward/cell/input/bias", lambda leaf: leaf[None]),
            r"forward/cell/input/bias has the shape \(1, 16\), expected \(16,\)",
        ),
        (
            lambda params: replace_leaf(
                params, "forward/cell/input/bias", lambda leaf: leaf.astype(int)
            ),
            "forward/cell/input/bias has the dtype int64; expected floating point",
        ),
        (
            lambda params: replace_leaf(
                params, "forward/cell/input/bias", lambda leaf: [[1.0], 2.0]
            ),
            "forward/cell/input/bias cannot be read as an array",
        ),
        (lambda params: [params], "given a list, expected nested mappings"),
    ],
)
def test_invalid_parameters_raise(library, mistake, message):
    layer = Bidirectional(LSTMCell(FEATURES))
    params = random_params(layer)
    EXPORT[library](layer, params)
    with pytest.raises(InputError, match=f"^the layer's parameters: .*{message}"):
        EXPORT[library](layer, mistake(params))


STATE_DICT = to_torch(RNN(LSTMCell(FEATURES)), random_params(RNN(LSTMCell(FEATURES))))


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        (
            {
                **STATE_DICT,
                "weight_ih_l0": STATE_DICT["weight_hh_l0"],
                "weight_hh_l0": STATE_DICT["weight_ih_l0"],
            },
            r"weight_hh_l0 has the shape \(16, 3\), expected \(16, 4\)",
        ),
        (
            {**STATE_DICT, "weight_ih_l0": STATE_DICT["weight_ih_l0"].T},
            r"weight_ih_l0 has the shape \(3, 16\), expected \(16, inputs\)",
        ),
        (
            {name: array for name, array in STATE_DICT.items() if "bias" not in name},
            "missing bias_ih_l0, bias_hh_l0. Expected exactly weight_ih_l0, .*pass zeros",
        ),
        (
            {f"lstm.{name}": array for name, array in STATE_DICT.items()},
            "missing weight_ih_l0.*not expected lstm.weight_ih_l0",
        ),
        ({**STATE_DICT, "weight_hr_l0": np.ones((2, 4))}, "not expected weight_hr_l0"),
        (list(STATE_DICT.values()), "given a list, expected a mapping"),
    ],
)
def test_invalid_state_dict_raises(state_dict, message):
    with pytest.raises(InputError, match=f"^PyTorch's state_dict: {message}"):
        from_torch(RNN(LSTMCell(FEATURES)), state_dict)


class Doubled(LSTMCell):
    """Another cell, with the parameters of an LSTM."""

    def step(self, state, projected):
        return super().step(state, 2 * projected)


@pytest.mark.parametrize("library", EXPORT)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LSTMCell(4), "given a LSTMCell, expected an RNN"),
        (nn.Dense(4), "given a Dense, expected an RNN"),
        (Stack([RNN(LSTMCell(4)), nn.Dense(4)]), "given a Dense, expected an RNN"),
        (RNN(Doubled(4)), "given the cell Doubled, whose weights have no counterpart"),
        (RNN(nn.LSTMCell(4)), "given the cell LSTMCell, whose weights have no counterpart"),
        (
            Bidirectional(LSTMCell(4, peepholes=True)),
            r".*peepholes=True\).*expected peepholes=False",
        ),
        (Stack([RNN(LSTMCell(4, coupled=True))]), r".*coupled=True\).*expected coupled=False"),
    ],
)
def test_layer_without_counterpart_raises(library, layer, message):
    for convert in (EXPORT[library], IMPORT[library]):
        with pytest.raises(InputError, match=f"^layer: {message}"):
            convert(layer, {})


@pytest.mark.parametrize("library", ["keras", "flax"])
def test_projection_raises_except_for_pytorch(library):
    for convert in (EXPORT[library], IMPORT[library]):
        with pytest.raises(InputError, match=r"projection=2\).*expected projection=0"):
            convert(RNN(LSTMCell(4, projection=2)), {})


@pytest.mark.parametrize("library", ["keras", "flax"])
@pytest.mark.parametrize(("merge", "width"), [("sum", FEATURES), ("concat", 2 * FEATURES)])
def test_input_size_follows_merge_of_layer_below(library, merge, width):
    stack = Stack([Bidirectional(LSTMCell(FEATURES), merge), RNN(LSTMCell(FEATURES))])
    params = random_params(stack)
    assert params["layers_1"]["cell"]["input"]["kernel"].shape[0] == width
    assert_same(IMPORT[library](stack, EXPORT[library](stack, params)), params)


@pytest.mark.parametrize("library", EXPORT)
def test_attributes_without_weights_are_ignored(library):
    plain = RNN(GRUCell(FEATURES))
    configured = RNN(
        GRUCell(FEATURES, update_dropout=0.3, bias_init=nn.initializers.ones, dtype=jnp.bfloat16),
        return_sequences=False,
        engine="scan",
    )
    params = random_params(plain)
    assert_same(EXPORT[library](configured, params), EXPORT[library](plain, params))


@pytest.mark.parametrize("library", EXPORT)
@pytest.mark.parametrize("cell", RESET_AFTER)
def test_converted_arrays_are_copies(library, cell):
    """A state_dict shares its memory with a module that may be trained on."""
    layer = make_layer(cell, "bidirectional")
    params = random_params(layer)
    exported = EXPORT[library](layer, params)
    imported = IMPORT[library](layer, exported)
    for source, target in ((params, exported), (exported, imported)):
        for left in jax.tree.leaves(source):
            for right in jax.tree.leaves(target):
                assert not np.shares_memory(left, right)
    assert all(leaf.flags.c_contiguous for leaf in jax.tree.leaves((exported, imported)))


@pytest.mark.usefixtures("implicit_promotion")  # of float32 inputs with bfloat16 parameters
@pytest.mark.parametrize("library", EXPORT)
def test_imported_arrays_have_param_dtype(library):
    layer = RNN(SimpleCell(FEATURES, param_dtype=jnp.bfloat16))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.bfloat16), random_params(layer))
    exported = EXPORT[library](layer, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(exported)} == {np.dtype(jnp.bfloat16)}
    doubled = jax.tree.map(lambda leaf: leaf.astype(np.float64), exported)
    assert_same(IMPORT[library](layer, doubled), params)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("library", EXPORT)
def test_parameters_on_device_are_converted(library, layer):
    rnnjax_layer = make_layer("gru", layer)
    params = random_params(rnnjax_layer)
    on_device = jax.tree.map(jnp.asarray, params)
    assert_same(EXPORT[library](rnnjax_layer, on_device), EXPORT[library](rnnjax_layer, params))


def test_interop_imports_no_library():
    folder = Path(str(interop.__file__)).parent
    imported = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert not imported & {"keras", "torch", "tensorflow"}
    assert "rnnjax" in imported
