"""Greedy and beam search against all the texts that there are."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.tasks.beam_search import beam_search, greedy, repeat_rows

VOCABULARY, LENGTH, END, SOURCES, BATCH = 4, 4, 2, 3, 5
MASK = np.arange(SOURCES) < np.array([3, 2, 1, 3, 0])[:, None]
SPACE = sum((VOCABULARY - 1) ** count for count in range(LENGTH))
"""How many texts end within the length."""


class Random:
    """A small network of random weights: what comes next depends on all that was written."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.begin = rng.standard_normal((BATCH, 6)).astype(np.float32)
        self.tokens = rng.standard_normal((VOCABULARY, 6)).astype(np.float32)
        self.inner = rng.standard_normal((6, 6)).astype(np.float32)
        self.scores = 2 * rng.standard_normal((6, VOCABULARY)).astype(np.float32)
        self.looks = rng.standard_normal((6, SOURCES)).astype(np.float32)

    def step(self, mask, state, tokens, np: Any = jnp):
        """Returns the next state, log-probabilities and weights of attention."""
        state = np.tanh(state @ self.inner + np.asarray(self.tokens)[tokens])
        weights = np.where(mask, np.exp(state @ self.looks), 0)
        weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)
        scores = state @ self.scores
        return state, scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)), weights

    def score(self, row, text, alpha=0.0, beta=0.0):
        """Returns the score of a text, by the formula, and where the network looked."""
        state, last, total, looked = self.begin[row : row + 1], END, 0.0, []
        for token in text:
            state, scores, weights = self.step(MASK[row], state, np.array([last]), np)
            total += float(scores[0, token])
            looked.append(weights[0])
            last = token
        covered = np.minimum(np.sum(looked, axis=0), 1)[MASK[row]]
        penalty = beta * np.log(covered).sum() if len(covered) else 0.0
        return total / ((5 + len(text)) / 6) ** alpha + penalty, np.array(looked)


def beam(model, width, rows=slice(None), **options):
    """Returns what a beam search finds, in NumPy arrays."""

    @jax.jit
    def search(begin, mask):
        step = functools.partial(model.step, repeat_rows(mask, width))
        given = {"width": width, "length": LENGTH, "end": END, **options}
        return beam_search(step, repeat_rows(begin, width), mask, **given)

    return jax.tree.map(np.asarray, search(model.begin[rows], MASK[rows]))


def greedily(model, rows=slice(None)):
    """Returns what a greedy search finds, in NumPy arrays."""

    @jax.jit
    def search(begin, mask):
        step = functools.partial(model.step, mask)
        return greedy(step, begin, len(begin), LENGTH, END)

    return jax.tree.map(np.asarray, search(model.begin[rows], MASK[rows]))


def all_texts():
    """Yields every text that ends within the length, its end included."""
    others = [token for token in range(VOCABULARY) if token != END]
    for count in range(LENGTH):
        for text in itertools.product(others, repeat=count):
            yield (*text, END)


def padded(text):
    """Returns a text as a search writes it down."""
    return (*text, *[0] * (LENGTH - len(text)))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (1.0, 0.0), (0.6, 0.4)])
def test_a_beam_as_wide_as_the_space_finds_all_texts_in_the_order_of_their_scores(alpha, beta):
    model = Random()
    width = SPACE + 3
    found = beam(model, width, length_penalty=alpha, coverage_penalty=beta)
    assert len(list(all_texts())) == SPACE
    for row in range(BATCH):
        scores = {padded(text): model.score(row, text, alpha, beta)[0] for text in all_texts()}
        best = sorted(scores, key=scores.__getitem__, reverse=True)
        there = found.tokens[row, :SPACE]
        assert set(map(tuple, there.tolist())) == set(best)
        expected = [scores[tuple(text)] for text in there.tolist()]
        np.testing.assert_allclose(found.scores[row, :SPACE], expected, rtol=1e-4, atol=1e-5)
        assert np.all(np.diff(found.scores[row, :SPACE]) <= 0)
        assert np.all(np.isneginf(found.scores[row, SPACE:]))
        assert not found.tokens[row, SPACE:].any()
        assert not found.attention[row, SPACE:].any()


def test_a_search_says_where_the_network_looked():
    model = Random()
    wide, narrow = beam(model, 3), greedily(model)
    for row in range(BATCH):
        for text, attention in [
            *zip(wide.tokens[row], wide.attention[row], strict=True),
            (narrow.tokens[row], narrow.attention[row]),
        ]:
            count = text.tolist().index(END) + 1
            _, looked = model.score(row, text[:count])
            np.testing.assert_allclose(attention[:count], looked, rtol=1e-4, atol=1e-6)
            assert not attention[count:].any()


def test_a_beam_of_one_is_greedy():
    lengths = set()
    for seed in range(4):
        model = Random(seed)
        one, narrow = beam(model, 1), greedily(model)
        np.testing.assert_array_equal(one.tokens[:, 0], narrow.tokens)
        np.testing.assert_allclose(one.scores[:, 0], narrow.scores, rtol=1e-5)
        lengths |= {text.tolist().index(END) for text in narrow.tokens}
    assert len(lengths) > 1


