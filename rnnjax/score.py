"""Scores texts with a trained language model: log-probability, and surprisal token by token.

    rnnjax score --workdir runs/mine "The cat sat on the mat ." "The cat sat on the the ."
    rnnjax score --workdir runs/mine --data sentences.txt > surprisals.jsonl
    cat sentences.txt | rnnjax score --workdir runs/mine

Each text is read from its start and becomes a JSON line: its log-probability in nats, its surprisal
in bits, that of the end after it, and of each token the part of the text, where it starts and ends,
the surprisal, and whether it is unknown. A file has a text a line, and so has standard input, which
is read without texts and --data.
"""

import argparse
import time

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.cli.texts import read_chunks
from rnnjax.console import write_output
from rnnjax.data.corpora.plain_text import split_lines
from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text
from rnnjax.reporting.atomic_files import encode_json

POSITIONAL = "[TEXT ...]"


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust and --data."""
    add_run_flags(parser)
    parser.add_argument(
        "--data", type=path, metavar="FILE", help="A text file, a text a line, instead of texts."
    )


def main(args: argparse.Namespace) -> None:
    """Prints the score of each text as a JSON line."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.training import load_run

    if args.data and args.positional:
        raise InputError(f"given --data and the text {args.positional[0]!r}; expected one of them")
    texts = args.positional
    if args.data:
        lines = split_lines(read_text(args.data, max_line=MAX_LINE))
        texts = [line.rstrip("\r\n") for line in lines]
        if not texts:
            raise InputError(f"{args.data}: there is no text; give another file")
    run = load_run(args.workdir, args.trust)
    num_tokens = num_unknown = 0
    start = time.perf_counter()
    for chunk in read_chunks(texts):
        for score in run.scores(chunk):
            num_tokens += len(score.tokens)
            num_unknown += sum(token.unknown for token in score.tokens)
            write_output(encode_json(score.values()))
    seconds = time.perf_counter() - start
    if num_unknown:
        write_message(
            f"WARNING: {num_unknown:,} of {num_tokens:,} tokens are unknown to the network, which "
            "reads all of them as one and the same; their surprisal is that of any unknown token"
        )
    write_message(
        f"scored {num_tokens:,} tokens in {seconds:.1f} s: {num_tokens / seconds:,.0f} tokens/s"
    )


if __name__ == "__main__":
    launch("score")
