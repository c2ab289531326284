"""The adding problem: an LSTM remembers two marked numbers among a hundred, and says their sum.

python -m rnnjax.main --config configs/adding.py

`config.memory.problem` names the others: copy, selective_copy, parity.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """LSTM(64), Dense(1), a hundred steps, two thousand updates."""
    config = ml_collections.ConfigDict(defaults("memory"))
    config.batch_size = 32
    config.learning_rate = 3e-3
    config.data.validation = 0.01
    config.memory.problem = "adding"
    config.memory.length = 100
    config.memory.examples = 64_000
    config.model.cell = "LSTMCell"
    config.model.features = 64
    config.optimizer.clip_norm = 1.0
    config.checkpoint.every = 0
    return config
