"""Translates texts with a trained translation model.

    rnnjax translate --workdir runs/mine "40712" "Mar 3, 1998"
    cat lines.txt | rnnjax translate --workdir runs/mine --attention

Without texts it reads the lines of standard input.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags
from rnnjax.cli.texts import read_chunks
from rnnjax.console import write_output

POSITIONAL = "[TEXT ...]"
_QUOTED_CHARACTERS = 40


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --beam_size and --attention."""
    add_run_flags(parser)
    parser.add_argument(
        "--beam_size",
        type=int,
        default=0,
        metavar="HYPOTHESES",
        help="Hypotheses of beam search; 0 for the number in the config. Default: 0.",
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="Print the source token with the largest attention weight for each target token.",
    )


def main(args: argparse.Namespace) -> None:
    """Prints the translation of each text."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.reporting.templates import visible
    from rnnjax.training import load_run

    run = load_run(args.workdir, args.trust)
    vocabulary = run.text_vocabulary
    for texts in read_chunks(args.positional):
        translations = run.translate(texts, args.beam_size)
        shares = vocabulary.unknown_shares(texts)
        doubtful = [text for text, share in zip(texts, shares, strict=True) if share]
        if doubtful:
            write_message(
                f"WARNING: {len(doubtful)} of {len(texts)} texts are empty or have tokens that the "
                f"network does not know, {doubtful[0][:_QUOTED_CHARACTERS]!r} is the first of "
                f"them: do not trust their translations{vocabulary.advise_unicode_form(texts)}"
            )
        for translation in translations:
            write_output(translation.text)
            for token, weight, source in translation.alignments if args.attention else []:
                write_output(f"  {visible(token):<12}  {weight:.2f}  {visible(source)}")


if __name__ == "__main__":
    launch("translate")
