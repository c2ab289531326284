"""Scores are float32, and not the few numbers that bfloat16 has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell
from rnnjax.models import SequenceModel
from rnnjax.tasks.language_modeling.model import LanguageModel
from rnnjax.tasks.translation.model import Translator

TOKENS = np.random.default_rng(0).integers(3, 11, (4, 6)).astype(np.int32)
MASK = np.ones((4, 6), bool)
BFLOAT16 = jnp.bfloat16
CELL = LSTMCell(16, dtype=BFLOAT16)
SIZES = {"vocabulary": 11, "embedding": 16, "dtype": BFLOAT16}
MODELS = {
    "language model": LanguageModel(cell=CELL, **SIZES),
    "language model, tied": LanguageModel(cell=CELL, tied=True, **SIZES),
    "translator": Translator(encoder_cell=CELL, decoder_cell=CELL, tied=False, **SIZES),
    "translator, tied": Translator(encoder_cell=CELL, decoder_cell=CELL, tied=True, **SIZES),
    "sequence model": SequenceModel(cell=CELL, outputs=11, dtype=BFLOAT16),
}


@pytest.mark.usefixtures("implicit_promotion")  # nn.Dense adds a bfloat16 bias to float32 sums
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_summed_in_float32(name):
    model = MODELS[name]
    inputs = {
        "translator": (TOKENS, MASK, TOKENS, MASK),
        "sequence model": (jax.nn.one_hot(TOKENS, 11), MASK),
    }.get(name.split(",")[0], (TOKENS, MASK))
    scores, variables = model.init_with_output(jax.random.key(0), *inputs)
    scores = scores[1] if isinstance(scores, tuple) else scores
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert scores.dtype == np.float32
    rounded = scores.astype(BFLOAT16).astype(np.float32)
    assert np.mean(np.asarray(scores != rounded)) > 0.5
