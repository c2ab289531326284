"""Answers texts with a trained network.

python -m rnnjax.predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
cat lines.txt | python -m rnnjax.predict --workdir runs/mine --json
"""

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
    from rnnjax.training import TrainedClassifier

    run = TrainedClassifier.load(Path(_WORKDIR.value))
    if not texts and sys.stdin.isatty():
        print("reading texts from standard input, one a line", file=sys.stderr)
    at_once = 1 if sys.stdin.isatty() else _AT_ONCE
    for chunk, error in _chunks(iter(texts or command.lines()), at_once):
        shares = run.vocabulary.known_shares(chunk, run.config.data.max_tokens)
        answers = run.predict(chunk) if chunk else []
        for text, share, row in zip(chunk, shares, answers, strict=True):
            probabilities = {name: float(p) for name, p in zip(run.classes, row, strict=True)}
            show = _json if _JSON.value else _line
            print(show(text, share, probabilities), flush=True)
        if error:
            raise error


def _chunks(texts: Iterator[str], size: int) -> Iterator[tuple[list[str], InputError | None]]:
    """Yields texts, and what was wrong with the one after them."""
    chunk = []
    try:
        for text in texts:
            chunk.append(text)
            if len(chunk) == size:
                yield chunk, None
                chunk = []
    except InputError as error:
        yield chunk, error
        return
    if chunk:
        yield chunk, None


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
    text = " ".join(text.split())
    nothing = "no known word: do not trust the answer" if text else "an empty text"
    note = "" if known else f"  [{nothing}]"
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{best} {probabilities[best]:.3f}  ({others})  {shown}{note}"


if __name__ == "__main__":
    command.run(main, required=["workdir"])
