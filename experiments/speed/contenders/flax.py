"""nn.RNN and nn.Bidirectional of flax.linen."""

from typing import Any

import flax.linen as nn

from case_data import layer_data
from contenders import Job
from contenders.jax_jobs import layer_job, named_kernels
from contenders.rnnjax import make_layer
from rnnjax.interop import from_torch, to_flax

# Of flax's two cells with the same parameters the optimized one is the faster.
_CELLS = {"simple": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is ignored."""
    del variant
    data = layer_data(spec)
    rnnjax_layer = make_layer(spec)
    params = to_flax(rnnjax_layer, from_torch(rnnjax_layer, data.weights))

    def make_rnn() -> nn.RNN:
        return nn.RNN(_CELLS[spec["cell"]](spec["hidden"]))

    def outputs(params, inputs, lengths):
        if not spec["bidirectional"]:
            return make_rnn().apply({"params": params}, inputs, seq_lengths=lengths)
        for index in range(spec["layers"]):
            layer = nn.Bidirectional(make_rnn(), make_rnn())
            variables = {"params": params[f"layers_{index}"]}
            inputs = layer.apply(variables, inputs, seq_lengths=lengths)
        return inputs

    return layer_job(outputs, named_kernels, params, data, data.lengths)
