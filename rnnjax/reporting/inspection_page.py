"""The page that shows what a network does with texts, word by word."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from rnnjax.reporting.sparklines import bars, heat, lines, numbered, unit_height
from rnnjax.reporting.templates import fill, visible

_MOST_UNITS = 32
_MOST_FLAGS = 6
_MOST_LINES = 8
"""Outcomes that have a line each; of more, the most probable ones stand under each word."""
_MOST_RANKS = 5
_FEW_WORDS = 12
_SHORT_WORD = 2


class StateTrace(NamedTuple):
    """A part of the state of a layer.

    Attributes:
      name: of the part.
      values: after each token was read.
      changes: what the reading of each token added.
    """

    name: str
    values: Float[np.ndarray, "tokens units"]
    changes: Float[np.ndarray, "tokens units"]


class LayerTrace(NamedTuple):
    """What happens inside a layer, in one direction.

    Attributes:
      name: of the layer, and of the direction where it has two.
      gates: values from 0 to 1 by the names that the cell gives them, [tokens, units].
      states: at least one.
    """

    name: str
    gates: dict[str, Float[np.ndarray, "tokens units"]]
    states: tuple[StateTrace, ...]


class TextInspection(NamedTuple):
    """What a network does with a text.

    Attributes:
      text: as it was given.
      unit: what a token is: 'word', 'character' or 'subword'.
      spans: where in the text each token that was read begins and ends.
      known: which of the tokens the network knows.
      outcomes: names of what it tells apart: classes, or the tokens that may come next.
      probabilities: of each outcome as if the text ended after the token.
      moved: gradient times input, by token: of the logarithm of the odds of the answer, the most
        probable outcome in the end, against the runner-up, in nats.
      layers: from the lowest to the topmost.
    """

    text: str
    unit: str
    spans: list[tuple[int, int]]
    known: Bool[np.ndarray, " tokens"]
    outcomes: tuple[str, ...]
    probabilities: Float[np.ndarray, "tokens outcomes"]
    moved: Float[np.ndarray, " tokens"]
    layers: list[LayerTrace]

    @property
    def ranked(self) -> list[int]:
        """The outcomes by falling probability in the end."""
        return np.argsort(-self.probabilities[-1], kind="stable").tolist()


class Word(NamedTuple):
    """A token on the page.

    Attributes:
      before: what stands between it and the token before.
      text: as the text has it.
      known: whether the network knows it.
      share: what it moved, by the largest of the text, from -1 to 1.
      ranks: the most probable outcomes after it.
      told: what is said where it is pointed at.
    """

    before: str
    text: str
    known: bool
    share: float
    ranks: list[tuple[str, float]]
    told: str


class PageRow(NamedTuple):
    """A row of a sheet, of which the words are the columns.

    Attributes:
      kind: 'title', 'words', 'bars', 'lines', 'ranks' or 'heat'.
      label: what it is.
      note: what more there is to say.
      drawing: SVG that is one wide for each word.
      height: of the drawing, in pixels.
      units: the numbers of the units, from above, where there is room for them.
    """

    kind: str
    label: str
    note: str = ""
    drawing: Markup = Markup("")
    height: int = 0
    units: tuple[int, ...] = ()


class Flag(NamedTuple):
    """A unit whose state changes much: at which words it rises and falls most, and by how much.

    By 0 where it never rises, or never falls.
    """

    unit: int
    raised: tuple[str, float]
    lowered: tuple[str, float]


class OutcomeProbability(NamedTuple):
    """What the network tells apart, by its number, and how probable it is in the end."""

    number: int
    name: str
    probability: float


class Sheet(NamedTuple):
    """A text on the page.

    Attributes:
      words: of the text that were read.
      rest: what the text holds after them.
      layout: how wide the columns are: 'few', 'many', or 'tight' where all words are short.
      answer: the most probable outcome.
      other: the runner-up.
      outcomes: the most probable ones.
      lines: whether each outcome has a line.
      rows: of the sheet.
      flags: of each layer, by its name.
    """

    words: list[Word]
    rest: str
    layout: str
    answer: OutcomeProbability
    other: OutcomeProbability
    outcomes: list[OutcomeProbability]
    lines: bool
    rows: list[PageRow]
    flags: list[tuple[str, list[Flag]]]


def render(accounts: Sequence[TextInspection], *, name: str, cell: str, fallback: str = "") -> str:
    """Returns the page.

    Args:
      accounts: at least one.
      name: of the run.
      cell: of its layers, as its config has it.
      fallback: the corpus that it was trained on in the place of the one asked for; or ''.
    """
    return fill(
        "inside.html.j2",
        "inside.css",
        sheets=[_sheet(account) for account in accounts],
        unit=accounts[0].unit,
        gated=any(layer.gates for layer in accounts[0].layers),
        name=name,
        cell=cell,
        fallback=fallback,
    )


def _sheet(account: TextInspection) -> Sheet:
    words = _words(account)
    final = account.probabilities[-1].tolist()
    ranked = [
        OutcomeProbability(each, account.outcomes[each], final[each])
        for each in account.ranked[:_MOST_LINES]
    ]
    return Sheet(
        words=words,
        rest=account.text[account.spans[-1][1] :],
        layout=_layout(account, words),
        answer=ranked[0],
        other=ranked[1],
        outcomes=ranked,
        lines=_has_lines(account),
        rows=[*_answers(account), *(row for layer in account.layers for row in _layer(layer))],
        flags=[(layer.name, _flags(layer, words)) for layer in account.layers],
    )


def _has_lines(account: TextInspection) -> bool:
    return len(account.outcomes) <= _MOST_LINES


def _layout(account: TextInspection, words: Sequence[Word]) -> str:
    ranks = [] if _has_lines(account) else [name for word in words for name, _ in word.ranks]
    longest = max(len(each) for each in [*ranks, *(word.text for word in words)])
    if longest <= _SHORT_WORD:
        return "tight"
    return "few" if ranks or len(words) <= _FEW_WORDS else "many"


def _words(account: TextInspection) -> list[Word]:
    most = np.abs(account.moved).max() or 1.0
    words, end = [], 0
    for index, (start, after) in enumerate(account.spans):
        row, text = account.probabilities[index], account.text[start:after]
        best = np.argsort(-row, kind="stable")[:_MOST_RANKS].tolist()
        ranks = [(account.outcomes[each], float(row[each])) for each in best]
        told = ", ".join(f"{visible(name)} {probability:.1%}" for name, probability in ranks[:3])
        words.append(
            Word(
                before=account.text[end:start],
                text=text,
                known=bool(account.known[index]),
                share=float(account.moved[index] / most),
                ranks=ranks,
                told=f"{visible(text)}: so far {told}; moved the answer by "
                f"{account.moved[index]:+.2f}",
            )
        )
        end = after
    return words


def _answers(account: TextInspection) -> list[PageRow]:
    """Returns the rows of what the network answers, so far and in the end."""
    answer, other = (account.outcomes[each] for each in account.ranked[:2])
    sides = f"for {_quoted(answer)}, against {_quoted(other)}"
    note = f"{sides}: gradient times input, at most {np.abs(account.moved).max():.2g}"
    moved = PageRow("bars", f"what each {account.unit} moved", note, bars(account.moved), 72)
    if _has_lines(account):
        drawing = lines(account.probabilities, account.ranked)
        so_far = PageRow("lines", "probability", "as if the text ended there", drawing, 128)
    else:
        so_far = PageRow("ranks", "most probable", f"after each {account.unit}")
    return [PageRow("words", ""), moved, so_far]


def _quoted(name: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{visible(name)}\N{RIGHT DOUBLE QUOTATION MARK}"


def _layer(layer: LayerTrace) -> list[PageRow]:
    """Returns the rows of a layer: its gates, then its state, the same units in the same order."""

    @functools.cache
    def order(units: int) -> np.ndarray:
        found = [state for state in layer.states if state.values.shape[1] == units]
        if not found:
            return np.arange(units)[:_MOST_UNITS]
        ranges = sum(_ranges(state) / (_ranges(state).max() or 1.0) for state in found)
        return np.argsort(-np.asarray(ranges), kind="stable")[:_MOST_UNITS]

    def row(name: str, values: np.ndarray, note: str, drawing: Markup) -> PageRow:
        units = values.shape[1]
        kept = order(units)
        if len(kept) < units:
            note = f"{note}; {len(kept)} of {units} units"
        numbers = tuple(kept.tolist()) if numbered(len(kept)) else ()
        return PageRow("heat", name, note, drawing, unit_height(len(kept)) * len(kept), numbers)

    gateless = "" if layer.gates else "the cell names no gates"
    rows = [PageRow("title", layer.name, gateless), PageRow("words", "")]
    for name, values in layer.gates.items():
        kept = values[:, order(values.shape[1])]
        rows.append(row(name, values, "0 to 1", heat({"gate": kept.T})))
    for state in layer.states:
        kept = state.values[:, order(state.values.shape[1])]
        most = np.abs(kept).max()
        signed = {"above": kept.T / (most or 1.0), "below": -kept.T / (most or 1.0)}
        rows.append(
            row(state.name, state.values, f"\N{MINUS SIGN}{most:.2f} to {most:.2f}", heat(signed))
        )
    return rows


def _ranges(state: StateTrace) -> np.ndarray:
    """Returns for each unit how far apart its smallest and its largest value are."""
    return np.ptp(np.concatenate([state.values, state.values - state.changes]), axis=0)


def _flags(layer: LayerTrace, words: Sequence[Word]) -> list[Flag]:
    """Returns the units whose memory changes most."""
    memory = next((state for state in layer.states if state.name == "cell"), layer.states[0])
    flags = []
    for unit in np.argsort(-_ranges(memory), kind="stable")[:_MOST_FLAGS].tolist():
        changes = memory.changes[:, unit]
        up, down = int(changes.argmax()), int(changes.argmin())
        raised = words[up].text, max(float(changes[up]), 0.0)
        lowered = words[down].text, min(float(changes[down]), 0.0)
        flags.append(Flag(unit, raised, lowered))
    return flags
