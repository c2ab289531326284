"""flax.linen's nn.RNN and nn.Bidirectional."""

from typing import Any

import flax.linen as nn

from cases import layer_data
from contenders import Job
from contenders.in_jax import layer_job, named_kernels
from contenders.ours import layer_of
from rnnjax.interop import from_torch, to_flax

# Of flax's two cells with the same parameters the optimized one is the faster.
_CELLS = {"simple": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` means nothing here."""
    del variant
    data = layer_data(spec)
    like = layer_of(spec)
    params = to_flax(like, from_torch(like, data.weights))

    def run() -> nn.RNN:
        return nn.RNN(_CELLS[spec["cell"]](spec["hidden"]))

    def outputs(params, inputs, lengths):
        if not spec["bidirectional"]:
            return run().apply({"params": params}, inputs, seq_lengths=lengths)
        for index in range(spec["layers"]):
            layer = nn.Bidirectional(run(), run())
            own = {"params": params[f"layers_{index}"]}
            inputs = layer.apply(own, inputs, seq_lengths=lengths)
        return inputs

    return layer_job(outputs, named_kernels, params, data, data.lengths)
