r"""Simple RNN on the titles of AG News, padding read as text: the lesson's first network.

Adam at 1e-3, one epoch, the vocabulary of the titles of the first 2,000 training rows, as
Microsoft's "Introduction to natural language processing with TensorFlow" has it.

    python -m rnnjax.main --config configs/simple_rnn.py \
        --config.data.dir=../shared/data/ag_news_csv

experiments/lesson, simple_rnn: 1,281,364 parameters, 48,809 training rows, test accuracy 0.7856 ±
0.0087 (mean ± sd of seeds 0 to 4), trained in 2 s on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(20000, 64), SimpleRNN(16), Dense(4)."""
    config = ml_collections.ConfigDict(defaults())
    config.data.text = "title"
    config.data.bucketing = False
    config.data.vocabulary.text = "title"
    config.data.vocabulary.rows = 2_000
    config.model.cell = "SimpleCell"
    config.model.features = 16
    config.model.mask = False
    config.acknowledged.narrow_vocabulary = "the lesson fits it on so much"
    config.acknowledged.padding_read = "the lesson has no mask here, which shows what one is for"
    config.acknowledged.test_leak = "the lesson reads titles alone, and agencies repeat theirs"
    return config
