r"""Simple RNN on the titles and descriptions of AG News under a mask: the lesson's second network.

Adam at 1e-3, one epoch, the vocabulary of the titles of the first 2,000 training rows, as
Microsoft's "Introduction to natural language processing with TensorFlow" has it.

    python -m rnnjax.main --config configs/masked_rnn.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/lesson, masked_rnn: 1,281,364 parameters, 48,809 training rows, test accuracy 0.8487 ±
0.0070 (mean ± sd of seeds 0 to 4), trained in 3 s on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), SimpleRNN(16), Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.data.vocabulary.text = "title"
    config.data.vocabulary.rows = 2_000
    config.model.cell = "SimpleCell"
    config.model.features = 16
    config.acknowledged.narrow_vocabulary = "the lesson fits it on so much"
    return config
