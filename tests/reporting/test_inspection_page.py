"""The page about the inside of a network: what stands on it, whatever it is told."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rnnjax.reporting.inspection_page import LayerTrace, StateTrace, TextInspection, render

NAMED = {"name": "mine", "cell": "LSTMCell, 3 features"}


def account(tokens=4, outcomes=3, units=3, gates=("forget gate",), text=None, unit="word"):
    """Returns an account of a text of words, of random numbers."""
    draw = np.random.default_rng(tokens)
    words = [f"w{at}" for at in range(tokens)]
    text = "“" + ", ".join(words) + "”." if text is None else text
    spans = [found.span() for found in re.finditer(r"\w+", text)]
    logits = draw.standard_normal((tokens, outcomes))
    values = draw.standard_normal((2, tokens, units))
    states = tuple(
        StateTrace(name, each, np.diff(each, axis=0, prepend=0 * each[:1]))
        for name, each in zip(("hidden", "cell"), values, strict=True)
    )
    return TextInspection(
        text=text,
        unit=unit,
        spans=spans,
        known=draw.random(tokens) < 0.5,
        outcomes=tuple(f"class {outcome}" for outcome in range(outcomes)),
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        moved=draw.standard_normal(tokens),
        layers=[
            LayerTrace("layer 1", {name: draw.random((tokens, units)) for name in gates}, states)
        ],
    )


class Page(HTMLParser):
    """The elements of a page, closed as they were opened."""

    def __init__(self, source):
        super().__init__()
        self.source, self.open, self.found, self.text = source, [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag, name):
        """Returns the attributes of the elements of a class."""
        return [
            attrs
            for found, attrs in self.found
            if found == tag and name in (attrs.get("class") or "").split()
        ]

    @property
    def said(self):
        return " ".join("".join(self.text).split())


def page_of(*accounts, **told):
    return Page(render(accounts, **{**NAMED, **told}))


def test_a_page_says_the_text_the_answer_and_the_words_that_are_unknown():
    told = account()
    page = page_of(told)
    assert "“w0, w1, w2, w3”." in page.said
    best, other = np.argsort(-told.probabilities[-1])[:2]
    assert f"class {best} {told.probabilities[-1, best]:.1%}".replace("%", " %") in page.said
    assert f"rather than class {other}" in page.said
    unknown = [attrs for attrs in page.of("span", "word") if "unknown" in attrs["class"]]
    # One of them is in the key.
    assert len(unknown) == 1 + np.sum(~told.known)
    signs = ["above" in attrs["class"] for attrs in page.of("span", "word") if "title" in attrs]
    assert signs == (told.moved >= 0).tolist()


def test_every_gate_and_every_part_of_the_state_has_a_map_whose_cells_are_its_values():
    told = account(units=3)._replace(moved=np.ones(4))
    forget = np.array([[0.0, 0.25, 1.0]] * 3 + [[1.0, 0.5, 0.0]])
    states = told.layers[0].states
    # The range of the units falls in their order, so that they stand as they are.
    values = np.array([[3.0, 2.0, 1.0], [-3.0, -2.0, -1.0], [0, 0, 0], [0, 0, 0]])
    states = tuple(state._replace(values=values, changes=0 * values) for state in states)
    layer = told.layers[0]._replace(gates={"forget gate": forget}, states=states)
    source = render([told._replace(layers=[layer])], **NAMED)
    (gate, hidden, cell) = re.findall(r'class="drawing heat".*?</svg>', source, re.DOTALL)
    cells = dict(re.findall(r'class="gate" fill-opacity="([\d.]+)" d="([^"]*)"', gate))
    assert set(cells) == {"0.25", "0.50", "1.00"}
    # Full: unit 0 at the last word, and unit 2 at the first three in one stretch.
    assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["1.00"]) == [("3", "0", "1"), ("0", "2", "3")]
    assert hidden.split("<svg")[1] == cell.split("<svg")[1]
    for kind, at in (("above", "0"), ("below", "1")):
        cells = dict(re.findall(rf'class="{kind}" fill-opacity="([\d.]+)" d="([^"]*)"', hidden))
        assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["1.00"]) == [(at, "0", "1")]
        assert re.findall(r"M(\d+) (\d+)h(\d+)", cells["0.33"]) == [(at, "2", "1")]


@pytest.mark.parametrize(("tokens", "units"), [(1, 1), (1, 300), (60, 64), (300, 8)])
def test_the_page_of_any_size_is_whole_and_light(tokens, units):
    page = page_of(account(tokens, units=units))
    assert page.said.count("of 300 units") == (3 if units == 300 else 0)
    assert len(page.source) < 30_000 + 12 * 3 * tokens * min(units, 32) + 800 * tokens
    for tag, attrs in page.found:
        assert tag not in ("script", "img", "link", "iframe")
        assert not {"src", "href"} & set(attrs)
    assert "nan" not in page.source
    assert "@import" not in page.source


def test_a_text_that_looks_like_html_stays_text():
    text = "<script>alert(1)</script> & 'more'"
    page = page_of(account(5, text=text), name="<b>mine</b>", fallback="<i>docstrings</i>")
    assert text in page.said
    assert not {"script", "i"} & {tag for tag, attrs in page.found if not attrs}
    assert "trained on <i>docstrings</i> in the place" in page.said


def test_of_many_outcomes_the_most_probable_ones_stand_under_each_word():
    told = account(outcomes=40)
    page = page_of(told)
    assert not page.of("p", "outcomes")
    for row in told.probabilities:
        best = " ".join(f"class {each}" for each in np.argsort(-row)[:5])
        assert best.replace(" ", "") in page.said.replace(" ", "")


def test_a_page_speaks_of_what_the_network_reads():
    assert "A column is a word" in page_of(account()).said
    page = page_of(account(outcomes=40, unit="character"))
    for said in ("A column is a character", "what each character moved", "after each character"):
        assert said in page.said
    assert " word " not in page.said


def test_a_cell_without_gates_says_so_and_shows_its_state():
    page = page_of(account(gates=()))
    assert "the cell names no gates" in page.said
    assert "a gate, from 0" not in page.said
    assert len(page.of("div", "heat")) == 2


def test_the_flags_are_the_units_that_move_most_and_the_words_at_which_they_do():
    told = account(tokens=4)
    values = np.array([[0.0, 0.1, 1.0], [0.0, 0.2, 0.9], [0.0, 0.1, -1.0], [0.0, 0.1, -1.0]])
    changes = np.diff(values, axis=0, prepend=0 * values[:1])
    hidden, cell = told.layers[0].states
    states = (hidden, cell._replace(values=values, changes=changes))
    page = page_of(told._replace(layers=[told.layers[0]._replace(states=states)]))
    assert "raised most atlowered most at 2w0 +1.00w2 -1.90" in page.said
    assert "0nowherenowhere" in page.said


def test_several_texts_stand_on_one_page():
    page = page_of(account(3), account(6))
    assert "Text 1 of 2" in page.said
    assert "Text 2 of 2" in page.said
    assert [attrs["style"] for attrs in page.of("div", "sheet")] == ["--words: 3", "--words: 6"]
