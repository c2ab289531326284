"""Sampling from a language model: truncation, temperature, prompts and ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.sampling import SamplingOptions, generate_tokens, sample_token, truncate_logits

SCORES = jnp.log(jnp.array([0.1, 0.4, 0.05, 0.3, 0.15]))


def remaining_tokens(options, scores=SCORES):
    """Returns the tokens that truncation keeps."""
    return np.flatnonzero(np.isfinite(truncate_logits(scores, options))).tolist()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (SamplingOptions(), [0, 1, 2, 3, 4]),
        (SamplingOptions(top_k=1), [1]),
        (SamplingOptions(top_k=3), [1, 3, 4]),
        (SamplingOptions(top_k=9), [0, 1, 2, 3, 4]),
        (SamplingOptions(top_p=0.39), [1]),
        (SamplingOptions(top_p=0.41), [1, 3]),
        (SamplingOptions(top_p=0.71), [1, 3, 4]),
        (SamplingOptions(top_p=0.99), [0, 1, 2, 3, 4]),
        (SamplingOptions(top_k=2, top_p=0.99), [1, 3]),
        (SamplingOptions(top_k=3, top_p=0.48), [1, 3]),
        # Of the three that top_k leaves, the first alone has 0.47 of the probability.
        (SamplingOptions(top_k=3, top_p=0.46), [1]),
    ],
)
def test_truncation_keeps_the_most_probable_tokens(options, tokens):
    assert remaining_tokens(options) == tokens


def test_minus_infinity_is_never_sampled():
    scores = SCORES.at[1].set(-jnp.inf)
    assert remaining_tokens(SamplingOptions(top_k=2), scores) == [3, 4]
    assert remaining_tokens(SamplingOptions(top_p=0.5), scores) == [3]
    for options in (
        SamplingOptions(),
        SamplingOptions(temperature=0.0),
        SamplingOptions(temperature=5.0),
    ):
        keys = jax.random.split(jax.random.key(0), 200)
        chosen = jax.vmap(lambda key, options=options: sample_token(key, scores, options))(keys)
        assert 1 not in chosen


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature):
    keys = jax.random.split(jax.random.key(1), 20_000)
    chosen = jax.vmap(lambda key: sample_token(key, SCORES, SamplingOptions(temperature)))(keys)
    frequencies = np.bincount(chosen, minlength=5) / len(chosen)
    np.testing.assert_allclose(frequencies, jax.nn.softmax(SCORES / temperature), atol=0.015)


def test_temperature_zero_is_argmax():
    assert sample_token(jax.random.key(0), SCORES, SamplingOptions(temperature=0.0)) == 1


class Cycle:
    """Predicts the id after the one that it reads, and after the last one the end."""

    def __init__(self, vocabulary):
        self.size = len(vocabulary)

    def advance(self, params, tokens, mask, carry=None):
        del params, mask
        (token,) = tokens[0]
        following = jnp.where(token + 1 < self.size, token + 1, END)
        count = jnp.zeros((), jnp.int32) if carry is None else carry + 1
        return count, 50.0 * jax.nn.one_hot(following, self.size)[None]


WORDS = Vocabulary.fit(["a a a a b b b c c d"], 9, end_token=True)
CHARACTERS = Vocabulary.fit(["aaaabbbccd"], 9, "character", end_token=True)


def generate(prompt="", length=9, vocabulary=CHARACTERS, options=None):
    """Returns generated pieces; the texts are a, b, c, d in order."""
    return list(
        generate_tokens(
            Cycle(vocabulary), None, vocabulary, prompt, length, options or SamplingOptions()
        )
    )


def test_text_continues_the_prompt_up_to_the_end():
    assert generate() == ["a", "b", "c", "d"]
    assert generate("ab") == ["c", "d"]
    assert generate("d") == []
    assert generate(length=2) == ["a", "b"]


def test_words_are_separated_by_spaces():
    assert generate(vocabulary=WORDS) == ["a", " b", " c", " d"]
    assert generate("a b", vocabulary=WORDS) == [" c", " d"]
    for space in (" ", "\n", " \t "):
        assert generate("a b" + space, vocabulary=WORDS) == ["c", " d"]


def test_space_character_follows_an_unknown_blank():
    vocabulary = Vocabulary.fit(["aaaa    bb"], 9, "character", end_token=True)
    (space,) = vocabulary.encode([" "]).values.tolist()

    class Spaces:
        def advance(self, params, tokens, mask, carry=None):
            del params, tokens, mask
            return jnp.zeros(()), 50.0 * jax.nn.one_hot(space, len(vocabulary))[None]

    for prompt in ("a\t", "a ", "a"):
        pieces = generate_tokens(Spaces(), None, vocabulary, prompt, 2, SamplingOptions())
        assert list(pieces) == [" ", " "]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SamplingOptions(temperature=-1.0), "temperature: given -1.0, expected 0, which takes"),
        (
            SamplingOptions(temperature=float("inf")),
            "temperature: given inf, expected 0, which takes",
        ),
        (SamplingOptions(top_k=-1), "top_k: given -1, expected 0"),
        (SamplingOptions(top_p=0.0), "top_p: given 0.0, expected more than 0"),
        (SamplingOptions(top_p=1.5), "top_p: given 1.5, expected more than 0"),
        (SamplingOptions(seed=-1), "seed: given -1, expected 0 or more"),
    ],
)
def test_options_out_of_range_raise(options, message):
    with pytest.raises(InputError, match=message):
        generate(options=options)


def test_length_zero_raises():
    with pytest.raises(InputError, match="length: given 0, expected 1 or more"):
        generate(length=0)
