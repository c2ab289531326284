"""Jobs of the contenders that are built on JAX, from a function of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from case_data import LayerData
from cases import FORWARD_BACKWARD
from contenders import Job
from digests import digest


def layer_job(
    outputs: Callable[[Any, jax.Array, jax.Array], jax.Array],
    kernels: Callable[[Any], list[Any]],
    params: Any,
    data: LayerData,
    mask: np.ndarray,
) -> Job:
    """Returns the job of a layer.

    Its facts are the digest and the memory of forward+backward, that is the size that XLA's buffer
    assignment reserves beside arguments and results.

    Args:
      outputs: function of parameters, inputs and `mask`.
      kernels: selects the kernels from a pytree like the parameters.
      params: in NumPy arrays.
      data: inputs of the layer.
      mask: a mask, or the lengths of the rows.
    """

    def loss(params, inputs, mask, probe):
        return jnp.sum(outputs(params, inputs, mask) * probe)

    arguments = jax.device_put((params, data.inputs, mask))
    probe = jax.device_put(data.probe)
    forward = jax.jit(outputs)
    lowered = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arguments, probe)
    gradients = lowered.compile()
    value, (param_gradients, input_gradient) = gradients(*arguments, probe)
    facts: dict[str, Any] = {
        "digest": digest(data, forward(*arguments), value, input_gradient, kernels(param_gradients))
    }
    memory = gradients.memory_analysis()
    if memory is not None:
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return Job(
        {
            "forward": lambda: jax.block_until_ready(forward(*arguments)),
            FORWARD_BACKWARD: lambda: jax.block_until_ready(gradients(*arguments, probe)),
        },
        facts,
    )


def named_kernels(tree: Any) -> list[Any]:
    """Returns the kernels of a tree of flax parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [leaf for path, leaf in leaves if "kernel" in str(path[-1])]
