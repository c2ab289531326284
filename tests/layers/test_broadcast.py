"""Parts of a projection that are computed once a call, and parameters of the inputs' size."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from rnnjax.cells import (
    Broadcast,
    Cell,
    LearnedInitialState,
    RecurrentDropout,
    SimpleCell,
    Zoneout,
)
from rnnjax.kernels import fused_simple, match_rank
from rnnjax.layers import RNN, Bidirectional, WeightDrop
from rnnjax.testing import CellError, check_cell

FEATURES, INPUTS, ROWS, TIME = 4, 3, 3, 11
DROPOUT = {"dropout": jax.random.key(5)}


def normalized(direction, length):
    return length[None] * direction / jnp.linalg.norm(direction, axis=0, keepdims=True)


class InStep(Cell):
    """s' = tanh(W (a x) + b + V s) with columns of V of a learned length, normalised in every step.

    Parameters: features * (inputs + features + 2) + inputs.
    """

    output_part = ""

    inputs: int = INPUTS

    def setup(self):
        self.input = self.dense(self.features)
        shape, init = (self.features, self.features), nn.initializers.orthogonal()
        self.scale = self.param("scale", nn.initializers.ones, (self.inputs,), self.param_dtype)
        self.direction = self.param("recurrent_kernel", init, shape, self.param_dtype)
        self.length = self.param("length", nn.initializers.ones, shape[1:], self.param_dtype)

    def project(self, inputs):
        return self.input(inputs * match_rank(self.scale, inputs))

    def step(self, state, projected):
        return self.next_state(state, projected, normalized(self.direction, self.length))

    def next_state(self, state, projected, kernel):
        product = self.recurrent_product(state, kernel).astype(state.dtype)
        new = jnp.tanh(projected.astype(state.dtype) + product)
        return new, new.astype(projected.dtype)


class OnceACall(InStep):
    """The same cell, which needs not be told the size of its inputs, normalised once a call."""

    def setup(self):
        self.input = self.dense(self.features)

    @nn.compact
    def project(self, inputs):
        shape, init = (self.features, self.features), nn.initializers.orthogonal()
        scale = self.param("scale", nn.initializers.ones, inputs.shape[-1:], self.param_dtype)
        direction = self.param("recurrent_kernel", init, shape, self.param_dtype)
        length = self.param("length", nn.initializers.ones, shape[1:], self.param_dtype)
        projected = self.input(inputs * match_rank(scale, inputs))
        return projected, Broadcast(normalized(direction, length))

    def step(self, state, projected):
        projected, kernel = projected
        return self.next_state(state, projected, kernel.value)


LAYERS = {
    "plain": RNN,
    "reverse": lambda cell: RNN(cell, reverse=True),
    "remat": lambda cell: RNN(cell, remat=True),
    "remat, reverse": lambda cell: RNN(cell, remat=True, reverse=True),
    "last output": lambda cell: RNN(cell, return_sequences=False),
    "bidirectional": Bidirectional,
    "zoneout": lambda cell: RNN(Zoneout(cell, {"": 0.3})),
    "recurrent dropout": lambda cell: RNN(RecurrentDropout(cell, 0.3, part="")),
    "learned initial state": lambda cell: RNN(LearnedInitialState(cell)),
    "weight drop": lambda cell: WeightDrop(RNN(cell), 0.5),
}


def run_layer(module: nn.Module, *arguments: Any) -> Any:
    return module.apply(*arguments)


def loss_and_gradients(layer, variables, inputs, mask, rngs):
    def loss(variables, inputs):
        final, outputs = layer.apply(variables, inputs, mask, rngs=rngs)
        leaves = [leaf.sum() for leaf in jax.tree.leaves(final)]
        return jnp.square(outputs).sum() + sum(leaves), outputs

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, inputs)


@pytest.mark.parametrize("rngs", [None, DROPOUT], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", LAYERS)
def test_once_a_call_equals_every_step(name, rngs):
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
    mask = rng.random((ROWS, TIME)) < 0.7
    in_step, once = LAYERS[name](InStep(FEATURES)), LAYERS[name](OnceACall(FEATURES))
    variables = jax.jit(once.init)(jax.random.key(0), inputs)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32), variables
    )
    results, expected = (
        jax.jit(
            lambda variables, layer=layer: loss_and_gradients(layer, variables, inputs, mask, rngs)
        )(variables)
        for layer in (once, in_step)
    )
    for result, reference in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(result, reference, rtol=2e-5, atol=2e-5)
    gradients = jax.tree.leaves(results[1])
    assert all(np.abs(leaf).max() > 0 for leaf in gradients)


def test_streaming_equals_the_layer():
    inputs = np.random.default_rng(2).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
    layer, cell = RNN(OnceACall(FEATURES)), OnceACall(FEATURES)
    variables = layer.init(jax.random.key(0), inputs)
    _, outputs = run_layer(layer, variables, inputs)
    state = cell.initial_state((ROWS, INPUTS))
    for step in range(TIME):
        parameters = {"params": variables["params"]["cell"]}
        state, output = run_layer(cell, parameters, state, inputs[:, step])
        np.testing.assert_allclose(output, outputs[:, step], rtol=1e-6, atol=1e-6)


def primitives_of_scans(jaxpr, inside=False):
    """Yields the names of the primitives in the bodies of a program's scans."""
    for equation in jaxpr.eqns:
        if inside:
            yield equation.primitive.name
        is_scan = equation.primitive.name == "scan"
        for inner in jaxprs_in_params(equation.params):
            yield from primitives_of_scans(inner, inside or is_scan)


