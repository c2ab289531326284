"""Regular expressions as deterministic automata over characters.

The syntax is that of Python's `re`: literals, escapes and classes of characters, groups,
alternatives and repetitions. Constructs that look around a position or back to a group are refused.
"""

import dataclasses
import re
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int32

from rnnjax.errors import InputError

DEAD = 0
"""The state from which no match can be reached."""
START = 1
MAX_STATES = 5_000
_MAX_NODES = 20_000
"""Most states of the nondeterministic automaton, repetitions written out."""

_QUANTIFIER = re.compile(r"[*+?]|\{(?!\})(\d*)(,?)(\d*)\}")
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|[\s\S])"
)
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")

Characters = frozenset[str]


@dataclasses.dataclass(frozen=True)
class _Repeat:
    """A part that occurs `least` to `most` times; None for any number."""

    part: "_Node"
    least: int
    most: int | None


@dataclasses.dataclass(frozen=True)
class _Alternatives:
    """One of several sequences of parts."""

    sequences: tuple[tuple["_Node", ...], ...]


_Node = Characters | _Repeat | _Alternatives


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic automaton over characters, with the states `DEAD` and `START`.

    Attributes:
      characters: the column of each character.
      transitions: the next state.
      accepting: whether the characters so far match.
    """

    characters: dict[str, int]
    transitions: Int32[np.ndarray, "states characters"]
    accepting: Bool[np.ndarray, " states"]

    def matches(self, text: str) -> bool:
        """Returns whether a whole text matches."""
        state = START
        for character in text:
            column = self.characters.get(character)
            state = DEAD if column is None else int(self.transitions[state, column])
        return bool(self.accepting[state])


def compile_pattern(pattern: str, alphabet: Iterable[str]) -> Automaton:
    """Returns the automaton of the texts that a regular expression matches from end to end.

    Args:
      pattern: of Python's `re`.
      alphabet: characters that a text may have.

    Raises:
      InputError: the pattern is damaged, has a construct that no automaton has, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"pattern: given {pattern!r}, which is no regular expression ({error}); expected one "
            "of Python's `re`"
        ) from None
    alphabet = frozenset(alphabet)
    return _determinize(_Parser(pattern, alphabet).parse(), alphabet)


def compile_search(texts: Sequence[str], alphabet: Iterable[str]) -> Automaton:
    """Returns the automaton of the texts that have one of some texts in them.

    Args:
      texts: at least one, none ''.
      alphabet: characters that a text may have.
    """
    alphabet = frozenset(alphabet)
    anything = _Repeat(alphabet, 0, None)
    literals = tuple(tuple(frozenset({letter}) & alphabet for letter in text) for text in texts)
    return _determinize(_Alternatives(((anything, _Alternatives(literals), anything),)), alphabet)


class _Parser:
    """A parser by recursive descent of patterns that `re.compile` has accepted."""

    def __init__(self, pattern: str, alphabet: Characters):
        self._pattern = pattern
        self._alphabet = alphabet
        self._position = 0

    def parse(self) -> _Node:
        """Returns the syntax tree."""
        return self._alternatives()

    def _alternatives(self) -> _Node:
        sequences = [self._sequence()]
        while self._next("|"):
            sequences.append(self._sequence())
        return _Alternatives(tuple(sequences))

    def _sequence(self) -> tuple[_Node, ...]:
        parts = []
        while self._position < len(self._pattern) and self._peek() not in "|)":
            parts.append(self._repeated(self._part()))
        return tuple(parts)

    def _repeated(self, part: _Node) -> _Node:
        if not (quantifier := _QUANTIFIER.match(self._pattern, self._position)):
            return part
        if self._pattern.startswith("+", quantifier.end()):
            raise self._refusal("a possessive repetition", quantifier[0] + "+")
        self._position = quantifier.end()
        self._next("?")  # lazy or greedy, the same texts match
        if quantifier[0] in ("*", "+", "?"):
            return _Repeat(part, int(quantifier[0] == "+"), 1 if quantifier[0] == "?" else None)
        low, comma, high = quantifier.groups()
        least = int(low or 0)
        return _Repeat(part, least, int(high) if high else None if comma else least)

    def _part(self) -> _Node:
        character = self._peek()
        if character == "(":
            if not (group := _GROUP.match(self._pattern, self._position)):
                raise self._refusal("a group of this kind", self._pattern[self._position :][:4])
            self._position = group.end()
            node = self._alternatives()
            self._next(")")
            return node
        if character in "^$":
            raise self._refusal("an anchor, and the whole text matches in any case", character)
        start = self._position
        if character == "[":
            self._skip_class()
        elif character == "\\":
            escape = _ESCAPE.match(self._pattern, start)
            assert escape
            if escape[0][1] in "123456789":
                raise self._refusal("a reference to a group", escape[0])
            if escape[0][1] in "AbBZz":
                raise self._refusal("an assertion", escape[0])
            self._position = escape.end()
        else:
            self._position += 1
            if character != ".":
                return frozenset({character}) & self._alphabet
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            element = re.compile(self._pattern[start : self._position])
        return frozenset(filter(element.fullmatch, self._alphabet))

    def _skip_class(self) -> None:
        """Moves behind a class of characters; `]` at its start is one of them."""
        self._position += 1
        self._next("^")
        self._next("]")
        while self._peek() != "]":
            self._position += 2 if self._peek() == "\\" else 1
        self._position += 1

    def _peek(self) -> str:
        return self._pattern[self._position]

    def _next(self, character: str) -> bool:
        """Moves behind a character if it is the next one, and returns whether it is."""
        is_next = self._pattern.startswith(character, self._position)
        self._position += is_next
        return is_next

    def _refusal(self, construct: str, text: str) -> InputError:
        return InputError(
            f"pattern: given {self._pattern!r}, and {text!r} at character {self._position + 1} is "
            f"{construct}; expected literals, escapes and classes of characters, groups, | and "
            "repetitions alone"
        )


