"""Weights of recurrent layers to and from Keras, PyTorch and flax.

A layer of ours says which cell runs in which directions, and how many are stacked; plain arrays go
in and come out. None of the three libraries is needed to convert::

    layer = Stack([Bidirectional(LSTMCell(64)), Bidirectional(LSTMCell(64))])
    params = from_torch(layer, module.state_dict())
    state, outputs = layer.apply({"params": params}, inputs, mask)
    tensors = {name: torch.from_numpy(array) for name, array in to_torch(layer, params).items()}

=============  ========================  ===========================  ==========================
here           Keras                     PyTorch                      flax.linen
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

The modules say how each library writes its biases. Where theirs can hold ours, ours come back from
there bit for bit. Weights are all that travels: activations, dropout, `merge`, `return_sequences`
and the direction of a single `RNN` are to be set alike on both sides. The order of the states of an
LSTM differs as well: (hidden, cell) here and in PyTorch and Keras, (cell, hidden) in flax.
"""

from rnnjax.interop.flax import from_flax, to_flax
from rnnjax.interop.keras import from_keras, to_keras
from rnnjax.interop.torch import from_torch, to_torch

__all__ = ["from_flax", "from_keras", "from_torch", "to_flax", "to_keras", "to_torch"]
