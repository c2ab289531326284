"""Automata of regular expressions against Python's `re`, over characters and over tokens."""

import itertools
import re

import numpy as np
import pytest

from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.regular_expressions import compile_pattern, compile_search
from rnnjax.tasks.token_automaton import UNREACHABLE, TokenTexts, make_token_automaton

ALPHABET = "ab1 \n-]{"
TEXTS = ["".join(text) for size in range(5) for text in itertools.product(ALPHABET, repeat=size)]


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "a|", "a*b", "(a|b)*1?", "[^a]b{2}", "a{1,3}(?:b|1)+", r"\d{2,}", r"\w+ \w+"),
        *(r"[\]a-b]*", "(?P<x>a|)b", "a{0}b", "a{,2}", "(a*)*", "(a|ab)(1|b1)*?", "[-a]+"),
        *(r"\x61b", ".*", "a{b", "x{2}", "a{1", "[]a]*", r"\s?\S", "(a+)+1", r"[^\W\d]-", "é|a"),
    ],
)
def test_automaton_matches_the_texts_that_re_matches(pattern):
    automaton, expected = compile_pattern(pattern, ALPHABET), re.compile(pattern)
    for text in [*TEXTS, "x", "é"]:
        is_match = bool(expected.fullmatch(text)) and set(text) <= set(ALPHABET)
        assert automaton.matches(text) == is_match, text


def test_search_finds_texts_anywhere():
    automaton = compile_search(["ab", "ba1", "aab-"], ALPHABET)
    for text in TEXTS:
        assert automaton.matches(text) == any(part in text for part in ("ab", "ba1", "aab-"))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^a", "'^' at character 1 is an anchor"),
        ("a$", "'$' at character 2 is an anchor"),
        ("a(?=b)", "'(?=b' at character 2 is a group of this kind"),
        ("(?<!b)a", "is a group of this kind"),
        ("(?i)a", "is a group of this kind"),
        (r"(a)\1", r"\\1' at character 4 is a reference to a group"),
        (r"\ba", "at character 1 is an assertion"),
        ("a*+", "'*+' at character 2 is a possessive repetition"),
        ("(a", "which is no regular expression (missing )"),
        ("(a{200}){200}", "has more than 5,000 states"),
        ("(a|b)*a(a|b){13}", "has more than 5,000 states"),
    ],
)
def test_construct_that_no_automaton_has_is_refused(pattern, message):
    with pytest.raises(InputError, match=re.escape(message)):
        compile_pattern(pattern, ALPHABET)


VOCABULARIES = {
    "character": Vocabulary.fit(["aab1 -"], 20, "character", end_token=True),
    "subword": Vocabulary.fit(["ab ab b1 ab1"], 16, "subword", end_token=True),
    "word": Vocabulary.fit(["ab b 1 a1"], 20, end_token=True),
    "whitespace": Vocabulary.fit(["ab b\n 1 a1 <unk>"], 20, "whitespace"),
}


@pytest.mark.parametrize("unit", VOCABULARIES)
@pytest.mark.parametrize(
    "pattern", ["a*b1?", "ab b( 1)*", r"(ab\n)*", r"\S+(\s\S+){2}", "-", r"b\nb"]
)
def test_tokens_lead_where_their_texts_lead(unit, pattern):
    vocabulary = VOCABULARIES[unit]
    automaton = make_token_automaton(
        lambda alphabet: compile_pattern(pattern, alphabet), vocabulary
    )
    texts, expected = TokenTexts.of(vocabulary), re.compile(pattern)
    usable = range(2 if vocabulary.has_line_ends else 3, len(vocabulary))
    fewest = np.inf
    for size in range(4):
        for tokens in itertools.product(usable, repeat=size):
            state, text = automaton.start, ""
            for token in tokens:
                state = automaton.next_states[state, token]
                is_first = not text or (unit == "whitespace" and text[-1] == "\n")
                text += (texts.first if is_first else texts.inside)[token]
            is_match = bool(expected.fullmatch(text))
            assert automaton.accepting[state] == is_match, text
            fewest = min(fewest, size if is_match else np.inf)
    distance = automaton.distances[automaton.start]
    assert distance == fewest if fewest < np.inf else distance > 3
    special = [0, 1] if vocabulary.has_line_ends else [0, 1, END]
    assert (automaton.distances[automaton.next_states[:, special]] == UNREACHABLE).all()


def test_large_automaton_is_refused():
    words = Vocabulary.fit([" ".join(f"w{n}" for n in range(9_000))], 9_000)
    with pytest.raises(InputError, match="states for 9,000 tokens; expected at most 1,864"):
        make_token_automaton(lambda alphabet: compile_pattern("w{2000}", alphabet), words)