@pytest.mark.parametrize("transform", [lambda loss: loss, jax.grad], ids=["forward", "backward"])
def test_scan_reads_the_kernel_and_does_not_compute_it(transform):
    inputs = jnp.ones((ROWS, TIME, INPUTS))
    divisions = {}
    for cell in (OnceACall(FEATURES), InStep(FEATURES)):
        layer = RNN(cell)
        variables = layer.init(jax.random.key(0), inputs)

        def loss(variables, layer=layer):
            return run_layer(layer, variables, inputs)[1].sum()

        jaxpr = jax.make_jaxpr(transform(loss))(variables)
        divisions[type(cell)] = list(primitives_of_scans(jaxpr.jaxpr)).count("div")
    assert divisions == {OnceACall: 0, InStep: 1}


class SizedCell(SimpleCell):
    """s' = tanh(W (v x) + b + V s): each input has a learned scale, and the kernel a scale as well.

    Parameters: features * (inputs + features + 1) + inputs + 1.
    """

    @nn.compact
    def project(self, inputs):
        scale = self.param("scale", nn.initializers.ones, inputs.shape[-1:], self.param_dtype)
        factor = self.param("factor", nn.initializers.ones, (1, 1), self.param_dtype)
        scaled = (inputs.astype(scale.dtype) * match_rank(scale, inputs)).astype(
            self.dtype or scale.dtype
        )
        return super().project(scaled), Broadcast(self.recurrent_kernel * factor)

    def step(self, state, projected):
        projected, kernel = projected
        product = self.recurrent_product(state, kernel.value).astype(state.dtype)
        new = jnp.tanh(projected.astype(state.dtype) + product)
        return new, new.astype(projected.dtype)

    def fused(self, state, projected, mask, reverse):
        projected, kernel = projected
        return fused_simple(projected, kernel.value, state, mask, reverse, "tanh")


def test_cell_that_uses_both_passes_the_kit():
    check_cell(SizedCell(FEATURES), quick=True)


class BatchStatistics(OnceACall):
    """The kernel that all rows share depends on the inputs."""

    def project(self, inputs):
        projected, kernel = super().project(inputs)
        return projected, Broadcast(kernel.value * (1 + jnp.tanh(inputs.mean())))


def test_kit_refuses_a_broadcast_of_the_inputs():
    with pytest.raises(CellError) as error:
        check_cell(BatchStatistics(FEATURES), quick=True)
    assert error.value.check == "row_independence"
