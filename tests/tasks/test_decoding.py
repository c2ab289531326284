"""Translation by greedy and beam search: scores, batching, special tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell
from rnnjax.config import parse
from rnnjax.data.vocabulary import END, UNKNOWN, Vocabulary
from rnnjax.tasks.translation import decoding
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.decoding import BeamOptions, TranslatedText, translate_texts
from rnnjax.tasks.translation.model import Translator

TEXTS = ["a b", "", "e d c b a a a", "c"]
LENGTH = 6
VOCABULARY = Vocabulary.fit(["a b c d e"], 10, end_token=True)
MODEL = Translator(
    vocabulary=len(VOCABULARY),
    encoder_cell=GRUCell(3),
    decoder_cell=GRUCell(5),
    embedding=4,
    tied=False,
)


@pytest.fixture(scope="module")
def params():
    """Random parameters with a bias towards the unknown token."""
    draw = np.random.default_rng(1)
    tokens = jnp.zeros((1, 1), jnp.int32)
    inputs = tokens, tokens == 0, tokens, tokens == 0
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), *inputs)["params"]
    params = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(leaf.dtype), shapes)
    params["score"]["bias"][UNKNOWN] += 50
    return params


def translate(
    params, width=1, texts=TEXTS, batch_size=3, penalties=(1.0, 0.0)
) -> list[TranslatedText]:
    """Returns the translations of some texts."""
    sources, beam = VOCABULARY.encode(texts), BeamOptions(width, *penalties)
    options = {"length": LENGTH, "batch_size": batch_size}
    return translate_texts(MODEL, params, VOCABULARY, sources, beam, **options)


def token_ids(tokens) -> list[int]:
    """Returns the ids of tokens."""
    return [VOCABULARY.words.index(token) for token in tokens]


def log_probabilities(params, translation) -> np.ndarray:
    """Returns log-probabilities of all tokens at each step of a translation."""
    source = np.array([token_ids(translation.source_tokens) or [0]], np.int32)
    inputs = np.array([[END, *token_ids(translation.tokens)[:-1]]], np.int32)
    mask = np.full(source.shape, bool(translation.source_tokens)), np.ones(inputs.shape, bool)
    logits = MODEL.apply({"params": params}, source, mask[0], inputs, mask[1])
    return np.array(jax.nn.log_softmax(jnp.asarray(logits)[0]))


def test_greedy_translation_takes_the_most_probable_tokens(params):
    for text, translation in zip(TEXTS, translate(params), strict=True):
        assert " ".join(translation.source_tokens) == text
        assert translation.text == " ".join(translation.tokens[:-1])
        ids, scores = token_ids(translation.tokens), log_probabilities(params, translation)
        assert translation.score == pytest.approx(sum(scores[np.arange(len(ids)), ids]), rel=1e-4)
        scores[:, :END] = -np.inf
        best = scores.argmax(axis=-1).tolist()
        assert ids[:-1] == best[:-1]
        assert ids[-1] == END
        assert len(ids) == LENGTH or best[-1] == END


def test_beam_scores_apply_the_penalties(params):
    alpha, beta = 0.7, 0.4
    for translation in translate(params, 3, penalties=(alpha, beta)):
        ids, scores = token_ids(translation.tokens), log_probabilities(params, translation)
        expected = sum(scores[np.arange(len(ids)), ids]) / ((5 + len(ids)) / 6) ** alpha
        expected += beta * np.log(np.minimum(translation.attention.sum(axis=0), 1)).sum()
        assert translation.score == pytest.approx(expected, rel=1e-4)
    greedy = [translation.score for translation in translate(params)]
    best = [translation.score for translation in translate(params, 3, penalties=(0.0, 0.0))]
    assert np.all(np.array(best) >= np.array(greedy) - 1e-4)
    config = parse(
        {
            "task": "translation",
            "translation": {"beam_size": 3, "length_penalty": 0.7, "coverage_penalty": 0.4},
        }
    )
    assert BeamOptions.from_config(config.section(TranslationConfig)) == (3, alpha, beta)


@pytest.mark.parametrize("width", [1, 3])
def test_sources_are_translated_independently(params, width):
    translations = translate(params, width)
    for text, batched in zip(TEXTS, translations, strict=True):
        (single,) = translate(params, width, [text])
        assert single.tokens == batched.tokens
        assert single.score == pytest.approx(batched.score, rel=1e-4)
        np.testing.assert_allclose(single.attention, batched.attention, atol=1e-5)


def test_long_sources_are_batches_of_one(params, monkeypatch):
    texts, shapes, search = [*TEXTS, "e d c b"], [], decoding.search

    def recording_search(model, params, tokens, *args, **options):
        shapes.append(tokens.shape)
        return search(model, params, tokens, *args, **options)

    expected = translate(params, texts=texts)
    monkeypatch.setattr(decoding, "search", recording_search)
    monkeypatch.setattr(decoding, "_LONG", 3)
    translations = translate(params, texts=texts)
    assert shapes == [(3, 16), (1, 16), (1, 16)]
    assert [translation.tokens for translation in translations] == [
        translation.tokens for translation in expected
    ]
    assert [translation.source_tokens for translation in translations] == [
        translation.source_tokens for translation in expected
    ]


def test_alignments_are_the_largest_attention_weights(params):
    attention = np.array([[0.2, 0.8], [0.7, 0.3]])
    translation = TranslatedText("x", 0.0, ("a", "b"), ("x", "[END]"), attention)
    assert translation.alignments == [("x", 0.8, "b"), ("[END]", 0.7, "a")]
    empty = translate(params)[1]
    assert empty.attention.shape == (len(empty.tokens), 0)
    assert empty.alignments == []
