"""Scores are float32, and not the few numbers that bfloat16 has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell
from rnnjax.models import LanguageModel, SequenceModel, Translator

TOKENS = np.random.default_rng(0).integers(3, 11, (4, 6)).astype(np.int32)
MASK = np.ones((4, 6), bool)
HALF = jnp.bfloat16
CELL = LSTMCell(16, dtype=HALF)
SIZES = {"vocabulary": 11, "embedding": 16, "dtype": HALF}
MODELS = {
    "language model": LanguageModel(cell=CELL, **SIZES),
    "language model, tied": LanguageModel(cell=CELL, tied=True, **SIZES),
    "translator": Translator(encoder_cell=CELL, decoder_cell=CELL, tied=False, **SIZES),
    "translator, tied": Translator(encoder_cell=CELL, decoder_cell=CELL, tied=True, **SIZES),
    "sequence model": SequenceModel(cell=CELL, answers=11, dtype=HALF),
}


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_summed_in_float32(name):
    model = MODELS[name]
    given = {
        "translator": (TOKENS, MASK, TOKENS, MASK),
        "sequence model": (jax.nn.one_hot(TOKENS, 11), MASK),
    }.get(name.split(",")[0], (TOKENS, MASK))
    scores, variables = model.init_with_output(jax.random.key(0), *given)
    scores = scores[1] if isinstance(scores, tuple) else scores
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert scores.dtype == np.float32
    coarse = scores.astype(HALF).astype(np.float32)
    assert np.mean(np.asarray(scores != coarse)) > 0.5
