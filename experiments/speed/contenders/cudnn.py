"""cuDNN's LSTM as `jax.experimental.rnn` has it, on a GPU."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cases import layer_data
from contenders import Job, NotOfferedError
from contenders.in_jax import layer_job


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` means nothing here."""
    del variant
    if spec["cell"] != "lstm":
        raise NotOfferedError("jax.experimental.rnn has the LSTM alone")
    if jax.default_backend() != "gpu":
        raise NotOfferedError("jax.experimental.rnn needs a GPU")
    from jax.experimental import rnn

    data = layer_data(spec)
    runs = spec["layers"] * (1 + spec["bidirectional"])
    weights, size = flat(data.weights)

    def outputs(weights, inputs, lengths):
        zeros = jnp.zeros((runs, spec["batch"], spec["hidden"]))
        options = {
            "input_size": spec["inputs"],
            "hidden_size": spec["hidden"],
            "num_layers": spec["layers"],
            "dropout": 0.0,
            "bidirectional": spec["bidirectional"],
        }
        return rnn.lstm(inputs, zeros, zeros, weights, lengths, **options)[0]

    return layer_job(outputs, lambda weights: [weights[:size]], weights, data, data.lengths)


def flat(weights: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Returns weights named as PyTorch's in cuDNN's order, and how many numbers are kernels.

    First the kernels of every run, then the biases of every run.
    """
    kernels = [array for name, array in weights.items() if name.startswith("weight")]
    biases = [array for name, array in weights.items() if name.startswith("bias")]
    ordered = np.concatenate([array.ravel() for array in kernels + biases])
    return ordered, sum(array.size for array in kernels)
