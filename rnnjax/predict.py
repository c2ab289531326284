"""Predicts with a trained model: the classes of texts, or the answers of another task.

    rnnjax predict --workdir runs/mine "Oil prices fall" "Champions win the cup"
    cat lines.txt | rnnjax predict --workdir runs/mine --json
    rnnjax predict --workdir runs/other --data sequences.npz

Without texts and --data it reads the lines of standard input.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.cli.texts import read_chunks
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.reporting.atomic_files import encode_json

POSITIONAL = "[TEXT ...]"


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --data and --json."""
    add_run_flags(parser)
    parser.add_argument(
        "--data", type=path, metavar="FILE", help="A file that the task reads, instead of texts."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")


def main(args: argparse.Namespace) -> None:
    """Prints the prediction for each text, or for each example of the file."""
    from rnnjax.training import load_run

    if args.data and args.positional:
        raise InputError(f"given --data and the text {args.positional[0]!r}; expected one of them")
    run = load_run(args.workdir, args.trust)
    for inputs in [args.data] if args.data else read_chunks(args.positional):
        for prediction in run.predictions(inputs):
            write_output(encode_json(prediction.values) if args.json else prediction.line)


if __name__ == "__main__":
    launch("predict")
