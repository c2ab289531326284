"""GRU on the titles and descriptions of AG News under a mask.

Todo:
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
    return config
