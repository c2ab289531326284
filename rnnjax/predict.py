"""Predicts the classes of texts with a trained classifier.

    rnnjax predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
    cat lines.txt | rnnjax predict --workdir runs/mine --json

Without texts it reads the lines of standard input.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags
from rnnjax.cli.texts import read_chunks
from rnnjax.console import write_output
from rnnjax.reporting.atomic_files import encode_json

POSITIONAL = "[TEXT ...]"
_MAX_CHARACTERS = 80


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust and --json."""
    add_run_flags(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")


def main(args: argparse.Namespace) -> None:
    """Prints the class and the probabilities of each text."""
    from rnnjax.data.vocabulary import has_excess_unknowns
    from rnnjax.training import TrainedClassifier

    run = TrainedClassifier.load(args.workdir, args.trust)
    training_share = run.data.get("unknown_share", 0.0)
    for texts in read_chunks(args.positional):
        shares = run.vocabulary.unknown_shares(texts, run.config.data.max_tokens)
        for text, share, row in zip(texts, shares, run.predict(texts), strict=True):
            probabilities = {name: float(p) for name, p in zip(run.classes, row, strict=True)}
            if args.json:
                line = _json_line(text, share, probabilities)
            else:
                line = _plain_line(text, probabilities) + _warning(
                    text, share, has_excess_unknowns(share, training_share)
                )
            write_output(line)


def _json_line(text: str, unknown_share: float, probabilities: dict[str, float]) -> str:
    predicted = max(probabilities, key=probabilities.__getitem__)
    prediction = {
        "text": text,
        "class": predicted,
        "probability": probabilities[predicted],
        "probabilities": probabilities,
        "unknown_share": unknown_share,
    }
    return encode_json(prediction)


def _plain_line(text: str, probabilities: dict[str, float]) -> str:
    predicted, *rest = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    alternatives = ", ".join(f"{name} {probabilities[name]:.3f}" for name in rest)
    text = " ".join(text.split())
    if len(text) > _MAX_CHARACTERS:
        text = text[: _MAX_CHARACTERS - 1] + "…"
    return f"{predicted} {probabilities[predicted]:.3f}  ({alternatives})  {text}"


def _warning(text: str, unknown_share: float, unfamiliar: bool) -> str:
    """Returns a remark on a text that is empty or has many unknown tokens, otherwise ''."""
    if not text.strip():
        return "  [an empty text]"
    if unknown_share == 1:
        return "  [no known word: do not trust the answer]"
    if unfamiliar:
        return f"  [{unknown_share:.0%} unknown: do not trust the answer]"
    return ""


if __name__ == "__main__":
    launch("predict")
