"""Layers: a cell over time, in both directions, in blocks, and stacked; regularisers; attention."""

from rnnjax.layers.attention import AdditiveAttention, AttentionMemory, MultiplicativeAttention
from rnnjax.layers.bidirectional import Bidirectional
from rnnjax.layers.convolution import CausalConvolution
from rnnjax.layers.engines import EngineChoice, available_engines, explain
from rnnjax.layers.masks import mask_from_lengths
from rnnjax.layers.newton import NEWTON, Newton
from rnnjax.layers.regularizers import (
    WeightDrop,
    activation_regularization,
    embedding_dropout,
    temporal_activation_regularization,
)
from rnnjax.layers.residual_block import ResidualBlock
from rnnjax.layers.rnn import RNN
from rnnjax.layers.stack import Stack

__all__ = [
    "NEWTON",
    "RNN",
    "AdditiveAttention",
    "AttentionMemory",
    "Bidirectional",
    "CausalConvolution",
    "EngineChoice",
    "MultiplicativeAttention",
    "Newton",
    "ResidualBlock",
    "Stack",
    "WeightDrop",
    "activation_regularization",
    "available_engines",
    "embedding_dropout",
    "explain",
    "mask_from_lengths",
    "temporal_activation_regularization",
]
