"""What a translator writes: each source by itself, and no token that is none of a text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell
from rnnjax.config import parse
from rnnjax.data.vocabulary import END, UNKNOWN, Vocabulary
from rnnjax.models import Translator
from rnnjax.tasks import decoding
from rnnjax.tasks.decoding import BeamOptions, TranslatedText, translate_texts

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
    """Random parameters of a network that would write the unknown token wherever it may."""
    draw = np.random.default_rng(1)
    tokens = jnp.zeros((1, 1), jnp.int32)
    given = tokens, tokens == 0, tokens, tokens == 0
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), *given)["params"]
    params = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(leaf.dtype), shapes)
    params["score"]["bias"][UNKNOWN] += 50
    return params


def written(
    params, width=1, texts=TEXTS, batch_size=3, penalties=(1.0, 0.0)
) -> list[TranslatedText]:
    """Returns what is written for some texts."""
    sources, beam = VOCABULARY.encode(texts), BeamOptions(width, *penalties)
    options = {"length": LENGTH, "batch_size": batch_size}
    return translate_texts(MODEL, params, VOCABULARY, sources, beam, **options)


def numbers(tokens) -> list[int]:
    """Returns the numbers of tokens."""
    return [VOCABULARY.words.index(token) for token in tokens]


def log_probabilities(params, each) -> np.ndarray:
    """Returns those of every token at each place of a translation."""
    source = np.array([numbers(each.source_tokens) or [0]], np.int32)
    inputs = np.array([[END, *numbers(each.tokens)[:-1]]], np.int32)
    mask = np.full(source.shape, bool(each.source_tokens)), np.ones(inputs.shape, bool)
    logits = MODEL.apply({"params": params}, source, mask[0], inputs, mask[1])
    return np.array(jax.nn.log_softmax(jnp.asarray(logits)[0]))


def test_with_one_text_at_a_time_the_most_probable_next_token_is_written(params):
    for text, each in zip(TEXTS, written(params), strict=True):
        assert " ".join(each.source_tokens) == text
        assert each.text == " ".join(each.tokens[:-1])
        found, scores = numbers(each.tokens), log_probabilities(params, each)
        assert each.score == pytest.approx(sum(scores[np.arange(len(found)), found]), rel=1e-4)
        scores[:, :END] = -np.inf
        best = scores.argmax(axis=-1).tolist()
        assert found[:-1] == best[:-1]
        assert found[-1] == END
        assert len(found) == LENGTH or best[-1] == END


def test_a_beam_ranks_by_the_penalties_that_are_asked(params):
    alpha, beta = 0.7, 0.4
    for each in written(params, 3, penalties=(alpha, beta)):
        found, scores = numbers(each.tokens), log_probabilities(params, each)
        expected = sum(scores[np.arange(len(found)), found]) / ((5 + len(found)) / 6) ** alpha
        expected += beta * np.log(np.minimum(each.attention.sum(axis=0), 1)).sum()
        assert each.score == pytest.approx(expected, rel=1e-4)
    greedy = [each.score for each in written(params)]
    best = [each.score for each in written(params, 3, penalties=(0.0, 0.0))]
    assert np.all(np.array(best) >= np.array(greedy) - 1e-4)
    config = parse(
        {
            "task": "translation",
            "translation": {"beam_size": 3, "length_penalty": 0.7, "coverage_penalty": 0.4},
        }
    )
    assert BeamOptions.from_config(config.translation) == (3, alpha, beta)


@pytest.mark.parametrize("width", [1, 3])
def test_what_stands_beside_a_source_changes_nothing(params, width):
    together = written(params, width)
    for text, each in zip(TEXTS, together, strict=True):
        (alone,) = written(params, width, [text])
        assert alone.tokens == each.tokens
        assert alone.score == pytest.approx(each.score, rel=1e-4)
        np.testing.assert_allclose(alone.attention, each.attention, atol=1e-5)


def test_a_long_source_is_read_by_itself(params, monkeypatch):
    texts, shapes, search = [*TEXTS, "e d c b"], [], decoding._search

    def noting(model, params, tokens, *args, **options):
        shapes.append(tokens.shape)
        return search(model, params, tokens, *args, **options)

    expected = written(params, texts=texts)
    monkeypatch.setattr(decoding, "_search", noting)
    monkeypatch.setattr(decoding, "_LONG", 3)
    found = written(params, texts=texts)
    assert shapes == [(3, 16), (1, 16), (1, 16)]
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    assert [each.source_tokens for each in found] == [each.source_tokens for each in expected]


def test_a_text_says_where_the_network_looked_most(params):
    attention = np.array([[0.2, 0.8], [0.7, 0.3]])
    each = TranslatedText("x", 0.0, ("a", "b"), ("x", "[END]"), attention)
    assert each.alignments == [("x", 0.8, "b"), ("[END]", 0.7, "a")]
    empty = written(params)[1]
    assert empty.attention.shape == (len(empty.tokens), 0)
    assert empty.alignments == []
