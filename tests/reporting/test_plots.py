"""Plots are reproducible SVG in the colours of the page."""

import re

import numpy as np
import pytest

from rnnjax.reporting.plots import Series, curves, moving_average, series

NONE = Series(np.array([]), np.array([]))


def line(count, slope=1.0):
    steps = np.arange(1.0, count + 1)
    return Series(steps, slope * steps)


def test_series_is_sorted_finite_and_of_its_split():
    lines = [
        {"step": 200, "split": "train", "loss": 2},
        {"step": 100, "split": "train", "loss": 1.5},
        {"step": 150, "split": "validation", "loss": 9.0},
        {"step": 300, "split": "train", "loss": float("nan")},
        {"step": 400, "split": "train", "loss": float("inf")},
        {"step": 500, "split": "train"},
        {"split": "train", "loss": 3.0},
        {"step": 600, "split": "train", "loss": "1.0"},
        # A line that a resumed run has written again.
        {"step": 200, "split": "train", "loss": 2.5},
    ]
    steps, values = series(lines, "train", "loss")
    assert steps.tolist() == [100, 200]
    assert values.tolist() == [1.5, 2.5]


def test_moving_average():
    np.testing.assert_allclose(moving_average(np.full(60, 3.0)), 3.0)
    spike = np.zeros(60)
    spike[30] = 5.0
    np.testing.assert_allclose(moving_average(spike)[28:33], 1.0)
    assert moving_average(spike)[[0, 27, 33, -1]].tolist() == [0, 0, 0, 0]
    assert moving_average(np.array([1.0, 3.0])).shape == (2,)


def paths(svg, variable):
    """Returns the numbers of points of the curves in a colour."""
    drawn = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\({variable}\)', svg)
    return [len(re.findall("[ML]", path)) for path in drawn]


def test_many_points_have_a_moving_average():
    zigzag = Series(np.arange(200.0), np.arange(200.0) % 2)
    raw, smooth = paths(curves("loss", zigzag, NONE, NONE), "--train")
    assert raw >= 200  # matplotlib may add the first point again
    assert smooth > 1
    few = Series(np.arange(10.0), np.arange(10.0) % 2)
    assert paths(curves("loss", few, NONE, NONE), "--train") == [10]


def test_strips_that_show_values_lie_over_their_points():
    svg = str(curves("loss", NONE, line(4), NONE))
    marks = re.findall(r'<use href="[^"]*" x="([\d.]+)"[^>]*var\(--validation', svg)
    strips = re.findall(
        r'<rect class="hover" x="([\d.]+)" y="[\d.]+" width="([\d.]+)".*?<title>([^<]*)</title>',
        svg,
    )
    assert [title for *_, title in strips] == [f"step {n}: validation {n}" for n in range(1, 5)]
    for mark, (left, width, _) in zip(marks, strips, strict=True):
        assert float(left) < float(mark) < float(left) + float(width) + 0.1
    assert 'aria-label="loss over the steps of the run: validation 1 to 4"' in svg


def test_long_run_has_a_small_plot():
    steps = np.arange(50_000.0)
    assert len(curves("loss", Series(steps, steps % 7), NONE, NONE)) < 100_000


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_plot_is_self_contained(count):
    svg = curves("loss", line(count), line(min(count, 3), 2.0), NONE)
    assert "//" not in svg
    assert "<style" not in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)


def test_text_is_text_and_identifiers_are_distinct():
    loss = curves("loss", line(3), NONE, NONE)
    share = curves(
        "accuracy", Series(np.array([1.0, 2]), np.array([0.5, 1])), NONE, NONE, 0.25, True
    )
    assert re.search(r"<text[^>]*>step</text>", loss)
    assert re.search(r"<text[^>]*>60 %</text>", share)
    names = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (loss, share)]
    assert not names[0] & names[1]
    for svg, ids in zip((loss, share), names, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= ids


def test_tick_labels_are_distinct():
    close = Series(np.array([1.0, 2]), np.array([0.418, 0.42]))
    drawing = curves("accuracy", close, NONE, NONE, percent=True)
    levels = re.findall(r"<text[^>]*>([^<]*) %</text>", drawing)
    assert len(levels) > 3
    assert len(set(levels)) == len(levels)


def test_plot_is_reproducible():
    assert curves("loss", line(90), line(3), NONE) == curves("loss", line(90), line(3), NONE)
