"""Evaluates a trained model on another file.

rnnjax evaluate --workdir runs/mine --data test.csv
rnnjax evaluate --workdir runs/play --data another_play.txt
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.console import write_output
from rnnjax.reporting.atomic_files import encode_json


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust and --data."""
    add_run_flags(parser)
    parser.add_argument(
        "--data",
        type=path,
        required=True,
        metavar="FILE",
        help="A file like those of the training: of AG News, CSV of class, title and description "
        "without a header; of other labelled text, with the columns of the training file; of a "
        "language model, text.",
    )


def main(args: argparse.Namespace) -> None:
    """Prints the scores and the number of rows as JSON, and where a share of tokens is unknown."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.training import load_run

    run = load_run(args.workdir, args.trust)
    scores = run.evaluate(args.data)
    if "unknown_share" in scores:
        shares = {args.data.name: scores["unknown_share"], **run.unknown_shares}
        parts = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
        write_message(f"unknown tokens: {parts}")
    write_output(encode_json(scores, indent=2))


if __name__ == "__main__":
    launch("evaluate")
