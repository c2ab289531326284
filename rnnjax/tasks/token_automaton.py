"""Automata over characters, run over the tokens of a vocabulary."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.regular_expressions import DEAD, START, Automaton

MAX_ENTRIES = 2**24
"""Most pairs of a state and a token."""
UNREACHABLE = 2**30
"""The distance to a match that no tokens reach."""


class TokenTexts(NamedTuple):
    """The text that each token adds to a text.

    Attributes:
      inside: after another token; words have a space before them.
      first: at the start of a text or of a line.
    """

    inside: tuple[str, ...]
    first: tuple[str, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "TokenTexts":
        """Returns the texts of the tokens of a vocabulary."""
        if vocabulary.preserves_text:
            texts = tuple(vocabulary.decode([token]) for token in range(len(vocabulary)))
            return cls(texts, texts)
        words = vocabulary.words
        inside = [f" {word}" for word in words]
        if vocabulary.has_line_ends:
            inside[END] = words[END] = "\n"
        return cls(tuple(inside), tuple(words))

    @property
    def alphabet(self) -> frozenset[str]:
        """The characters of all texts."""
        return frozenset("".join(self.inside))


class TokenAutomaton(NamedTuple):
    """An automaton over tokens; its states are those over characters, by whether a line begins.

    Attributes:
      start: the first state of a text that begins like a line.
      start_inside: the first state of a text that begins like a word after another.
      next_states: after each token.
      accepting: whether the text so far matches.
      distances: the fewest tokens to a match, or `UNREACHABLE`.
    """

    start: int
    start_inside: int
    next_states: Int32[np.ndarray, "states vocabulary"]
    accepting: Bool[np.ndarray, " states"]
    distances: Int32[np.ndarray, " states"]


def make_token_automaton(
    compile_automaton: Callable[[Iterable[str]], Automaton], vocabulary: Vocabulary
) -> TokenAutomaton:
    """Returns the automaton over the tokens of a vocabulary.

    Padding, unknown tokens and the end of a text lead to no match.

    Args:
      compile_automaton: returns the automaton over the characters of an alphabet.
      vocabulary: of the network.

    Raises:
      InputError: it is too large, or the pattern cannot be used.
    """
    texts = TokenTexts.of(vocabulary)
    automaton = compile_automaton(texts.alphabet)
    contexts = (texts.inside,) if texts.inside == texts.first else texts
    size, num_contexts = len(vocabulary), len(contexts)
    num_states = len(automaton.accepting) * num_contexts
    if num_states * size > MAX_ENTRIES:
        raise InputError(
            f"pattern: its automaton has {num_states:,} states for {size:,} tokens; expected at "
            f"most {MAX_ENTRIES // size:,}, so give a smaller pattern"
        )
    next_states = np.stack([_read_texts(automaton, context) for context in contexts], axis=1)
    is_line_start = np.zeros(size, np.int32)
    if num_contexts > 1 and vocabulary.has_line_ends:
        is_line_start[END] = 1
    next_states = next_states * num_contexts + is_line_start
    banned = [PADDING, UNKNOWN]
    if vocabulary.has_end_token and not vocabulary.has_line_ends:
        banned.append(END)
    next_states[..., banned] = DEAD
    next_states = next_states.reshape(num_states, size).astype(np.int32)
    accepting = np.repeat(automaton.accepting, num_contexts)
    inside = START * num_contexts
    start = inside + num_contexts - 1
    distances = _distances(next_states, accepting)
    return TokenAutomaton(start, inside, next_states, accepting, distances)


def _read_texts(
    automaton: Automaton, texts: Sequence[str]
) -> Int32[np.ndarray, "states vocabulary"]:
    """Returns the state after each text, from each state."""
    states = np.arange(len(automaton.accepting))
    # A last column, at which nothing moves, for the ends of short texts.
    transitions = np.concatenate([automaton.transitions, states[:, None]], axis=1)
    columns = np.full((len(texts), max(map(len, texts))), -1)
    for token, text in enumerate(texts):
        columns[token, : len(text)] = [automaton.characters[character] for character in text]
    reached = np.repeat(states[:, None], len(texts), axis=1)
    for column in columns.T:
        reached = transitions[reached, column]
    return reached


def _distances(
    next_states: Int32[np.ndarray, "states vocabulary"], accepting: Bool[np.ndarray, " states"]
) -> Int32[np.ndarray, " states"]:
    """Returns the fewest tokens from each state to an accepting one."""
    adjacent = [np.unique(row) for row in next_states]
    distances, previous = np.where(accepting, 0, UNREACHABLE).astype(np.int32), None
    while previous is None or np.any(distances != previous):
        previous = distances.copy()
        for state, following in enumerate(adjacent):
            distances[state] = min(distances[state], 1 + distances[following].min())
    return distances
