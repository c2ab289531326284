r"""A gated delta network on the titles and descriptions of AG News.

Two residual blocks, each with a norm, a causal convolution, the cell, a norm of its heads and a
gate. Yang, Kautz, Hatamizadeh, Gated delta networks: improving Mamba2 with delta rule, ICLR,
arXiv:2412.06464. The paper has its convolutions on queries, keys and values, here one is before
their projections, and feed-forward layers after the cells (`config.model.block.feed_forward`).

    python -m rnnjax.main --config configs/gated_deltanet.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/linear_recurrences, gated_deltanet: 1,322,832 parameters, 48,809 training rows, test
accuracy 0.8995 ± 0.0037 (mean ± sd of seeds 0 to 2), trained in 4 min of processor time on 2 CPU
cores.

The same blocks, wider, on characters (experiments/linear_recurrences_characters):

    python -m rnnjax.main --config configs/char_rnn.py \
        --config.epochs=4 --config.learning_rate=1e-2 \
        --config.data.file=../shared/data/tinyshakespeare/input.txt \
        '--config.model.cell=GatedDeltaNetCell(heads=2)' --config.model.initialization= \
        --config.model.features=64 --config.model.layers=2 \
        --config.model.block.features=128 --config.model.block.gate=True \
        --config.model.block.convolution=4 --config.model.block.groups=2
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), two blocks of GatedDeltaNet(64), the greatest over time, Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.epochs = 2
    config.batch_size = 64
    config.learning_rate = 1e-2
    config.schedule = "cosine"
    config.data.max_tokens = 80
    config.model.cell = "GatedDeltaNetCell(heads=2)"
    config.model.features = 64
    config.model.layers = 2
    config.model.block.features = 64
    config.model.block.convolution = 4
    config.model.block.groups = 2
    config.model.block.gate = True
    config.model.pooling = "max"
    config.model.dropout = 0.3
    config.optimizer.clip_norm = 1.0
    return config
