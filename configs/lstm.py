r"""LSTM on the titles and descriptions of AG News, padding read as text.

The third network of the lesson: Adam at 1e-3, one epoch, the vocabulary of the titles of the first
2,000 training rows, as Microsoft's "Introduction to natural language processing with TensorFlow"
has it.

    python -m rnnjax.main --config configs/lstm.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/lesson, lstm: 1,282,372 parameters, 48,809 training rows, test accuracy 0.8303 ± 0.0221
(mean ± sd of seeds 0 to 4), trained in 4 s on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), LSTM(8), Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.batch_size = 8
    config.data.bucketing = False
    config.data.vocabulary.text = "title"
    config.data.vocabulary.rows = 2_000
    config.model.cell = "LSTMCell"
    config.model.features = 8
    config.model.mask = False
    config.acknowledged.narrow_vocabulary = "the lesson fits it on so much"
    config.acknowledged.padding_read = "the lesson has no mask here, which shows what one is for"
    config.acknowledged.unlike_batch_size = "the lesson has batches of 8 here"
    return config
