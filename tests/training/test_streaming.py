"""A text that is fed in pieces gets the answers that it would get whole."""

import numpy as np
import pytest

from rnnjax.errors import InputError

from .small import parse, unlearned

pytest_plugins = ["training.small"]

WORDS = ["goal", "--", "the", "striker", "xyzzy", "of", "profit", "shares", "minister", "minister"]
NETWORKS = {
    "an LSTM": {},
    "two layers of a GRU, the greatest output": {
        "model__cell": "GRUCell",
        "model__layers": 2,
        "model__pooling": "max",
    },
    "a JANET whose first state is learned and whose weights are dropped, one-hot": {
        "model__cell": "JANETCell",
        "model__regularization__weight_dropout": 0.2,
        "model__learned_initial_state": True,
        "model__embedding__features": 0,
    },
    "a minimal GRU that reads no more than five words": {
        "model__cell": "MinGRUCell",
        "model__pooling": "max",
        "data__max_tokens": 5,
    },
    "a regularized MGU of flax, of padding": {
        "model__cell": "flax.linen:MGUCell",
        "model__regularization__zoneout": 0.1,
        "model__regularization__recurrent_dropout": 0.2,
        "model__mask": False,
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_word_gets_the_answer_of_the_text_so_far(name, news):
    run = unlearned(parse(news, **NETWORKS[name]))
    texts = ["", *(" ".join(WORDS[: count + 1]) for count in range(len(WORDS)))]
    expected = run.predict(texts)
    stream = run.stream()
    found = np.stack([stream.feed(""), *map(stream.feed, WORDS)])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(np.unique(found.round(6), axis=0)) > min(5, run.config.data.max_tokens or 5)
    pieces = run.stream()
    pieces.feed(" ".join(WORDS[:3]))
    np.testing.assert_allclose(pieces.feed(" ".join(WORDS[3:])), expected[-1], rtol=1e-4)


def test_two_streams_know_nothing_of_each_other(news):
    run = unlearned(parse(news))
    one, other = run.stream(), run.stream()
    for word, else_ in zip(WORDS, reversed(WORDS), strict=True):
        one.feed(word)
        other.feed(else_)
    expected = run.predict([" ".join(WORDS), " ".join(reversed(WORDS))])
    np.testing.assert_allclose([one.feed(""), other.feed("")], expected, rtol=1e-4)
    assert not np.allclose(*expected)


def test_a_network_that_reads_from_both_ends_says_why_it_cannot(news):
    run = unlearned(parse(news, model__bidirectional=True))
    with pytest.raises(InputError, match="reads from both ends begins anew"):
        run.stream()


def test_a_piece_that_is_no_text_changes_nothing(news):
    stream = unlearned(parse(news)).stream()
    before = stream.feed("goal")
    with pytest.raises(InputError, match="not valid Unicode"):
        stream.feed("striker caf\udce9")
    np.testing.assert_array_equal(stream.feed(""), before)
