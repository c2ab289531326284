"""Texts of the pages stand out from their paper by 4.5 to 1, on light and on dark screens."""

import re
from importlib import resources

import pytest

CSS = {
    name: resources.files("rnnjax.reporting").joinpath(name).read_text("utf-8")
    for name in ("report.css", "inside.css")
}
TEXTS = ["--ink", "--quiet", "--alarm", "--train", "--wrong-text"]
PAPERS = ["--paper", "--raised"]


def colours(mode):
    """Returns the colour variables of a mode, the light ones where the dark mode has no other."""
    found = {}
    for text in CSS.values():
        light, *rest = text.partition("@media screen and (prefers-color-scheme: dark)")
        parts = [light, rest[1].partition("\n}\n")[0]] if mode == "dark" else [light]
        for part in parts:
            found |= dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", part))
    return found


def luminance(colour):
    """Relative luminance, as WCAG 2.2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mix(colour, paper, share):
    """Mixes two colours as `color-mix(in srgb, ...)` does."""
    channels = [
        round(share * int(colour[at : at + 2], 16) + (1 - share) * int(paper[at : at + 2], 16))
        for at in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def test_contrast_of_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("text", TEXTS)
def test_texts_stand_out(mode, text, paper):
    found = colours(mode)
    assert contrast(found[text], found[paper]) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_alarms_stand_out(mode):
    found = colours(mode)
    assert contrast(found["--alarm"], found["--alarm-paper"]) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.8, 1.0])
def test_counts_of_a_confusion_matrix_stand_out(mode, share):
    found = colours(mode)
    (strongest,) = re.findall(r"--heat\) calc\(var\(--share\) \* (\d+)%", CSS["report.css"])
    heat = share**0.5 * int(strongest) / 100
    for colour in ("--right", "--wrong"):
        assert contrast(found["--ink"], mix(found[colour], found["--raised"], heat)) >= 4.5
