"""Writes a page that shows gates, states and saliency of a trained model at each token of a text.

    rnnjax inspect --workdir runs/mine "Oil prices rise but Boston wins the game"
    cat lines.txt | rnnjax inspect --workdir runs/mine --output page.html
    rnnjax inspect --workdir runs/lstm --beside runs/gru "Oil prices fall"
    rnnjax inspect --workdir runs/mine --output picture.svg "Oil prices rise but Boston wins"

Without texts it reads the lines of standard input.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.cli.texts import read_chunks
from rnnjax.console import write_output
from rnnjax.errors import InputError

POSITIONAL = "[TEXT ...]"


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --beside and --output."""
    add_run_flags(parser)
    parser.add_argument(
        "--beside",
        type=path,
        metavar="FOLDER",
        help="The folder of another run, which reads the same texts: both stand side by side.",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="The page to write, or a picture of it where the name ends in .svg; without it "
        "inspect.html in the folder of the run.",
    )


def main(args: argparse.Namespace) -> None:
    """Writes the page, and prints its path."""
    from rnnjax.reporting.atomic_files import write_text
    from rnnjax.training import load_run

    output = args.output or args.workdir / "inspect.html"
    if args.output and not output.parent.is_dir():
        raise InputError(
            f"--output={output}: there is no folder {output.parent}; make it, then repeat"
        )
    run = load_run(args.workdir, args.trust)
    beside = load_run(args.beside, args.trust) if args.beside else None
    texts = [text for chunk in read_chunks(args.positional) for text in chunk]
    inspection = run.inspect(texts, beside)
    write_text(output, inspection.svg() if output.suffix == ".svg" else inspection.html())
    write_output(str(output))


if __name__ == "__main__":
    launch("inspect")
