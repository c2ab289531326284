"""What the contenders that stand on JAX share: a function of parameters becomes a job."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cases import BOTH, LayerData, digest
from contenders import Job


def layer_job(
    outputs: Callable[[Any, jax.Array, jax.Array], jax.Array],
    kernels: Callable[[Any], list[Any]],
    params: Any,
    data: LayerData,
    rows: np.ndarray,
) -> Job:
    """Returns the job of a layer.

    Args:
      outputs: of parameters, inputs and `rows`.
      kernels: picks the kernels from a pytree like the parameters.
      params: in NumPy arrays.
      data: what the layer is given.
      rows: says which steps are real: a mask or lengths.
    """

    def loss(params, inputs, rows, probe):
        return jnp.sum(outputs(params, inputs, rows) * probe)

    given = jax.device_put((params, data.inputs, rows))
    probe = jax.device_put(data.probe)
    forward, both = jax.jit(outputs), jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, (of_params, of_inputs) = both(*given, probe)
    found = digest(data, forward(*given), value, of_inputs, kernels(of_params))
    return Job(
        {
            "forward": lambda: jax.block_until_ready(forward(*given)),
            BOTH: lambda: jax.block_until_ready(both(*given, probe)),
        },
        {"digest": found},
    )


def named_kernels(tree: Any) -> list[Any]:
    """Returns the arrays of a tree of flax that are kernels."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [leaf for path, leaf in leaves if "kernel" in str(path[-1])]
