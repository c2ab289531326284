"""Answers texts with a trained network.

python -m rnnjax.predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
cat lines.txt | python -m rnnjax.predict --workdir runs/mine --json
"""

from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.console import write_output
from rnnjax.reporting.atomic_files import encode_json

_WORKDIR = command.define_path("workdir", "", "The folder of the run.")
_TRUST = command.define_trust()
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_SHOWN = 80


def main(texts: list[str]) -> None:
    """Prints class and probabilities of each text, of the lines of standard input without any."""
    from rnnjax.data.vocabulary import has_excess_unknowns
    from rnnjax.training import TrainedClassifier

    run = TrainedClassifier.load(Path(_WORKDIR.value), _TRUST.value)
    trained_on = run.data.get("unknown_share", 0.0)
    for chunk in command.texts(texts):
        shares = run.vocabulary.unknown_shares(chunk, run.config.data.max_tokens)
        for text, share, row in zip(chunk, shares, run.predict(chunk), strict=True):
            probabilities = {name: float(p) for name, p in zip(run.classes, row, strict=True)}
            if _JSON.value:
                line = _json(text, share, probabilities)
            else:
                line = _line(text, probabilities) + _note(
                    text, share, has_excess_unknowns(share, trained_on)
                )
            write_output(line)


def _json(text: str, unknown_share: float, probabilities: dict[str, float]) -> str:
    best = max(probabilities, key=probabilities.__getitem__)
    answer = {
        "text": text,
        "class": best,
        "probability": probabilities[best],
        "probabilities": probabilities,
        "unknown_share": unknown_share,
    }
    return encode_json(answer)


def _line(text: str, probabilities: dict[str, float]) -> str:
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    best, rest = ranked[0], ranked[1:]
    others = ", ".join(f"{name} {probabilities[name]:.3f}" for name in rest)
    text = " ".join(text.split())
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{best} {probabilities[best]:.3f}  ({others})  {shown}"


def _note(text: str, unknown_share: float, unfamiliar: bool) -> str:
    """Returns a remark where a text is empty or has many more unknown tokens than the training."""
    if not text.strip():
        return "  [an empty text]"
    if unknown_share == 1:
        return "  [no known word: do not trust the answer]"
    if unfamiliar:
        return f"  [{unknown_share:.0%} unknown: do not trust the answer]"
    return ""


if __name__ == "__main__":
    command.run(main, required=["workdir"])
