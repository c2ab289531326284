"""HTML page with the gates, states and outputs of a network at each token of a text."""

import functools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from rnnjax.reporting.sparklines import bars, has_unit_labels, heat_map, line_chart, unit_height
from rnnjax.reporting.templates import fill, visible

_MAX_UNITS = 32
_MAX_TOP_UNITS = 6
_MAX_LINES = 8
"""Outcomes with a line each; of more, the most probable ones are listed under each token."""
_MAX_RANKS = 5
_WIDE_COLUMNS = 12
"""Most tokens whose columns are wide."""
_NARROW_TOKEN = 2
"""Most characters of tokens whose columns are narrow."""


class StateTrace(NamedTuple):
    """One part of a layer's state over the tokens.

    Attributes:
      name: name of the part.
      values: value after each token.
      changes: difference to the previous value.
    """

    name: str
    values: Float[np.ndarray, "tokens units"]
    changes: Float[np.ndarray, "tokens units"]


class LayerTrace(NamedTuple):
    """Gates and states of a layer in one direction.

    Attributes:
      name: name of the layer, and of the direction if it has two.
      gates: values from 0 to 1 by the name of the gate, [tokens, units].
      states: at least one.
    """

    name: str
    gates: dict[str, Float[np.ndarray, "tokens units"]]
    states: tuple[StateTrace, ...]


class TextInspection(NamedTuple):
    """Trace of a network over a text.

    Attributes:
      text: the text.
      unit: kind of token: 'word', 'character' or 'subword'.
      spans: start and end of each token in the text.
      in_vocabulary: whether each token is in the vocabulary.
      outcomes: names of the classes, or of the next tokens.
      probabilities: of each outcome for the text up to and including the token.
      attributions: of each token, gradient times input: of the log odds of the most probable
        outcome at the end against the runner-up, in nats.
      layers: from the lowest to the topmost.
    """

    text: str
    unit: str
    spans: list[tuple[int, int]]
    in_vocabulary: Bool[np.ndarray, " tokens"]
    outcomes: tuple[str, ...]
    probabilities: Float[np.ndarray, "tokens outcomes"]
    attributions: Float[np.ndarray, " tokens"]
    layers: list[LayerTrace]

    @property
    def ranked(self) -> list[int]:
        """The outcomes by falling probability at the end of the text."""
        return np.argsort(-self.probabilities[-1], kind="stable").tolist()


class PageToken(NamedTuple):
    """A token on the page.

    Attributes:
      prefix: text between the previous token and this one.
      text: the token as the text has it.
      in_vocabulary: whether it is in the vocabulary.
      attribution: relative to the largest of the text, from -1 to 1.
      ranks: the most probable outcomes after it.
      tooltip: text shown on hover.
    """

    prefix: str
    text: str
    in_vocabulary: bool
    attribution: float
    ranks: list[tuple[str, float]]
    tooltip: str


class PageRow(NamedTuple):
    """A row of a sheet, whose columns are the tokens.

    Attributes:
      kind: 'title', 'tokens', 'bars', 'lines', 'ranks' or 'heat'.
      label: title of the row.
      note: second line of the label.
      plot: SVG with a width of one per token.
      height: height of the plot in pixels.
      units: indices of the units, from the top, where there is room for them.
    """

    kind: str
    label: str
    note: str = ""
    plot: Markup = Markup("")
    height: int = 0
    units: tuple[int, ...] = ()


class UnitChange(NamedTuple):
    """Largest increase and decrease of a unit's state, each with its token.

    They are 0 if the state never increases, or never decreases.
    """

    unit: int
    increase: tuple[str, float]
    decrease: tuple[str, float]


class OutcomeProbability(NamedTuple):
    """An outcome by index and name, and its probability at the end of the text."""

    index: int
    name: str
    probability: float


class Sheet(NamedTuple):
    """A text on the page.

    Attributes:
      direction: of the columns, 'rtl' for a text that is read from right to left, otherwise 'ltr'.
      tokens: tokens that the network has read.
      rest: text after them.
      layout: width of the columns: 'large', 'medium', or 'small' if all tokens are short.
      answer: the most probable outcome.
      runner_up: the next one.
      outcomes: the most probable ones.
      has_lines: whether each outcome has a line.
      rows: rows of the sheet.
      changes: the units that change most, by the name of their layer.
    """

    direction: str
    tokens: list[PageToken]
    rest: str
    layout: str
    answer: OutcomeProbability
    runner_up: OutcomeProbability
    outcomes: list[OutcomeProbability]
    has_lines: bool
    rows: list[PageRow]
    changes: list[tuple[str, list[UnitChange]]]


