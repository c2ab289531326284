r"""A word language model by the recipe of the AWD-LSTM.

Merity, Keskar, Socher, Regularizing and optimizing LSTM language models, ICLR 2018.

    python -m rnnjax.main --config configs/awd_lstm.py --config.data.file=text.txt

Each part of the recipe is a key: `model.regularization` has the dropout of recurrent weights, of
words, of inputs, between layers and of outputs, all with one mask for a batch, and the penalties on
the outputs and their change; `model.embedding.tied`, `model.layer_features`,
`data.length_variation` and `averaging.decay` the rest. It differs from the paper in its size and in
the optimizer: Adam with a decayed learning rate and an exponential moving average of the parameters
instead of averaged SGD. The initial values are those for language models, `model.initialization`.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Embedding(10000, 256) at both ends, LSTM(384) and LSTM(256) between them."""
    config = ml_collections.ConfigDict(defaults("language_modeling"))
    config.epochs = 14
    config.batch_size = 20
    config.learning_rate = 3e-3
    config.schedule = "cosine"
    config.data.corpus = "docstrings"
    config.data.validation = 0.05
    config.data.sequence_length = 35
    config.data.length_variation = 0.1
    config.data.vocabulary.size = 10_000
    config.model.embedding.features = 256
    config.model.embedding.tied = True
    config.model.cell = "LSTMCell"
    config.model.layers = 2
    config.model.layer_features = "384, 256"
    config.model.regularization.variational_dropout = True
    config.model.regularization.weight_dropout = 0.2
    config.model.regularization.embedding_dropout = 0.1
    config.model.regularization.input_dropout = 0.25
    config.model.regularization.hidden_dropout = 0.2
    config.model.regularization.output_dropout = 0.3
    config.model.regularization.activation = 1.0
    config.model.regularization.temporal_activation = 1.0
    config.optimizer.clip_norm = 1.0
    config.averaging.decay = 0.999
    return config
