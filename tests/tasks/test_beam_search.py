"""Greedy and beam search against an enumeration of all texts."""

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
NUM_TEXTS = sum((VOCABULARY - 1) ** count for count in range(LENGTH))
"""Number of texts of at most that length."""


class RandomDecoder:
    """A small recurrent decoder of random weights."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.initial_state = rng.standard_normal((BATCH, 6)).astype(np.float32)
        self.tokens = rng.standard_normal((VOCABULARY, 6)).astype(np.float32)
        self.inner = rng.standard_normal((6, 6)).astype(np.float32)
        self.scores = 2 * rng.standard_normal((6, VOCABULARY)).astype(np.float32)
        self.attention_kernel = rng.standard_normal((6, SOURCES)).astype(np.float32)

    def step(self, mask, state, tokens, np: Any = jnp):
        """Returns the next state, log-probabilities and attention weights."""
        state = np.tanh(state @ self.inner + np.asarray(self.tokens)[tokens])
        weights = np.where(mask, np.exp(state @ self.attention_kernel), 0)
        weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)
        scores = state @ self.scores
        return state, scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)), weights

    def score(self, row, text, alpha=0.0, beta=0.0):
        """Returns the score of a text, by the formula, and its attention weights."""
        state, last, total, attention = self.initial_state[row : row + 1], END, 0.0, []
        for token in text:
            state, scores, weights = self.step(MASK[row], state, np.array([last]), np)
            total += float(scores[0, token])
            attention.append(weights[0])
            last = token
        covered = np.minimum(np.sum(attention, axis=0), 1)[MASK[row]]
        penalty = beta * np.log(covered).sum() if len(covered) else 0.0
        return total / ((5 + len(text)) / 6) ** alpha + penalty, np.array(attention)


def search_beams(model, width, rows=slice(None), **options):
    """Returns the result of a beam search in NumPy arrays."""

    @jax.jit
    def search(begin, mask):
        step = functools.partial(model.step, repeat_rows(mask, width))
        arguments = {"width": width, "length": LENGTH, "end": END, **options}
        return beam_search(step, repeat_rows(begin, width), mask, **arguments)

    return jax.tree.map(np.asarray, search(model.initial_state[rows], MASK[rows]))


def search_greedily(model, rows=slice(None)):
    """Returns the result of a greedy search in NumPy arrays."""

    @jax.jit
    def search(begin, mask):
        step = functools.partial(model.step, mask)
        return greedy(step, begin, len(begin), LENGTH, END)

    return jax.tree.map(np.asarray, search(model.initial_state[rows], MASK[rows]))


def all_texts():
    """Yields all texts of at most that length, end included."""
    tokens = [token for token in range(VOCABULARY) if token != END]
    for count in range(LENGTH):
        for text in itertools.product(tokens, repeat=count):
            yield (*text, END)


def pad(text):
    """Returns a text padded with zeros."""
    return (*text, *[0] * (LENGTH - len(text)))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (1.0, 0.0), (0.6, 0.4)])
def test_exhaustive_beam_ranks_all_texts_by_score(alpha, beta):
    model = RandomDecoder()
    width = NUM_TEXTS + 3
    result = search_beams(model, width, length_penalty=alpha, coverage_penalty=beta)
    assert len(list(all_texts())) == NUM_TEXTS
    for row in range(BATCH):
        scores = {pad(text): model.score(row, text, alpha, beta)[0] for text in all_texts()}
        best = sorted(scores, key=scores.__getitem__, reverse=True)
        texts = result.tokens[row, :NUM_TEXTS]
        assert set(map(tuple, texts.tolist())) == set(best)
        expected = [scores[tuple(text)] for text in texts.tolist()]
        np.testing.assert_allclose(result.scores[row, :NUM_TEXTS], expected, rtol=1e-4, atol=1e-5)
        assert np.all(np.diff(result.scores[row, :NUM_TEXTS]) <= 0)
        assert np.all(np.isneginf(result.scores[row, NUM_TEXTS:]))
        assert not result.tokens[row, NUM_TEXTS:].any()
        assert not result.attention[row, NUM_TEXTS:].any()


def test_search_returns_attention_weights():
    model = RandomDecoder()
    beams, greedy_text = search_beams(model, 3), search_greedily(model)
    for row in range(BATCH):
        for text, attention in [
            *zip(beams.tokens[row], beams.attention[row], strict=True),
            (greedy_text.tokens[row], greedy_text.attention[row]),
        ]:
            count = text.tolist().index(END) + 1
            _, expected = model.score(row, text[:count])
            np.testing.assert_allclose(attention[:count], expected, rtol=1e-4, atol=1e-6)
            assert not attention[count:].any()


def test_beam_of_width_one_is_greedy():
    lengths = set()
    for seed in range(4):
        model = RandomDecoder(seed)
        beams, greedy_texts = search_beams(model, 1), search_greedily(model)
        np.testing.assert_array_equal(beams.tokens[:, 0], greedy_texts.tokens)
        np.testing.assert_allclose(beams.scores[:, 0], greedy_texts.scores, rtol=1e-5)
        lengths |= {text.tolist().index(END) for text in greedy_texts.tokens}
    assert len(lengths) > 1


def test_greedy_takes_the_most_probable_token():
    model = RandomDecoder(1)
    result = search_greedily(model)
    for row in range(BATCH):
        state, last, text, score = model.initial_state[row : row + 1], END, [], 0.0
        while not text or text[-1] != END:
            state, scores, _ = model.step(MASK[row], state, np.array([last]), np)
            last = END if len(text) == LENGTH - 1 else int(np.argmax(scores[0]))
            text.append(last)
            score += float(scores[0, last])
        assert result.tokens[row].tolist() == list(pad(text))
        np.testing.assert_allclose(result.scores[row], score, rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_narrow_beam_equals_reference_implementation(seed):
    model, width, alpha = RandomDecoder(seed), 2, 2.0
    result = search_beams(model, width, length_penalty=alpha)
    for row in range(BATCH):
        active, finished = [((), 0.0)], []
        for place in range(LENGTH):
            extended = []
            for text, _ in active:
                last_place = place == LENGTH - 1
                for token in [END] if last_place else range(VOCABULARY):
                    candidate_text = (*text, token)
                    extended.append((candidate_text, model.score(row, candidate_text)[0]))
            extended.sort(key=lambda candidate: -candidate[1])
            finished += [text for text, _ in extended[:width] if text[-1] == END]
            active = [candidate for candidate in extended if candidate[0][-1] != END][:width]
        best = sorted(finished, key=lambda text: -model.score(row, text, alpha)[0])[:width]
        assert [tuple(text) for text in result.tokens[row].tolist()] == list(map(pad, best))


def test_rows_are_searched_independently():
    model = RandomDecoder(2)
    for search in (search_greedily, functools.partial(search_beams, width=3, length_penalty=1.0)):
        batched = search(model)
        for row in range(BATCH):
            single = search(model, rows=slice(row, row + 1))
            np.testing.assert_array_equal(single.tokens[0], batched.tokens[row])
            np.testing.assert_allclose(single.scores[0], batched.scores[row], rtol=1e-4)


def test_search_stops_when_all_rows_have_ended():
    lengths = jnp.array([2, 3])
    called = []

    def step(count, tokens):
        """Predicts the end after a number of tokens of each row."""
        called.append(tokens)
        sure = jnp.where(count == lengths - 1, END, 0)
        scores = jnp.log(jnp.where(jnp.arange(VOCABULARY)[None] == sure[:, None], 0.97, 0.01))
        return count + 1, scores, jnp.zeros((2, 0))

    zeros = jnp.zeros(2, jnp.int32)
    with jax.disable_jit():
        result = greedy(step, zeros, 2, 50, END)
        assert len(called) == 1 + 3  # Once for the shapes.
        assert result.tokens[:, :4].tolist() == [[0, END, 0, 0], [0, 0, END, 0]]
        called.clear()
        beam_search(step, zeros, jnp.zeros((2, 0), bool), width=1, length=50, end=END)
        assert len(called) == 3


def test_early_finished_texts_do_not_stop_a_better_beam():
    def step(count, tokens):
        """Predicts token 3 after 3, and the end after other tokens."""
        on_path = (tokens == 3) | (count == 0)
        likely = jnp.array([0.001, 0.002, 0.007, 0.99])
        scores = jnp.where(on_path[:, None], likely, jnp.array([0.1, 0.1, 0.7, 0.1]))
        return count + 1, jnp.log(scores), jnp.zeros((len(tokens), 0))

    zeros = jnp.zeros(2, jnp.int32)
    result = beam_search(step, zeros, jnp.zeros((1, 0), bool), width=2, length=6, end=END,
                        length_penalty=1.0)  # fmt: skip
    assert result.tokens[0, 0].tolist() == [3, 3, 3, 3, 3, END]


def test_finished_text_frees_its_beam():
    def step(count, tokens):
        """Token 1 is less probable than 0 and the end, but continues with the best text."""
        next_step = jnp.where((tokens == 1)[:, None], jnp.array([0.01, 0.01, 0.97, 0.01]), 0.25)
        scores = jnp.where((count == 0)[:, None], jnp.array([0.3, 0.19, 0.5, 0.01]), next_step)
        return count + 1, jnp.log(scores), jnp.zeros((len(tokens), 0))

    zeros = jnp.zeros(2, jnp.int32)
    result = beam_search(step, zeros, jnp.zeros((1, 0), bool), width=2, length=3, end=END)
    assert result.tokens[0].tolist() == [[END, 0, 0], [1, END, 0]]


def test_invalid_options_raise():
    model = RandomDecoder()
    with pytest.raises(InputError, match="width: given 0"):
        search_beams(model, 0)
    with pytest.raises(InputError, match="given 1001, expected at most 1,000"):
        search_beams(model, 1_001)
    with pytest.raises(InputError, match="length: given 0"):
        search_beams(model, 1, length=0)
    with pytest.raises(InputError, match="coverage_penalty: given -1"):
        search_beams(model, 1, coverage_penalty=-1)
