r"""A bidirectional LSTM that labels each character of Python source with its lexical token.

Graves, Schmidhuber, Neural Networks 18 (2005), for the network.

    python -m rnnjax.main --config configs/tagging.py

It reads the source files of the installed Python libraries. A file of one's own has a token and its
label on each line, and an empty line between texts:
`--config.data.file=train.conll --config.data.test_file=test.conll`.

experiments/tagging, tagging: 53,735 parameters, 3,155 training rows, test accuracy 0.9527 ± 0.0094
(mean ± sd of seeds 0 to 4), trained in 34 s of processor time on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(32), bidirectional LSTM(64), a linear output at each character."""
    config = ml_collections.ConfigDict(defaults("tagging"))
    config.epochs = 5
    config.batch_size = 32
    config.learning_rate = 5e-3
    config.schedule = "cosine"
    config.data.validation = 0.1
    config.model.embedding.features = 32
    config.model.cell = "LSTMCell"
    config.model.features = 64
    config.model.bidirectional = True
    return config
