"""Streaming: outputs of a text in pieces equal those of the full text."""

import numpy as np
import pytest

from rnnjax.errors import InputError

from .small_runs import news_config, untrained_classifier

WORDS = ["goal", "--", "the", "striker", "xyzzy", "of", "profit", "shares", "minister", "minister"]
NETWORKS = {
    "LSTM": {},
    "two layers of GRU, max pooling": {
        "model__cell": "GRUCell",
        "model__layers": 2,
        "model__pooling": "max",
    },
    "JANET, learned initial state, weight dropout, one-hot": {
        "model__cell": "JANETCell",
        "model__regularization__weight_dropout": 0.2,
        "model__learned_initial_state": True,
        "model__embedding__features": 0,
    },
    "minGRU, at most five words": {
        "model__cell": "MinGRUCell",
        "model__pooling": "max",
        "data__max_tokens": 5,
    },
    "regularized MGU of flax, without a mask": {
        "model__cell": "flax.linen:MGUCell",
        "model__regularization__zoneout": 0.1,
        "model__regularization__recurrent_dropout": 0.2,
        "model__mask": False,
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_output_after_each_word_is_that_of_the_text_so_far(name, news):
    run = untrained_classifier(news_config(news, **NETWORKS[name]))
    texts = ["", *(" ".join(WORDS[: count + 1]) for count in range(len(WORDS)))]
    expected = run.predict(texts)
    stream = run.stream()
    outputs = np.stack([stream.feed(""), *map(stream.feed, WORDS)])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4)
    distinct = len(np.unique(outputs.round(6), axis=0))
    assert distinct > min(5, run.config.data.max_tokens or 5)
    pieces = run.stream()
    pieces.feed(" ".join(WORDS[:3]))
    np.testing.assert_allclose(pieces.feed(" ".join(WORDS[3:])), expected[-1], rtol=1e-4)


def test_streams_are_independent(news):
    run = untrained_classifier(news_config(news))
    forward, backward = run.stream(), run.stream()
    for word, backward_word in zip(WORDS, reversed(WORDS), strict=True):
        forward.feed(word)
        backward.feed(backward_word)
    expected = run.predict([" ".join(WORDS), " ".join(reversed(WORDS))])
    np.testing.assert_allclose([forward.feed(""), backward.feed("")], expected, rtol=1e-4)
    assert not np.allclose(*expected)


def test_bidirectional_network_is_refused(news):
    run = untrained_classifier(news_config(news, model__bidirectional=True))
    with pytest.raises(InputError, match="reads from both ends begins anew"):
        run.stream()


def test_invalid_piece_changes_nothing(news):
    stream = untrained_classifier(news_config(news)).stream()
    outputs = stream.feed("goal")
    with pytest.raises(InputError, match="not valid Unicode"):
        stream.feed("striker caf\udce9")
    np.testing.assert_array_equal(stream.feed(""), outputs)
