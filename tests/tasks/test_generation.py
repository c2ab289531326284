"""Generation under constraints, by beams and for many prompts, against exhaustive search."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.generation import TextGenerator, longest_partial_stop
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.token_automaton import TokenTexts

CHARACTERS = Vocabulary.fit(["aabbc"], 9, "character", end_token=True)
WORDS = Vocabulary.fit(["x x y\n"], 9, "whitespace")


class Trigrams:
    """A network whose logits, its parameters, are a table of the last two tokens."""

    def advance_logits(self, params, tokens, mask, carry=None):
        rows = len(tokens)
        carry = jnp.zeros((rows, 2), jnp.int32) if carry is None else carry
        for place in range(tokens.shape[1]):
            shifted = jnp.stack([carry[:, 1], tokens[:, place]], axis=1)
            carry = jnp.where(mask[:, place][:, None], shifted, carry)
        return carry, params[carry[:, 0], carry[:, 1]]


TASK = Trigrams()


def random_table(vocabulary, seed):
    """Returns the parameters of a random network."""
    size = len(vocabulary)
    return 2 * np.random.default_rng(seed).standard_normal((size,) * 3).astype("f4")


def generator(vocabulary=CHARACTERS, length=4, network=0, **options):
    """Returns a generator of a random network."""
    params = random_table(vocabulary, network)
    return TextGenerator(TASK, params, vocabulary, length, GenerationOptions(**options))


def hypotheses(vocabulary, seed, prompt, length, penalty=1.0, stop=""):
    """Yields text, log-probability and number of tokens, end included, of every text."""
    table, texts = random_table(vocabulary, seed), TokenTexts.of(vocabulary)
    end = PADDING if vocabulary.has_line_ends else END
    prompt_tokens = [END, *vocabulary.encode([prompt]).values.tolist()]

    def extend(text, tokens, total):
        count = len(tokens) - len(prompt_tokens)
        if stop and stop in text:
            yield text[: text.index(stop)], total, min(count + 1, length)
            return
        if count == length:
            yield text, total, length
            return
        previous = tokens[-2] if len(tokens) > 1 else 0
        logits = table[previous, tokens[-1]].copy()
        for token in set(tokens[1:]):
            logits[token] *= 1 / penalty if logits[token] > 0 else penalty
        for token, score in enumerate(scipy.special.log_softmax(logits)):
            if token == end != PADDING:
                yield text, total + score, count + 1
            elif token not in (PADDING, UNKNOWN):
                preceding = text or prompt
                is_first = not preceding or preceding[-1].isspace()
                added = (texts.first if is_first else texts.inside)[token]
                yield from extend(text + added, [*tokens, token], total + score)

    yield from extend("", prompt_tokens, 0.0)


@pytest.mark.parametrize("vocabulary", [CHARACTERS, WORDS], ids=["characters", "words"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 3.0},
        {"pattern": "(a|x).*(b|y)"},
        {"pattern": r"(a|x)( ?[by])*"},
        {"stop": ("b",)},
        {"stop": ("y",)},
        {"stop": (" x",)},
        {"stop": ("aba",), "repetition_penalty": 1.5},
    ],
)
def test_wide_beam_finds_the_best_of_all_texts(vocabulary, length_penalty, options):
    prompt = "ab" if vocabulary is CHARACTERS else "y"
    pattern = options.get("pattern")
    for seed in range(3):
        scores = {}
        for text, total, size in hypotheses(
            vocabulary,
            seed,
            prompt,
            4,
            options.get("repetition_penalty", 1.0),
            *options.get("stop", ()),
        ):
            if not pattern or re.fullmatch(pattern, text.removeprefix(" ")):
                # With an end that costs nothing only texts that cannot go on end before.
                score = total / ((5 + size) / 6) ** length_penalty
                scores[text] = max(scores.get(text, -np.inf), score)
        best = max(scores, key=scores.__getitem__)
        beams = generator(
            vocabulary, network=seed, beam_size=90, length_penalty=length_penalty, **options
        )
        assert list(beams.generate([prompt])) == [best]
        assert list(beams.pieces(prompt)) == [best]


@pytest.mark.parametrize("vocabulary", [CHARACTERS, WORDS], ids=["characters", "words"])
@pytest.mark.parametrize("pattern", [r"[abcxy](\s?[abcxy]){2,3}", "(a|x y)?", "([abx]\\s?)*[cy]"])
def test_every_text_matches_the_pattern(vocabulary, pattern):
    for seed in range(8):
        generate = generator(vocabulary, length=5, network=seed, pattern=pattern)
        for text in generate.generate(["a", "", "x y\n"]):
            assert re.fullmatch(pattern, text.removeprefix(" ")), text


def test_tokens_that_may_follow_have_their_probabilities():
    texts = [
        text
        for seed in range(300)
        for text in generator(pattern="a[ab]", seed=seed, length=9).generate(["c"])
    ]
    table = random_table(CHARACTERS, 0)
    c, a, b = CHARACTERS.encode(["cab"]).values
    probabilities = scipy.special.softmax(table[c, a][[a, b]])
    shares = [texts.count(text) / len(texts) for text in ("aa", "ab")]
    np.testing.assert_allclose(shares, probabilities, atol=0.08)
    assert min(probabilities) > 0.1


@pytest.mark.parametrize(
    ("pattern", "length", "message"),
    [
        ("z+", 9, "which no text of the network's tokens matches"),
        ("a{5}", 4, "and a match has at least 5 tokens; expected that length or more"),
        ("^a", 9, "is an anchor"),
    ],
)
def test_pattern_that_cannot_be_met_is_refused(pattern, length, message):
    with pytest.raises(InputError, match=message):
        generator(pattern=pattern, length=length)


@pytest.mark.parametrize(
    ("vocabulary", "stop"), [(CHARACTERS, ("cab", "ba")), (WORDS, (" y x", "\n\n"))]
)
def test_text_ends_before_the_first_stop_string(vocabulary, stop):
    cut = 0
    for seed in range(12):
        for prompt in ("a", "x", ""):
            options = {"network": seed, "length": 12, "seed": 4}
            (text,) = generator(vocabulary, **options).generate([prompt])
            stopping = generator(vocabulary, **options, stop=stop)
            ends = [text.index(part) for part in stop if part in text]
            expected = text[: min(ends, default=None)]
            assert list(stopping.generate([prompt])) == [expected]
            pieces = list(stopping.pieces(prompt))
            assert "".join(pieces) == expected
            assert all(pieces)
            cut += expected != text
    assert cut > 2


def test_partial_stop_is_the_longest_start_at_the_end():
    assert longest_partial_stop("xaba", ("abac", "ab", "b")) == 3
    assert longest_partial_stop("xab", ("abac", "c")) == 2
    assert longest_partial_stop("x", ("abac",)) == 0


def test_stop_string_ends_the_work():
    stopping = generator(length=200, stop=("a", "b", "c"))
    assert list(stopping.generate(["a", "b"])) == ["", ""]
    assert stopping.num_tokens <= 2


def test_repeated_tokens_become_rare():
    def count(penalty):
        generate = generator(length=40, temperature=0.5, repetition_penalty=penalty, seed=5)
        texts = list(generate.generate(["ab", "a", "c"]))
        return sum(text.count("c") for text in texts) / sum(map(len, texts))

    assert count(1.0) != count(5.0)


@pytest.mark.parametrize("prompt", ["ca", "abcabcabcabcabcabcab", "abc" * 8 + "acb"])
def test_first_token_follows_the_whole_prompt(prompt):
    (text,) = generator(length=1, temperature=0.0).generate([prompt])
    last_two = CHARACTERS.encode([prompt]).values[-2:]
    scores = random_table(CHARACTERS, 0)[tuple(last_two)].copy()
    scores[[PADDING, UNKNOWN]] = -np.inf
    best = int(np.argmax(scores))
    assert text == ("" if best == END else CHARACTERS.words[best])


@pytest.mark.parametrize("beam_size", [0, 3])
def test_many_prompts_give_the_texts_of_each(beam_size):
    prompts = ["", "a", "abcabcabcabcabcabcabcabc", "c", "ab"] * 9
    generate = generator(beam_size=beam_size, length=9)
    texts = list(generate.generate(prompts))
    count = generate.num_tokens
    assert texts == [text for prompt in prompts for text in generate.generate([prompt])]
    assert len(set(texts)) > 1
    assert generate.num_tokens == 2 * count == 2 * sum(map(len, texts))
