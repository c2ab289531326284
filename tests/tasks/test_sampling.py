"""Text made by a language model: which tokens may be chosen, how often, and when it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.sampling import SamplingOptions, generate_tokens, sample_token, truncate_logits

SCORES = jnp.log(jnp.array([0.1, 0.4, 0.05, 0.3, 0.15]))


def kept(choice, scores=SCORES):
    """Returns the tokens that are left."""
    return np.flatnonzero(np.isfinite(truncate_logits(scores, choice))).tolist()


@pytest.mark.parametrize(
    ("choice", "tokens"),
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
def test_the_limits_leave_the_most_probable(choice, tokens):
    assert kept(choice) == tokens


def test_what_is_forbidden_is_never_chosen():
    scores = SCORES.at[1].set(-jnp.inf)
    assert kept(SamplingOptions(top_k=2), scores) == [3, 4]
    assert kept(SamplingOptions(top_p=0.5), scores) == [3]
    for choice in (
        SamplingOptions(),
        SamplingOptions(temperature=0.0),
        SamplingOptions(temperature=5.0),
    ):
        keys = jax.random.split(jax.random.key(0), 200)
        chosen = jax.vmap(lambda key, choice=choice: sample_token(key, scores, choice))(keys)
        assert 1 not in chosen


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_by_their_tempered_probability(temperature):
    keys = jax.random.split(jax.random.key(1), 20_000)
    chosen = jax.vmap(lambda key: sample_token(key, SCORES, SamplingOptions(temperature)))(keys)
    shares = np.bincount(chosen, minlength=5) / len(chosen)
    np.testing.assert_allclose(shares, jax.nn.softmax(SCORES / temperature), atol=0.015)


def test_at_temperature_zero_the_most_probable_is_taken():
    assert sample_token(jax.random.key(0), SCORES, SamplingOptions(temperature=0.0)) == 1


class Cycle:
    """Writes the token after the one that it reads, and after the last one an end."""

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


def write(prompt="", length=9, vocabulary=CHARACTERS, choice=None):
    """Returns the pieces that are written after a, b, c, d."""
    return list(
        generate_tokens(
            Cycle(vocabulary), None, vocabulary, prompt, length, choice or SamplingOptions()
        )
    )


def test_a_text_goes_on_from_its_prompt_to_its_end():
    assert write() == ["a", "b", "c", "d"]
    assert write("ab") == ["c", "d"]
    assert write("d") == []
    assert write(length=2) == ["a", "b"]


def test_words_are_written_with_the_spaces_between_them():
    assert write(vocabulary=WORDS) == ["a", " b", " c", " d"]
    assert write("a b", vocabulary=WORDS) == [" c", " d"]
    for space in (" ", "\n", " \t "):
        assert write("a b" + space, vocabulary=WORDS) == ["c", " d"]


def test_a_space_that_is_a_character_is_written_after_a_blank_that_is_unknown():
    vocabulary = Vocabulary.fit(["aaaa    bb"], 9, "character", end_token=True)
    (space,) = vocabulary.encode([" "]).tokens.tolist()

    class Spaces:
        def advance(self, params, tokens, mask, carry=None):
            del params, tokens, mask
            return jnp.zeros(()), 50.0 * jax.nn.one_hot(space, len(vocabulary))[None]

    for prompt in ("a\t", "a ", "a"):
        written_on = generate_tokens(Spaces(), None, vocabulary, prompt, 2, SamplingOptions())
        assert list(written_on) == [" ", " "]


@pytest.mark.parametrize(
    ("choice", "message"),
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
def test_choices_out_of_range_are_refused(choice, message):
    with pytest.raises(InputError, match=message):
        write(choice=choice)


def test_a_length_of_nothing_is_refused():
    with pytest.raises(InputError, match="length: given 0, expected 1 or more"):
        write(length=0)
