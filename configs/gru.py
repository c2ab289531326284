r"""GRU on the titles and descriptions of AG News under a mask.

Adam at 1e-3, one epoch, the vocabulary of the titles of the first 2,000 training rows, as
Microsoft's "Introduction to natural language processing with TensorFlow" has it.

    python -m rnnjax.main --config configs/gru.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/lesson, gru: 1,284,004 parameters, 48,809 training rows, test accuracy 0.8851 ± 0.0017
(mean ± sd of seeds 0 to 4), trained in 2 s on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), GRU(16), Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.data.vocabulary.text = "title"
    config.data.vocabulary.rows = 2_000
    config.model.cell = "GRUCell"
    config.model.features = 16
    config.acknowledged.narrow_vocabulary = "the lesson fits it on so much"
    return config
