"""The matrix products of a layer alone, by XLA: a lower bound of the time of a layer."""

from typing import Any

import jax
import jax.numpy as jnp

from cases import FORWARD_BACKWARD, GATES
from contenders import Job


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of the products alone; `variant` is ignored.

    Those of the inputs and those of the gradients of the kernels are one product for all steps;
    those with the recurrent kernel, forward and backward, are sequential. Without gates, states and
    masks this is no layer, and has no digest to compare.
    """
    del variant
    operands = make_operands(spec)
    compiled = {"forward": jax.jit(forward), FORWARD_BACKWARD: jax.jit(forward_backward)}
    for function in compiled.values():
        jax.block_until_ready(function(operands))
    return Job(
        {
            name: lambda function=function: jax.block_until_ready(function(operands))
            for name, function in compiled.items()
        },
        {},
    )


def make_operands(spec: dict[str, Any]) -> list[dict[str, jax.Array]]:
    """Returns random operands of the products for each direction of each layer."""
    batch, time, hidden = spec["batch"], spec["time"], spec["hidden"]
    units, directions = GATES[spec["cell"]] * hidden, 1 + spec["bidirectional"]
    input_sizes = [spec["inputs"], *[directions * hidden] * (spec["layers"] - 1)]
    keys = iter(jax.random.split(jax.random.key(0), 5 * directions * len(input_sizes)))

    def draw(*shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=-1.0) * hidden**-0.5

    return [
        {
            "inputs": draw(batch, time, inputs),
            "kernel": draw(inputs, units),
            "recurrent_kernel": draw(hidden, units),
            "states": draw(batch, time, hidden),
            "gradients": draw(batch, time, units),
        }
        for inputs in input_sizes
        for _ in range(directions)
    ]


def forward(operands: list[dict[str, jax.Array]]) -> list[Any]:
    """Returns the products of a forward pass."""
    return [_forward(**direction) for direction in operands]


def forward_backward(operands: list[dict[str, jax.Array]]) -> list[Any]:
    """Returns the products of a forward and a backward pass."""
    return [(_forward(**direction), _backward(**direction)) for direction in operands]


def _forward(inputs, kernel, recurrent_kernel, states, gradients):
    del gradients
    hidden, first = states.shape[2], states[:, 0]

    def step(_, state):
        # The sum keeps the numbers from becoming subnormal, which some processors are slow at.
        return (state @ recurrent_kernel)[:, :hidden] + first

    return inputs @ kernel, jax.lax.fori_loop(0, states.shape[1], step, first)


def _backward(inputs, kernel, recurrent_kernel, states, gradients):
    hidden, last = states.shape[2], gradients[:, -1]

    def step(_, state):
        product = state @ recurrent_kernel.T
        return jnp.concatenate([product + last[:, :hidden], last[:, hidden:]], axis=1)

    def kernel_gradient(values):
        return jnp.einsum("bti,btg->ig", values, gradients)

    return (
        gradients @ kernel.T,
        kernel_gradient(inputs),
        kernel_gradient(states),
        jax.lax.fori_loop(0, states.shape[1], step, last),
    )
