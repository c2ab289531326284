r"""S5, a diagonal state space model, on the titles and descriptions of AG News.

Two residual blocks, each with a norm, the cell and a gate, without a convolution. Smith,
Warrington, Linderman, Simplified state space layers for sequence modeling, ICLR, arXiv:2208.04933.
The paper's gate reads the cell's outputs, this one the inputs of the block.

    python -m rnnjax.main --config configs/s5.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/linear_recurrences, s5: 1,338,180 parameters, 48,809 training rows, test accuracy 0.9041
± 0.0045 (mean ± sd of seeds 0 to 2), trained in 1 min of processor time on 2 CPU cores.

The same blocks, wider, on characters (experiments/linear_recurrences_characters):

    python -m rnnjax.main --config configs/char_rnn.py \
        --config.epochs=4 --config.learning_rate=1e-2 \
        --config.data.file=../shared/data/tinyshakespeare/input.txt \
        --config.model.cell=S5Cell --config.model.initialization= \
        --config.model.features=64 --config.model.layers=2 \
        --config.model.block.features=128 --config.model.block.gate=True
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), two blocks of S5(64), the greatest over time, Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.epochs = 2
    config.batch_size = 64
    config.learning_rate = 1e-2
    config.schedule = "cosine"
    config.data.max_tokens = 80
    config.model.cell = "S5Cell"
    config.model.features = 64
    config.model.layers = 2
    config.model.block.features = 64
    config.model.block.gate = True
    config.model.pooling = "max"
    config.model.dropout = 0.3
    config.optimizer.clip_norm = 1.0
    return config
