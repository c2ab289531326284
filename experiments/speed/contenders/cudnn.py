"""The LSTM of cuDNN in `jax.experimental.rnn`, on a GPU."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from case_data import layer_data
from contenders import Job, NotOfferedError
from contenders.jax_jobs import layer_job


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is ignored."""
    del variant
    if spec["cell"] != "lstm":
        raise NotOfferedError("jax.experimental.rnn has the LSTM alone")
    if jax.default_backend() != "gpu":
        raise NotOfferedError("jax.experimental.rnn needs a GPU")
    from jax.experimental import rnn

    data = layer_data(spec)
    num_directions = spec["layers"] * (1 + spec["bidirectional"])
    weights, kernel_size = flatten_weights(data.weights)

    def outputs(weights, inputs, lengths):
        zeros = jnp.zeros((num_directions, spec["batch"], spec["hidden"]))
        options = {
            "input_size": spec["inputs"],
            "hidden_size": spec["hidden"],
            "num_layers": spec["layers"],
            "dropout": 0.0,
            "bidirectional": spec["bidirectional"],
        }
        return rnn.lstm(inputs, zeros, zeros, weights, lengths, **options)[0]

    return layer_job(outputs, lambda weights: [weights[:kernel_size]], weights, data, data.lengths)


def flatten_weights(weights: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Concatenates weights named as in PyTorch in the order of cuDNN; also their kernels' size.

    First the kernels of all directions, then the biases.
    """
    kernels = [array for name, array in weights.items() if name.startswith("weight")]
    biases = [array for name, array in weights.items() if name.startswith("bias")]
    flat = np.concatenate([array.ravel() for array in kernels + biases])
    return flat, sum(array.size for array in kernels)
