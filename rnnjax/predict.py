"""Answers texts with a trained network.

python -m rnnjax.predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
cat lines.txt | python -m rnnjax.predict --workdir runs/mine --json
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.errors import InputError

_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the run.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_AT_ONCE = 1024
_SHOWN = 80


def main(texts: list[str]) -> None:
    """Prints class and probabilities of each text, of the lines of standard input without any."""
    from rnnjax.training import load

    run = load(Path(_WORKDIR.value))
    if not texts and sys.stdin.isatty():
        print("reading texts from standard input, one a line", file=sys.stderr)
    lines = iter(texts or _lines())
    while chunk := list(itertools.islice(lines, _AT_ONCE)):
        shares = run.vocabulary.known_shares(chunk)
        for text, share, row in zip(chunk, shares, run.predict(chunk), strict=True):
            probabilities = {name: float(p) for name, p in zip(run.classes, row, strict=True)}
            show = _json if _JSON.value else _line
            print(show(text, share, probabilities))


def _lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            # A byte order mark may stand at the start, and is no part of the text.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input, line {number}: is not UTF-8 ({error.reason} at byte "
                f"{error.start + 1}); convert it, with iconv say"
            ) from None


def _json(text: str, known: float, probabilities: dict[str, float]) -> str:
    best = max(probabilities, key=probabilities.__getitem__)
    answer = {
        "text": text,
        "class": best,
        "probability": probabilities[best],
        "probabilities": probabilities,
        "known_share": known,
    }
    return json.dumps(answer, ensure_ascii=False)


def _line(text: str, known: float, probabilities: dict[str, float]) -> str:
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    best, rest = ranked[0], ranked[1:]
    others = ", ".join(f"{name} {probabilities[name]:.3f}" for name in rest)
    note = "" if known else "  [no known word: the answer is that to an unknown text]"
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{best} {probabilities[best]:.3f}  ({others})  {shown}{note}"


if __name__ == "__main__":
    command.run(main, required=["workdir"])
