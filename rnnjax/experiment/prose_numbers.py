"""Numbers in prose: what stands on a page outside the parts that are rendered from records.

Settings, sources and definitions have numbers that no run has measured. The file `typed.toml` in
the folder of all experiments lists them, by page, as phrases that have to stand on it:

    "experiments/speed/README.md" = ["Python 3.11", "20,000 rows; 5,119 of them"]

Any other number in prose was edited, or should be rendered. What is typed as code, between
backticks, in fenced blocks or in indented lines of a docstring, is no prose, nor are the targets of
links.
"""

import ast
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
"""A line of a docstring that shows what to type."""
_NUMBER = re.compile(r"(?<![A-Za-z_\d])[-+]?[.]?\d[\w.,%/-]*")


def read_typed() -> dict[str, list[str]]:
    """Returns the phrases that typed.toml lists by page, none if there is no file.

    Raises:
      InputError: it is damaged.
    """
    if not TYPED.exists():
        return {}
    try:
        found = tomllib.loads(TYPED.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{TYPED}: {error}") from error
    for page, phrases in found.items():
        if not isinstance(phrases, list) or not all(isinstance(each, str) for each in phrases):
            raise InputError(f'{TYPED}: {page}: expected a list of phrases, ["95 % interval"] say')
    return found


def without_parts(text: str, parts: Iterable[str]) -> str:
    """Returns a page without its rendered parts; the lines keep their numbers."""
    for name in parts:
        marks = (re.escape(markdown.begin(name)), re.escape(markdown.end(name)))
        text = re.sub(rf"{marks[0]}.*?{marks[1]}", _blank, text, flags=re.DOTALL)
    return text


def docstring(config: Path) -> str:
    """Returns the docstring of a config file, '' if it has none.

    Raises:
      InputError: it is no Python.
    """
    try:
        return ast.get_docstring(ast.parse(config.read_text(encoding="utf-8"))) or ""
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{config}: is no Python file in UTF-8: {error}") from error


def without_sentences(config: Path, sentences: Sequence[str]) -> str:
    """Returns the docstring of a config without the sentences of its experiments, however wrapped.

    Raises:
      InputError: it is no Python.
    """
    text = _COMMAND.sub(_blank, docstring(config))
    for each in sentences:
        text = re.sub(r"\s+".join(map(re.escape, each.split())), _blank, text)
    return text


def check_prose(text: str, phrases: Sequence[str]) -> list[str]:
    """Returns what is wrong with the numbers of a text: not among the phrases, or a phrase missing.

    Args:
      text: a page without the parts that are rendered.
      phrases: with numbers, that have to stand in it.
    """
    for pattern in _NOT_PROSE:
        text = pattern.sub(_blank, text)
    wrong = []
    for phrase in sorted(phrases, key=len, reverse=True):
        words = r"\s+".join(map(re.escape, phrase.split()))
        text, count = re.subn(rf"(?<![\w.,+-]){words}(?![\w%]|[.,]\d)", _blank, text)
        if not count:
            wrong.append(f"{phrase!r} is listed in {TYPED.name} and does not stand there")
    found = [
        f"{match[0].rstrip('.,')} at line {text[: match.start()].count(chr(10)) + 1}"
        for match in _NUMBER.finditer(text)
    ]
    return [*wrong, *found]


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", "~", match[0])
