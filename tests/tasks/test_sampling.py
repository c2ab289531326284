"""Sampling from a language model: truncation, temperature, prompts and ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.generation import TextGenerator
from rnnjax.tasks.sampling import (
    GenerationOptions,
    penalize_repetition,
    sample_token,
    truncate_logits,
)

SCORES = jnp.log(jnp.array([0.1, 0.4, 0.05, 0.3, 0.15]))


def remaining_tokens(options, scores=SCORES):
    """Returns the tokens that truncation keeps."""
    return np.flatnonzero(np.isfinite(truncate_logits(scores, options))).tolist()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (GenerationOptions(), [0, 1, 2, 3, 4]),
        (GenerationOptions(top_k=1), [1]),
        (GenerationOptions(top_k=3), [1, 3, 4]),
        (GenerationOptions(top_k=9), [0, 1, 2, 3, 4]),
        (GenerationOptions(top_p=0.39), [1]),
        (GenerationOptions(top_p=0.41), [1, 3]),
        (GenerationOptions(top_p=0.71), [1, 3, 4]),
        (GenerationOptions(top_p=0.99), [0, 1, 2, 3, 4]),
        (GenerationOptions(top_k=2, top_p=0.99), [1, 3]),
        (GenerationOptions(top_k=3, top_p=0.48), [1, 3]),
        # Of the three that top_k leaves, the first alone has 0.47 of the probability.
        (GenerationOptions(top_k=3, top_p=0.46), [1]),
        # At least half of .4.
        (GenerationOptions(min_p=0.49), [1, 3]),
        (GenerationOptions(min_p=0.76), [1]),
        (GenerationOptions(min_p=0.3), [1, 3, 4]),
        (GenerationOptions(min_p=1.0), [1]),
        # The entropy is 1.3927 nats; the tokens' surprisals are 2.3026 .9163 2.9957 1.204 1.8971,
        # at the distances .9099 .4764 1.6030 .1887 .5044.
        (GenerationOptions(typical_p=0.29), [3]),
        (GenerationOptions(typical_p=0.31), [1, 3]),
        (GenerationOptions(typical_p=0.71), [1, 3, 4]),
        (GenerationOptions(typical_p=0.86), [0, 1, 3, 4]),
        (GenerationOptions(typical_p=0.96), [0, 1, 2, 3, 4]),
        # Of .47 .35 .18, whose entropy is 1.0296, the second has the surprisal 1.0415.
        (GenerationOptions(top_k=3, typical_p=0.3), [3]),
        # Of .57 .43, whose entropy is .6829, the first has the surprisal .5596, the second .8473.
        (GenerationOptions(top_k=2, typical_p=0.5), [1]),
        (GenerationOptions(top_p=0.6, min_p=0.76), [1]),
    ],
)
def test_truncation_keeps_the_most_probable_tokens(options, tokens):
    assert remaining_tokens(options) == tokens


def test_seen_tokens_are_divided_or_multiplied_by_the_penalty():
    scores, occurred = jnp.array([2.0, -2.0, 1.0, -1.0, 0.0]), jnp.array([1, 1, 0, 0, 1], bool)
    penalized = penalize_repetition(scores, occurred, 1.25)
    np.testing.assert_allclose(penalized, [1.6, -2.5, 1.0, -1.0, 0.0])


def test_minus_infinity_is_never_sampled():
    scores = SCORES.at[1].set(-jnp.inf)
    assert remaining_tokens(GenerationOptions(top_k=2), scores) == [3, 4]
    assert remaining_tokens(GenerationOptions(top_p=0.5), scores) == [3]
    for options in (
        GenerationOptions(),
        GenerationOptions(temperature=0.0),
        GenerationOptions(temperature=5.0),
    ):
        keys = jax.random.split(jax.random.key(0), 200)
        chosen = jax.vmap(lambda key, options=options: sample_token(key, scores, options))(keys)
        assert 1 not in chosen


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature):
    keys = jax.random.split(jax.random.key(1), 20_000)
    chosen = jax.vmap(lambda key: sample_token(key, SCORES, GenerationOptions(temperature)))(keys)
    frequencies = np.bincount(chosen, minlength=5) / len(chosen)
    np.testing.assert_allclose(frequencies, jax.nn.softmax(SCORES / temperature), atol=0.015)


def test_temperature_zero_is_argmax():
    assert sample_token(jax.random.key(0), SCORES, GenerationOptions(temperature=0.0)) == 1


class Cycle:
    """Predicts the id after the one that it reads, and after the last one the end."""

    def __init__(self, vocabulary):
        self.size = len(vocabulary)

    def advance_logits(self, params, tokens, mask, carry=None):
        del params
        previous = jnp.zeros(len(tokens), jnp.int32) if carry is None else carry
        # The last token that counts, the previous one where none does.
        places = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1]), -1), axis=1)
        token = jnp.take_along_axis(tokens, jnp.maximum(places, 0)[:, None], axis=1)[:, 0]
        token = jnp.where(places >= 0, token, previous)
        following = jnp.where(token + 1 < self.size, token + 1, END)
        return token, 50.0 * jax.nn.one_hot(following, self.size)


WORDS = Vocabulary.fit(["a a a a b b b c c d"], 9, end_token=True)
CHARACTERS = Vocabulary.fit(["aaaabbbccd"], 9, "character", end_token=True)


def generate(prompt="", length=9, vocabulary=CHARACTERS, options=None):
    """Returns generated pieces; the texts are a, b, c, d in order."""
    options = options or GenerationOptions()
    return list(TextGenerator(Cycle(vocabulary), None, vocabulary, length, options).pieces(prompt))


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
        def advance_logits(self, params, tokens, mask, carry=None):
            del params, tokens, mask
            return jnp.zeros(()), 50.0 * jax.nn.one_hot(space, len(vocabulary))[None]

    for prompt in ("a\t", "a ", "a"):
        generator = TextGenerator(Spaces(), None, vocabulary, 2, GenerationOptions())
        assert list(generator.pieces(prompt)) == [" ", " "]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (GenerationOptions(temperature=-1.0), "temperature: given -1.0, expected 0, which takes"),
        (
            GenerationOptions(temperature=float("inf")),
            "temperature: given inf, expected 0, which takes",
        ),
        (GenerationOptions(top_k=-1), "top_k: given -1, expected 0"),
        (GenerationOptions(top_p=0.0), "top_p: given 0.0, expected more than 0"),
        (GenerationOptions(top_p=1.5), "top_p: given 1.5, expected more than 0"),
        (GenerationOptions(min_p=1.5), "min_p: given 1.5, expected 0"),
        (GenerationOptions(typical_p=0.0), "typical_p: given 0.0, expected more than 0"),
        (GenerationOptions(repetition_penalty=0.5), "repetition_penalty: given 0.5, expected 1"),
        (GenerationOptions(stop=("",)), r"stop: given \(''"),
        (GenerationOptions(beam_size=-1), "beam_size: given -1, expected 0"),
        (GenerationOptions(length_penalty=-1.0), "length_penalty: given -1.0, expected 0"),
        (GenerationOptions(beam_size=2, top_k=3), "top_k: given 3 with beam_size=2, and beam"),
        (GenerationOptions(seed=-1), "seed: given -1, expected 0 or more"),
    ],
)
def test_options_out_of_range_raise(options, message):
    with pytest.raises(InputError, match=message):
        generate(options=options)


def test_length_zero_raises():
    with pytest.raises(InputError, match="length: given 0, expected 1 or more"):
        generate(length=0)