def render(
    inspections: Sequence[TextInspection],
    *,
    name: str,
    cell: str,
    fallback: str = "",
    beside: tuple[str, Sequence[TextInspection]] | None = None,
) -> str:
    """Renders the page.

    Args:
      inspections: at least one.
      name: name of the run.
      cell: description of the cell.
      fallback: the corpus that the run was trained on instead of the configured one, or ''.
      beside: name of another run, and its inspections of the same texts; None for one run.
    """
    groups = [[(name, make_sheet(inspection))] for inspection in inspections]
    if beside:
        other, others = beside
        for group, inspection in zip(groups, others, strict=True):
            group.append((other, make_sheet(inspection)))
    return fill(
        "inside.html.j2",
        "inside.css",
        groups=groups,
        directions={sheet.direction for group in groups for _, sheet in group},
        unit=inspections[0].unit,
        gated=any(layer.gates for layer in inspections[0].layers),
        name=f"{name} and {beside[0]}" if beside else name,
        cell=cell,
        fallback=fallback,
    )


def make_sheet(inspection: TextInspection) -> Sheet:
    """Returns the tokens and the rows of a text."""
    tokens = _tokens(inspection)
    final = inspection.probabilities[-1].tolist()
    ranked = [
        OutcomeProbability(index, inspection.outcomes[index], final[index])
        for index in inspection.ranked[:_MAX_LINES]
    ]
    layer_rows = (row for layer in inspection.layers for row in _layer_rows(layer))
    return Sheet(
        direction=_direction(inspection.text),
        tokens=tokens,
        rest=inspection.text[inspection.spans[-1][1] :],
        layout=_layout(inspection, tokens),
        answer=ranked[0],
        runner_up=ranked[1],
        outcomes=ranked,
        has_lines=_has_lines(inspection),
        rows=[*_output_rows(inspection), *layer_rows],
        changes=[(layer.name, _top_changes(layer, tokens)) for layer in inspection.layers],
    )


