"""The matrix products of a layer and nothing else, by XLA: a floor for what stands on it."""

from typing import Any

import jax
import jax.numpy as jnp

from cases import BOTH, GATES
from contenders import Job


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of the products alone; `variant` means nothing here.

    Those of the inputs and those of the gradients of the kernels are one product for all steps;
    those with the recurrent kernel, there and back, wait for one another. No gate is computed, no
    state kept, no mask looked at: it is no layer, and has no digest to compare.
    """
    del variant
    given = arrays(spec)
    one, two = jax.jit(forward), jax.jit(both)
    jax.block_until_ready((one(given), two(given)))
    return Job(
        {
            "forward": lambda: jax.block_until_ready(one(given)),
            BOTH: lambda: jax.block_until_ready(two(given)),
        },
        {},
    )


def arrays(spec: dict[str, Any]) -> list[dict[str, jax.Array]]:
    """Returns what is multiplied, for each direction of each layer."""
    batch, time, hidden = spec["batch"], spec["time"], spec["hidden"]
    units, directions = GATES[spec["cell"]] * hidden, 1 + spec["bidirectional"]
    read = [spec["inputs"], *[directions * hidden] * (spec["layers"] - 1)]
    keys = iter(jax.random.split(jax.random.key(0), 5 * directions * len(read)))

    def drawn(*shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=-1.0) * hidden**-0.5

    return [
        {
            "inputs": drawn(batch, time, inputs),
            "kernel": drawn(inputs, units),
            "recurrent_kernel": drawn(hidden, units),
            "states": drawn(batch, time, hidden),
            "gradients": drawn(batch, time, units),
        }
        for inputs in read
        for _ in range(directions)
    ]


def forward(given: list[dict[str, jax.Array]]) -> list[Any]:
    """Returns the products of a forward pass."""
    return [_forward(**each) for each in given]


def both(given: list[dict[str, jax.Array]]) -> list[Any]:
    """Returns the products of a forward and a backward pass."""
    return [(_forward(**each), _backward(**each)) for each in given]


def _forward(inputs, kernel, recurrent_kernel, states, gradients):
    del gradients
    hidden, first = states.shape[2], states[:, 0]

    def step(_, state):
        # What is added keeps the numbers from fading away, which some processors are slow at.
        return (state @ recurrent_kernel)[:, :hidden] + first

    return inputs @ kernel, jax.lax.fori_loop(0, states.shape[1], step, first)


def _backward(inputs, kernel, recurrent_kernel, states, gradients):
    hidden, last = states.shape[2], gradients[:, -1]

    def step(_, state):
        below = state @ recurrent_kernel.T
        return jnp.concatenate([below + last[:, :hidden], last[:, hidden:]], axis=1)

    def of_kernel(values):
        return jnp.einsum("bti,btg->ig", values, gradients)

    return (
        gradients @ kernel.T,
        of_kernel(inputs),
        of_kernel(states),
        jax.lax.fori_loop(0, states.shape[1], step, last),
    )
