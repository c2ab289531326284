"""Generates text from a prompt with a trained language model, and prints it as it is generated.

rnnjax generate --workdir runs/mine --prompt "ROMEO:" --length 500
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags
from rnnjax.console import write_output


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, the prompt and the sampling options."""
    add_run_flags(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="The start of the text.")
    parser.add_argument(
        "--length",
        type=int,
        default=500,
        metavar="TOKENS",
        help="Maximum number of tokens to generate; the text may end earlier. Default: 500.",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="Divides the logits: lower is safer, 0 takes the most probable token. Default: 1.0.",
    )
    parser.add_argument(
        "--top_k",
        type=int,
        default=0,
        metavar="TOKENS",
        help="Sample from this many most probable tokens; 0 for all. Default: 0.",
    )
    parser.add_argument(
        "--top_p",
        type=float,
        default=1.0,
        metavar="PROBABILITY",
        help="Sample from the most probable tokens with this total probability; 1 for all. "
        "Default: 1.0.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The same seed generates the same text. Default: 0."
    )


def main(args: argparse.Namespace) -> None:
    """Prints the prompt and its continuation."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.tasks.sampling import SamplingOptions
    from rnnjax.training import load_run

    options = SamplingOptions(args.temperature, args.top_k, args.top_p, args.seed)
    run = load_run(args.workdir, args.trust)
    pieces = run.generate(args.prompt, args.length, options)
    (unknown_share,) = run.text_vocabulary.unknown_shares([args.prompt])
    if args.prompt and unknown_share:
        advice = run.text_vocabulary.advise_unicode_form([args.prompt])
        write_message(
            f"WARNING: {unknown_share:.1%} of the tokens of the prompt are unknown to the network, "
            f"which reads all of them as one and the same{advice}"
        )
    first = next(pieces, "")  # an error is raised before anything is printed
    write_output(args.prompt + first, end="")
    for piece in pieces:
        write_output(piece, end="")
    write_output("")


if __name__ == "__main__":
    launch("generate")