def test_greedy_takes_the_most_probable_token_until_the_end():
    model = Random(1)
    found = greedily(model)
    for row in range(BATCH):
        state, last, text, score = model.begin[row : row + 1], END, [], 0.0
        while not text or text[-1] != END:
            state, scores, _ = model.step(MASK[row], state, np.array([last]), np)
            last = END if len(text) == LENGTH - 1 else int(np.argmax(scores[0]))
            text.append(last)
            score += float(scores[0, last])
        assert found.tokens[row].tolist() == list(padded(text))
        np.testing.assert_allclose(found.scores[row], score, rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_is_the_plain_algorithm(seed):
    model, width, alpha = Random(seed), 2, 2.0
    found = beam(model, width, length_penalty=alpha)
    for row in range(BATCH):
        writing, ended = [((), 0.0)], []
        for place in range(LENGTH):
            grown = []
            for text, _ in writing:
                last_place = place == LENGTH - 1
                for token in [END] if last_place else range(VOCABULARY):
                    longer = (*text, token)
                    grown.append((longer, model.score(row, longer)[0]))
            grown.sort(key=lambda each: -each[1])
            ended += [text for text, _ in grown[:width] if text[-1] == END]
            writing = [each for each in grown if each[0][-1] != END][:width]
        best = sorted(ended, key=lambda text: -model.score(row, text, alpha)[0])[:width]
        assert [tuple(text) for text in found.tokens[row].tolist()] == list(map(padded, best))


def test_a_row_knows_nothing_of_its_neighbours():
    model = Random(2)
    for search in (greedily, functools.partial(beam, width=3, length_penalty=1.0)):
        together = search(model)
        for row in range(BATCH):
            alone = search(model, rows=slice(row, row + 1))
            np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
            np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-4)


def test_a_search_ends_when_every_row_has_ended():
    lengths = jnp.array([2, 3])
    called = []

    def step(count, tokens):
        """Is sure of the end after so many tokens of each row."""
        called.append(tokens)
        sure = jnp.where(count == lengths - 1, END, 0)
        scores = jnp.log(jnp.where(jnp.arange(VOCABULARY)[None] == sure[:, None], 0.97, 0.01))
        return count + 1, scores, jnp.zeros((2, 0))

    zeros = jnp.zeros(2, jnp.int32)
    with jax.disable_jit():
        found = greedy(step, zeros, 2, 50, END)
        assert len(called) == 1 + 3  # Once for the shapes.
        assert found.tokens[:, :4].tolist() == [[0, END, 0, 0], [0, 0, END, 0]]
        called.clear()
        beam_search(step, zeros, jnp.zeros((2, 0), bool), width=1, length=50, end=END)
        assert len(called) == 3


def test_many_texts_that_end_early_do_not_outrun_a_better_one():
    def step(count, tokens):
        """Is nearly sure of token 3 until the last place; of all others the end is next."""
        right = (tokens == 3) | (count == 0)
        likely = jnp.array([0.001, 0.002, 0.007, 0.99])
        scores = jnp.where(right[:, None], likely, jnp.array([0.1, 0.1, 0.7, 0.1]))
        return count + 1, jnp.log(scores), jnp.zeros((len(tokens), 0))

    zeros = jnp.zeros(2, jnp.int32)
    found = beam_search(step, zeros, jnp.zeros((1, 0), bool), width=2, length=6, end=END,
                        length_penalty=1.0)  # fmt: skip
    assert found.tokens[0, 0].tolist() == [3, 3, 3, 3, 3, END]


def test_a_text_that_ends_leaves_its_place_to_the_next_best():
    def step(count, tokens):
        """Token 1 is less likely than 0 and the end, but is all that ends well."""
        after = jnp.where((tokens == 1)[:, None], jnp.array([0.01, 0.01, 0.97, 0.01]), 0.25)
        scores = jnp.where((count == 0)[:, None], jnp.array([0.3, 0.19, 0.5, 0.01]), after)
        return count + 1, jnp.log(scores), jnp.zeros((len(tokens), 0))

    zeros = jnp.zeros(2, jnp.int32)
    found = beam_search(step, zeros, jnp.zeros((1, 0), bool), width=2, length=3, end=END)
    assert found.tokens[0].tolist() == [[END, 0, 0], [1, END, 0]]


def test_what_makes_no_sense_is_refused():
    model = Random()
    with pytest.raises(InputError, match="width: given 0"):
        beam(model, 0)
    with pytest.raises(InputError, match="given 1001, expected at most 1,000"):
        beam(model, 1_001)
    with pytest.raises(InputError, match="length: given 0"):
        beam(model, 1, length=0)
    with pytest.raises(InputError, match="coverage_penalty: given -1"):
        beam(model, 1, coverage_penalty=-1)
