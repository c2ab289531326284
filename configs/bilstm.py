r"""Two bidirectional LSTM layers on the titles and descriptions of AG News: the lesson's best.

Adam at 1e-3, one epoch, the vocabulary of the titles of the first 2,000 training rows, as
Microsoft's "Introduction to natural language processing with TensorFlow" has it.

    python -m rnnjax.main --config configs/bilstm.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/lesson, bilstm: 2,758,148 parameters, 48,809 training rows, test accuracy 0.8812 ±
0.0042 (mean ± sd of seeds 0 to 4), trained in 16 s on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 128), two bidirectional LSTM(64), Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.data.vocabulary.text = "title"
    config.data.vocabulary.rows = 2_000
    config.model.embedding.features = 128
    config.model.cell = "LSTMCell"
    config.model.features = 64
    config.model.layers = 2
    config.model.bidirectional = True
    config.acknowledged.narrow_vocabulary = "the lesson fits it on so much"
    return config
