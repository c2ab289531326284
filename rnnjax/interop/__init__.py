"""Weights of recurrent layers to and from Keras, PyTorch and flax.

A layer of rnnjax determines cell, directions and number of layers; weights are plain arrays, and
none of the three libraries is needed to convert::

    layer = Stack([Bidirectional(LSTMCell(64)), Bidirectional(LSTMCell(64))])
    params = from_torch(layer, module.state_dict())
    state, outputs = layer.apply({"params": params}, inputs, mask)
    tensors = {name: torch.from_numpy(array) for name, array in to_torch(layer, params).items()}

=============  ========================  ===========================  ==========================
rnnjax         Keras                     PyTorch                      flax.linen
=============  ========================  ===========================  ==========================
RNN            `layer.get_weights()`     a module's `state_dict()`    params of nn.RNN
Bidirectional  the same, forward first   the same, with `_reverse`    params of nn.Bidirectional
Stack          a list of such lists      one module, `num_layers`     params of nn.Sequential
SimpleCell     SimpleRNN                 nn.RNN                       SimpleCell
LSTMCell       LSTM                      nn.LSTM                      LSTMCell, OptimizedLSTMCell
GRUCell        GRU                       nn.GRU                       GRUCell
i, f, g, o     i, f, c, o                i, f, g, o                   an array for each gate
r, z, n        z, r, h                   r, z, n                      an array for each gate
reset_after    True and False            True                         True
=============  ========================  ===========================  ==========================

The modules document the biases of each library. Where a library can express the weights of rnnjax,
a round trip preserves all bits. Only weights are converted: activations, dropout, `merge`,
`return_sequences` and the direction of a single `RNN` must be set alike on both sides. The state of
an LSTM is (hidden, cell) in rnnjax, PyTorch and Keras, and (cell, hidden) in flax.
"""

from rnnjax.interop.flax import from_flax, to_flax
from rnnjax.interop.keras import from_keras, to_keras
from rnnjax.interop.torch import from_torch, to_torch

__all__ = ["from_flax", "from_keras", "from_torch", "to_flax", "to_keras", "to_torch"]