def _direction(text: str) -> str:
    """Returns 'rtl' if the first letter of a text is of a script from right to left, else 'ltr'."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    first = next((kind for kind in kinds if kind in ("L", "R", "AL")), "L")
    return "ltr" if first == "L" else "rtl"


def _has_lines(inspection: TextInspection) -> bool:
    return len(inspection.outcomes) <= _MAX_LINES


def _layout(inspection: TextInspection, tokens: Sequence[PageToken]) -> str:
    has_ranks = not _has_lines(inspection)
    texts = [token.text for token in tokens]
    texts += [name for token in tokens if has_ranks for name, _ in token.ranks]
    if max(map(len, texts)) <= _NARROW_TOKEN:
        return "small"
    return "large" if has_ranks or len(tokens) <= _WIDE_COLUMNS else "medium"


def _tokens(inspection: TextInspection) -> list[PageToken]:
    largest = np.abs(inspection.attributions).max() or 1.0
    tokens, previous_end = [], 0
    for index, (start, end) in enumerate(inspection.spans):
        probabilities, text = inspection.probabilities[index], inspection.text[start:end]
        best = np.argsort(-probabilities, kind="stable")[:_MAX_RANKS].tolist()
        ranks = [(inspection.outcomes[outcome], float(probabilities[outcome])) for outcome in best]
        top = ", ".join(f"{visible(name)} {probability:.1%}" for name, probability in ranks[:3])
        attribution = inspection.attributions[index]
        tokens.append(
            PageToken(
                prefix=inspection.text[previous_end:start],
                text=text,
                in_vocabulary=bool(inspection.in_vocabulary[index]),
                attribution=float(attribution / largest),
                ranks=ranks,
                tooltip=f"{visible(text)}: {top}; attribution {attribution:+.2f}",
            )
        )
        previous_end = end
    return tokens


def _output_rows(inspection: TextInspection) -> list[PageRow]:
    """Returns the rows of attributions and probabilities."""
    answer, runner_up = (visible(inspection.outcomes[index]) for index in inspection.ranked[:2])
    note = (
        f"gradient times input, “{answer}” against “{runner_up}”, "
        f"up to {np.abs(inspection.attributions).max():.2g}"
    )
    tokens = [inspection.text[start:end] for start, end in inspection.spans]
    label = f"attribution of each {inspection.unit}: {_listed(tokens, inspection.attributions)}"
    attribution = PageRow("bars", "attribution", note, bars(inspection.attributions, label), 72)
    if _has_lines(inspection):
        label = f"probability of {answer} after each {inspection.unit}: " + _listed(
            tokens, inspection.probabilities[:, inspection.ranked[0]]
        )
        plot = line_chart(inspection.probabilities, inspection.ranked, label)
        outcomes = PageRow("lines", "probability", "of the text up to there", plot, 128)
    else:
        outcomes = PageRow("ranks", "most probable", f"after each {inspection.unit}")
    return [PageRow("tokens", ""), attribution, outcomes]


def _listed(tokens: Sequence[str], values: np.ndarray) -> str:
    """Returns tokens with their values, for readers who do not see the plot."""
    pairs = zip(tokens, values.tolist(), strict=True)
    return ", ".join(f"{visible(token)} {value:.2f}" for token, value in pairs)


def _layer_rows(layer: LayerTrace) -> list[PageRow]:
    """Returns the rows of gates and states, with the same units in the same order."""

    @functools.cache
    def order(num_units: int) -> np.ndarray:
        states = [state for state in layer.states if state.values.shape[1] == num_units]
        if not states:
            return np.arange(num_units)[:_MAX_UNITS]
        ranges = sum(_ranges(state) / (_ranges(state).max() or 1.0) for state in states)
        return np.argsort(-np.asarray(ranges), kind="stable")[:_MAX_UNITS]

    def row(name: str, num_units: int, note: str, plot: Markup) -> PageRow:
        units = order(num_units).tolist()
        if len(units) < num_units:
            note = f"{note}; {len(units)} of {num_units} units"
        labels = tuple(units) if has_unit_labels(len(units)) else ()
        return PageRow("heat", name, note, plot, unit_height(len(units)) * len(units), labels)

    rows = [
        PageRow("title", layer.name, "" if layer.gates else "the cell names no gates"),
        PageRow("tokens", ""),
    ]
    for name, gate in layer.gates.items():
        num_units = gate.shape[1]
        label = f"{name} of {layer.name}, mean over units at each token: {_joined(gate)}"
        plot = heat_map({"gate": gate[:, order(num_units)].T}, label)
        rows.append(row(name, num_units, "0 to 1", plot))
    for name, state, _ in layer.states:
        num_units = state.shape[1]
        values = state[:, order(num_units)].T
        largest = np.abs(values).max()
        scaled = values / (largest or 1.0)
        note = f"\N{MINUS SIGN}{largest:.2f} to {largest:.2f}"
        label = f"{name} of {layer.name}, mean size over units at each token: "
        plot = heat_map({"above": scaled, "below": -scaled}, label + _joined(np.abs(state)))
        rows.append(row(name, num_units, note, plot))
    return rows


def _joined(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values.mean(axis=1).tolist())


def _ranges(state: StateTrace) -> np.ndarray:
    """Returns the range of each unit over the tokens, the initial state included."""
    return np.ptp(np.concatenate([state.values, state.values - state.changes]), axis=0)


def _top_changes(layer: LayerTrace, tokens: Sequence[PageToken]) -> list[UnitChange]:
    """Returns the changes of the units with the largest range."""
    memory = next((state for state in layer.states if state.name == "cell"), layer.states[0])
    top = []
    for unit in np.argsort(-_ranges(memory), kind="stable")[:_MAX_TOP_UNITS].tolist():
        changes = memory.changes[:, unit]
        up, down = int(changes.argmax()), int(changes.argmin())
        increase = tokens[up].text, max(float(changes[up]), 0.0)
        decrease = tokens[down].text, min(float(changes[down]), 0.0)
        top.append(UnitChange(unit, increase, decrease))
    return top
