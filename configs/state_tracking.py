r"""State tracking: a network reads longer sequences in the test than in training.

    python -m rnnjax.main --config configs/state_tracking.py \
        --config.memory.problem=modular_arithmetic

The problem is parity; `config.memory.problem` names the others: modular_arithmetic,
bracket_arithmetic, permutations_3, permutations_5, associative_recall, selective_copy.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """LSTM(64), Dense(2), lengths of 1 to 40."""
    config = ml_collections.ConfigDict(defaults("memory"))
    config.batch_size = 64
    config.learning_rate = 1e-2
    config.schedule = "cosine"
    config.warmup_steps = 100
    config.data.validation = 0.01
    config.memory.problem = "parity"
    config.memory.min_length = 1
    config.memory.length = 40
    config.memory.test_min_length = 40
    config.memory.test_length = 256
    config.memory.examples = 128_000
    config.model.cell = "LSTMCell"
    config.model.features = 64
    config.model.layers = 1
    config.optimizer.clip_norm = 1.0
    config.checkpoint.every = 0
    return config
