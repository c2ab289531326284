"""The engines of a layer are explained by the property that each lacks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from rnnjax.cells import GRUCell, LSTMCell, MGUCell, MinGRUCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack, explain

INPUTS = jax.ShapeDtypeStruct((2, 5, 3), jnp.float32)
ON_CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of a machine without a GPU")


class NegatedStep(LSTMCell):
    """Another cell: it inherits everything but the step."""

    def step(self, state, projected):
        """Negates the output of the LSTM."""
        state, output = super().step(state, projected)
        return state, -output


@pytest.mark.parametrize(
    ("cell", "engine", "property"),
    [
        (MGUCell(4), "fused", "MGUCell has no method 'fused' for whole sequences"),
        (LSTMCell(4), "associative", "LSTMCell has no method 'associative'"),
        (NegatedStep(4), "fused", "NegatedStep overrides 'step', which the inherited method"),
        (SimpleCell(4, activation=jnp.sin), "fused", "options that its method 'fused' does not"),
        (nn.GRUCell(4), "fused", "GRUCell is a cell of flax, which has no method for whole"),
        (GRUCell(80), "pallas", "given 80 features in float32, expected at most 64"),
        (MinGRUCell(4), "associative", "available"),
    ],
)
def test_property_that_an_engine_lacks_is_named(cell, engine, property):
    choice = explain(RNN(cell), INPUTS)
    assert property in choice.engines[engine]
    assert choice.engines["scan"] == "available"
    if property != "available":
        with pytest.raises(InputError) as error:
            RNN(cell, engine=engine).init(jax.random.key(0), jnp.ones((2, 5, 3)))
        assert choice.engines[engine] in str(error.value)


@ON_CPU
def test_choice_of_auto_has_a_reason():
    choice = explain(Bidirectional(LSTMCell(4)), INPUTS)
    assert (choice.engine, choice.reason) == ("fused", "measured to win on a CPU")
    assert "expected an NVIDIA GPU" in choice.engines["cudnn"]
    assert str(choice).splitlines()[-1] == "taken: fused, measured to win on a CPU"
    choice = explain(RNN(MGUCell(4)), INPUTS)
    assert choice.engine == "scan"
    assert "MGUCell has no method 'fused'" in choice.reason
    assert explain(RNN(LSTMCell(4), engine="scan"), INPUTS).reason == "the layer names it"


def test_resets_exclude_methods_that_take_none():
    engines = explain(RNN(LSTMCell(4)), INPUTS, resets=True).engines
    assert engines["pallas"] == "the method 'pallas' of LSTMCell takes no resets"


def test_only_a_layer_of_one_cell_is_explained():
    with pytest.raises(InputError, match="given a Stack, expected an RNN or a Bidirectional"):
        explain(Stack([RNN(LSTMCell(4))]), INPUTS)
    with pytest.raises(InputError, match=r"inputs have the shape \(2, 3\)"):
        explain(RNN(LSTMCell(4)), jax.ShapeDtypeStruct((2, 3), jnp.float32))
