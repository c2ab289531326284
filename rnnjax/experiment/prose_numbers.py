"""Finds numbers in prose: outside the parts of a page that are rendered from records.

Settings, sources and definitions have numbers that no run has measured. The file `typed.toml` in
the folder of all experiments lists them, by page, as phrases that the page has to contain:

    "experiments/speed/README.md" = ["Python 3.11", "20,000 rows; 5,119 of them"]

Any other number in prose was edited, or should be rendered. Code, between backticks, in fenced
blocks or in indented lines of a docstring, is no prose, nor are the targets of links.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.reporting import markdown

TYPED = Path("experiments", "typed.toml")

_NOT_PROSE = (
    re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
    re.compile(r"`(?:[^`\n]|\n(?!\n))*`"),
    re.compile(r"(?<=\])\([^)\s]*\)"),  # the target of a link
    re.compile(r"^<!-- \S+: (?:begin|end) -->$", re.MULTILINE),
)
_COMMAND = re.compile(r"^(?: {4}|python ).*$", re.MULTILINE)
"""A command line in a docstring."""
_NUMBER = re.compile(r"(?<![A-Za-z_\d])[-+]?[.]?\d[\w.,%/-]*")


def read_phrases() -> dict[str, list[str]]:
    """Reads the phrases of typed.toml by page, none if there is no file.

    Raises:
      InputError: it is damaged.
    """
    if not TYPED.exists():
        return {}
    try:
        phrases = tomllib.loads(TYPED.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{TYPED}: {error}") from error
    for page, values in phrases.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InputError(f'{TYPED}: {page}: expected a list of phrases, ["95 % interval"] say')
    return phrases


def blank_parts(text: str, parts: Iterable[str]) -> str:
    """Blanks the rendered parts of a page; the lines keep their numbers."""
    for name in parts:
        begin, end = re.escape(markdown.begin(name)), re.escape(markdown.end(name))
        text = re.sub(rf"{begin}.*?{end}", _blank, text, flags=re.DOTALL)
    return text


def blank_sentences(docstring: str, sentences: Sequence[str]) -> str:
    """Blanks commands and rendered sentences of a docstring, with any line breaks."""
    text = _COMMAND.sub(_blank, docstring)
    for sentence in sentences:
        text = re.sub(r"\s+".join(map(re.escape, sentence.split())), _blank, text)
    return text


def find_problems(text: str, phrases: Sequence[str]) -> list[str]:
    """Finds numbers that no phrase contains, and phrases that the text lacks.

    Args:
      text: a page without its rendered parts.
      phrases: with numbers, which the text has to contain.
    """
    for pattern in _NOT_PROSE:
        text = pattern.sub(_blank, text)
    problems = []
    for phrase in sorted(phrases, key=len, reverse=True):
        words = r"\s+".join(map(re.escape, phrase.split()))
        text, count = re.subn(rf"(?<![\w.,+-]){words}(?![\w%]|[.,]\d)", _blank, text)
        if not count:
            problems.append(f"{phrase!r} is listed in {TYPED.name} and not in the text")
    numbers = [
        f"{match[0].rstrip('.,')} at line {text[: match.start()].count(chr(10)) + 1}"
        for match in _NUMBER.finditer(text)
    ]
    return [*problems, *numbers]


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", "~", match[0])
