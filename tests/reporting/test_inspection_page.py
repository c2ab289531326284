"""The inspection page shows text, prediction, gates and states for any input."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rnnjax.reporting.inspection_page import LayerTrace, StateTrace, TextInspection, render
from rnnjax.reporting.inspection_picture import draw
from rnnjax.reporting.templates import notebook_frame

NAMED: dict[str, Any] = {"name": "mine", "cell": "LSTMCell, 3 features"}


def inspection(tokens=4, outcomes=3, units=3, gates=("forget gate",), text=None, unit="word"):
    """Returns the inspection of a text of words, with random numbers."""
    generator = np.random.default_rng(tokens)
    words = [f"w{index}" for index in range(tokens)]
    text = "“" + ", ".join(words) + "”." if text is None else text
    spans = [match.span() for match in re.finditer(r"\w+", text)]
    logits = generator.standard_normal((tokens, outcomes))
    values = generator.standard_normal((2, tokens, units))
    states = tuple(
        StateTrace(name, state, np.diff(state, axis=0, prepend=0 * state[:1]))
        for name, state in zip(("hidden", "cell"), values, strict=True)
    )
    return TextInspection(
        text=text,
        unit=unit,
        spans=spans,
        in_vocabulary=generator.random(tokens) < 0.5,
        outcomes=tuple(f"class {outcome}" for outcome in range(outcomes)),
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        attributions=generator.standard_normal(tokens),
        layers=[
            LayerTrace(
                "layer 1", {name: generator.random((tokens, units)) for name in gates}, states
            )
        ],
    )


class Page(HTMLParser):
    """Parsed elements of a page with balanced tags."""

    def __init__(self, source):
        super().__init__()
        self.source, self.open, self.elements, self.data = source, [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)

    def select(self, tag, name):
        """Returns the attributes of the elements of a class."""
        return [
            attrs
            for element, attrs in self.elements
            if element == tag and name in (attrs.get("class") or "").split()
        ]

    @property
    def text(self):
        return " ".join("".join(self.data).split())


def render_page(*inspections, **options):
    return Page(render(inspections, **{**NAMED, **options}))


def test_page_has_text_prediction_and_unknown_words():
    trace = inspection()
    page = render_page(trace)
    assert "“w0, w1, w2, w3”." in page.text
    best, runner_up = np.argsort(-trace.probabilities[-1])[:2]
    assert f"class {best} {trace.probabilities[-1, best]:.1%}".replace("%", " %") in page.text
    assert f"rather than class {runner_up}" in page.text
    unknown = [attrs for attrs in page.select("span", "word") if "unknown" in attrs["class"]]
    # One more is in the key.
    assert len(unknown) == 1 + np.sum(~trace.in_vocabulary)
    signs = ["above" in attrs["class"] for attrs in page.select("span", "word") if "title" in attrs]
    assert signs == (trace.attributions >= 0).tolist()


def test_heat_maps_show_the_values_of_gates_and_states():
    trace = inspection(units=3)._replace(attributions=np.ones(4))
    forget = np.array([[0.0, 0.25, 1.0]] * 3 + [[1.0, 0.5, 0.0]])
    states = trace.layers[0].states
    # The ranges fall in the order of the units, which is then the order of the rows.
    values = np.array([[3.0, 2.0, 1.0], [-3.0, -2.0, -1.0], [0, 0, 0], [0, 0, 0]])
    states = tuple(state._replace(values=values, changes=0 * values) for state in states)
    layer = trace.layers[0]._replace(gates={"forget gate": forget}, states=states)
    source = render([trace._replace(layers=[layer])], **NAMED)
    (gate, hidden, cell) = re.findall(r'class="drawing heat".*?</svg>', source, re.DOTALL)
    cells = dict(re.findall(r'class="gate" fill-opacity="([\d.]+)" d="([^"]*)"', gate))
    assert set(cells) == {"0.25", "0.50", "1.00"}
    # Full: unit 0 at the last word, and unit 2 at the first three in one run.
    assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["1.00"]) == [("3", "0", "1"), ("0", "2", "3")]
    assert hidden.split("<path", 1)[1] == cell.split("<path", 1)[1]
    for kind, column in (("above", "0"), ("below", "1")):
        cells = dict(re.findall(rf'class="{kind}" fill-opacity="([\d.]+)" d="([^"]*)"', hidden))
        assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["1.00"]) == [(column, "0", "1")]
        assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["0.33"]) == [(column, "2", "1")]


@pytest.mark.parametrize(("tokens", "units"), [(1, 1), (1, 300), (60, 64), (300, 8)])
def test_page_of_any_size_is_valid_and_small(tokens, units):
    page = render_page(inspection(tokens, units=units))
    assert page.text.count("of 300 units") == (3 if units == 300 else 0)
    assert len(page.source) < 30_000 + 12 * 3 * tokens * min(units, 32) + 800 * tokens
    for tag, attrs in page.elements:
        assert tag not in ("script", "img", "link", "iframe")
        assert not {"src", "href"} & set(attrs)
    assert "nan" not in page.source
    assert "@import" not in page.source


def test_html_in_texts_is_escaped():
    text = "<script>alert(1)</script> & 'more'"
    page = render_page(inspection(5, text=text), name="<b>mine</b>", fallback="<i>docstrings</i>")
    assert text in page.text
    assert not {"script", "i"} & {tag for tag, attrs in page.elements if not attrs}
    assert "trained on <i>docstrings</i> instead" in page.text


def test_many_outcomes_are_ranked_under_each_word():
    trace = inspection(outcomes=40)
    page = render_page(trace)
    assert not page.select("p", "outcomes")
    for row in trace.probabilities:
        best = " ".join(f"class {outcome}" for outcome in np.argsort(-row)[:5])
        assert best.replace(" ", "") in page.text.replace(" ", "")


def test_page_names_the_unit_of_the_vocabulary():
    assert "A column is a word" in render_page(inspection()).text
    page = render_page(inspection(outcomes=40, unit="character"))
    for phrase in ("A column is a character", "attribution: the character", "after each character"):
        assert phrase in page.text
    assert " word " not in page.text


def test_cell_without_gates_shows_its_state():
    page = render_page(inspection(gates=()))
    assert "the cell names no gates" in page.text
    assert "a gate, from 0" not in page.text
    assert len(page.select("div", "heat")) == 2


def test_largest_state_changes_are_listed_with_their_words():
    trace = inspection(tokens=4)
    values = np.array([[0.0, 0.1, 1.0], [0.0, 0.2, 0.9], [0.0, 0.1, -1.0], [0.0, 0.1, -1.0]])
    changes = np.diff(values, axis=0, prepend=0 * values[:1])
    hidden, cell = trace.layers[0].states
    states = (hidden, cell._replace(values=values, changes=changes))
    page = render_page(trace._replace(layers=[trace.layers[0]._replace(states=states)]))
    assert "largest increaselargest decrease 2w0 +1.00w2 -1.90" in page.text
    assert "0nonenone" in page.text


def test_page_of_several_texts():
    page = render_page(inspection(3), inspection(6))
    assert "Text 1 of 2" in page.text
    assert "Text 2 of 2" in page.text
    assert [attrs["style"] for attrs in page.select("div", "sheet")] == ["--words: 3", "--words: 6"]


def test_texts_from_right_to_left_are_shown_so():
    hebrew = inspection(5, text="ראש הממשלה נפגש עם שר")
    page = render_page(hebrew, inspection())
    assert [sheet["dir"] for sheet in page.select("div", "sheet")] == ["rtl", "ltr"]
    assert "from right to left" in render_page(hebrew).text
    assert "from left to right" in render_page(inspection()).text


def test_two_runs_stand_side_by_side():
    page = render_page(inspection(), beside=("<other>", [inspection(units=5)]))
    assert len(page.select("div", "sheet")) == 2
    assert "read by mine" in page.text
    assert "read by <other>" in page.text
    assert page.select("main", "side-by-side")
    assert not render_page(inspection()).select("main", "side-by-side")


def test_picture_has_the_plots_and_words_of_the_page():
    hebrew = inspection(5, text="ראש הממשלה & עם שר <האוצר>")
    picture = draw([inspection(), inspection(20), hebrew, inspection(outcomes=40)])
    root = ElementTree.fromstring(picture)
    svg = "{http://www.w3.org/2000/svg}"
    words = [element.text for element in root.iter(f"{svg}text")]
    assert words.count("w0") == 2 * 3  # above the outputs, and above the layer
    assert {"forget gate", "hidden", "cell", "layer 1", "האוצר"} <= set(words)
    # A mirrored plot stands where it would stand, and its first word is on the right.
    assert len(list(root.iter(f"{svg}g"))) == 5
    first, last = (
        next(e for e in root.iter(f"{svg}text") if e.text == word) for word in ("ראש", "האוצר")
    )
    assert float(first.get("x", "")) > float(last.get("x", ""))
    assert len(list(root.iter(f"{svg}tspan"))) == 9
    assert ".outcome-2 { stroke: var(--outcome-2); }" in picture


def test_notebooks_show_the_page_in_a_frame():
    page = render([inspection()], **NAMED)
    frame = Page(notebook_frame(page))
    (attributes,) = (attrs for tag, attrs in frame.elements if tag == "iframe")
    assert attributes["srcdoc"] == page
