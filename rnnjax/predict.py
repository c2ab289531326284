"""Answers texts with a trained network.

python -m rnnjax.predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
cat lines.txt | python -m rnnjax.predict --workdir runs/mine --json
"""

import json
from pathlib import Path

from absl import flags

from rnnjax import command

_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the run.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_SHOWN = 80


def main(texts: list[str]) -> None:
    """Prints class and probabilities of each text, of the lines of standard input without any."""
    from rnnjax.training import TrainedClassifier

    run = TrainedClassifier.load(Path(_WORKDIR.value))
    for chunk in command.texts(texts):
        shares = run.vocabulary.known_shares(chunk, run.config.data.max_tokens)
        for text, share, row in zip(chunk, shares, run.predict(chunk), strict=True):
            probabilities = {name: float(p) for name, p in zip(run.classes, row, strict=True)}
            show = _json if _JSON.value else _line
            print(show(text, share, probabilities), flush=True)


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
