"""Layers: a cell over time, in both directions, and stacked."""

from rnnjax.layers.bidirectional import Bidirectional
from rnnjax.layers.rnn import RNN, engines
from rnnjax.layers.stack import Stack

__all__ = ["RNN", "Bidirectional", "Stack", "engines"]
