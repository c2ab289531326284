r"""A word language model whose embedding is tied to its output weights.

Press, Wolf, EACL 2017; Inan, Khosravi, Socher, ICLR 2017.

    python -m rnnjax.main --config configs/word_lm.py

It reads the docstrings of the installed Python libraries, each a document of its own, or a file:
`--config.data.file=text.txt`.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(8000, 128) at both ends, two LSTM(128) between them."""
    config = ml_collections.ConfigDict(defaults("language_modeling"))
    config.epochs = 8
    config.batch_size = 32
    config.learning_rate = 3e-3
    config.schedule = "cosine"
    config.data.corpus = "docstrings"
    config.data.validation = 0.05
    config.data.sequence_length = 32
    config.data.vocabulary.size = 8_000
    config.model.embedding.features = 128
    config.model.embedding.tied = True
    config.model.cell = "LSTMCell"
    config.model.features = 128
    config.model.layers = 2
    config.model.dropout = 0.3
    config.model.regularization.variational_dropout = True
    config.optimizer.clip_norm = 1.0
    return config