class _Nondeterministic:
    """An automaton with empty steps, by Thompson's construction."""

    def __init__(self) -> None:
        self.empty: list[list[int]] = []
        self.steps: list[tuple[Characters, int] | None] = []

    def node(self) -> int:
        """Adds a state."""
        if len(self.steps) >= _MAX_NODES:
            raise _too_large()
        self.empty.append([])
        self.steps.append(None)
        return len(self.steps) - 1

    def add(self, node: _Node, start: int) -> int:
        """Adds what a part of a pattern reads from a state on, and returns the state after it."""
        if isinstance(node, frozenset):
            end = self.node()
            source = self.node()
            self.empty[start].append(source)
            self.steps[source] = node, end
            return end
        if isinstance(node, _Alternatives):
            end = self.node()
            for sequence in node.sequences:
                state = self.node()
                self.empty[start].append(state)
                for part in sequence:
                    state = self.add(part, state)
                self.empty[state].append(end)
            return end
        state = start
        for _ in range(node.least):
            state = self.add(node.part, state)
        if node.most is None:
            loop = self.node()
            self.empty[state].append(loop)
            self.empty[self.add(node.part, loop)].append(loop)
            return loop
        end = self.node()
        for _ in range(node.most - node.least):
            self.empty[state].append(end)
            state = self.add(node.part, state)
        self.empty[state].append(end)
        return end

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """Returns the states that empty steps reach."""
        reached, waiting = set(), list(states)
        while waiting:
            state = waiting.pop()
            if state not in reached:
                reached.add(state)
                waiting += self.empty[state]
        return frozenset(reached)


def _determinize(node: _Node, alphabet: Characters) -> Automaton:
    """Returns the automaton whose states are sets of states, by the subset construction."""
    source = _Nondeterministic()
    start = source.node()
    end = source.add(node, start)
    columns, class_of = _character_classes(
        (step[0] for step in source.steps if step), sorted(alphabet)
    )
    state_sets = {frozenset(): DEAD, source.closure([start]): START}
    rows: list[list[int]] = [[DEAD] * len(columns)]
    waiting = [source.closure([start])]
    for states in waiting:
        steps = [step for state in states if (step := source.steps[state])]
        row = []
        for representative in columns:
            reached = source.closure(end for read, end in steps if representative in read)
            if reached not in state_sets:
                if len(state_sets) >= MAX_STATES:
                    raise _too_large()
                state_sets[reached] = len(state_sets)
                waiting.append(reached)
            row.append(state_sets[reached])
        rows.append(row)
    transitions = np.array(rows, np.int32).reshape(len(rows), len(columns))
    characters = {character: column for column, character in enumerate(sorted(alphabet))}
    return Automaton(
        characters=characters,
        transitions=transitions[:, class_of],
        accepting=np.array([end in states for states in state_sets]),
    )


def _character_classes(
    sets: Iterable[Characters], alphabet: Sequence[str]
) -> tuple[list[str], Int32[np.ndarray, " characters"]]:
    """Groups characters that the same sets have.

    Returns:
      A character of each group, and the group of each character of the alphabet.
    """
    distinct = list(set(sets))
    groups: dict[tuple[bool, ...], int] = {}
    representatives, numbers = [], []
    for character in alphabet:
        membership = tuple(character in characters for characters in distinct)
        if membership not in groups:
            groups[membership] = len(groups)
            representatives.append(character)
        numbers.append(groups[membership])
    return representatives, np.array(numbers, np.int32)


def _too_large() -> InputError:
    return InputError(
        f"pattern: its automaton has more than {MAX_STATES:,} states; expected a smaller one, with "
        "fewer or shorter repetitions"
    )
