"""Generates text from a prompt with a trained language model, and prints it as it is generated.

    rnnjax generate --workdir runs/mine --prompt "ROMEO:" --length 500
    rnnjax generate --workdir runs/mine --prompts lines.txt --beam_size 5 --stop "."

A file has a prompt a line. Their texts are generated together and printed as JSON lines.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.console import write_output
from rnnjax.data.corpora.plain_text import split_lines
from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text
from rnnjax.reporting.atomic_files import encode_json

if TYPE_CHECKING:
    from rnnjax.tasks.trained_run import TrainedRun

_QUOTED = 40
"""Characters of a prompt in a message."""


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, the prompts and the options of generation."""
    add_run_flags(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="The start of the text.")
    parser.add_argument(
        "--prompts",
        type=path,
        metavar="FILE",
        help="A text file of prompts, one a line, whose texts are printed as JSON lines. Each is "
        "that of its prompt alone with the same seed.",
    )
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
        "--min_p",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="Sample from the tokens that are at least this share as probable as the most probable "
        "one; 0 for all. Default: 0.0.",
    )
    parser.add_argument(
        "--typical_p",
        type=float,
        default=1.0,
        metavar="PROBABILITY",
        help="Sample from the tokens whose surprisal is closest to the entropy, with this total "
        "probability; 1 for all. Default: 1.0.",
    )
    parser.add_argument(
        "--repetition_penalty",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="Divides the logits of tokens that the prompt or the text has already, or multiplies "
        "negative ones; 1 for none. Default: 1.0.",
    )
    parser.add_argument(
        "--beam_size",
        type=int,
        default=0,
        metavar="HYPOTHESES",
        help="Hypotheses of beam search, instead of sampling; 0 to sample. Default: 0.",
    )
    parser.add_argument(
        "--length_penalty",
        type=float,
        default=1.0,
        metavar="EXPONENT",
        help="Length normalization of beam search: 0 for none, 1 for nearly the mean by token. "
        "Default: 1.0.",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="The text ends before it; may be given several times.",
    )
    parser.add_argument(
        "--pattern",
        default="",
        metavar="REGEX",
        help="A regular expression that the whole text matches, the space after the prompt "
        "excluded: literals, escapes and classes of characters, groups, | and repetitions.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The same seed generates the same text. Default: 0."
    )


def main(args: argparse.Namespace) -> None:
    """Prints the prompt and its continuation, or a JSON line for each prompt of a file."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.tasks.sampling import GenerationOptions
    from rnnjax.training import load_run

    if args.prompts and args.prompt:
        raise InputError(f"given --prompts and --prompt {args.prompt!r}; expected one of them")
    prompts = _read_prompts(args.prompts) if args.prompts else [args.prompt]
    names = set(GenerationOptions._fields) - {"stop"}
    options = GenerationOptions(
        **{name: getattr(args, name) for name in names}, stop=tuple(args.stop)
    )
    run = load_run(args.workdir, args.trust)
    generator = run.text_generator(args.length, options)
    _warn_unknown_tokens(run, prompts)
    start = time.perf_counter()
    if args.prompts:
        for prompt, text in zip(prompts, generator.generate(prompts), strict=True):
            write_output(encode_json({"prompt": prompt, "text": text}))
    else:
        pieces = generator.pieces(args.prompt)
        first = next(pieces, "")  # an error is raised before anything is printed
        write_output(args.prompt + first, end="")
        for piece in pieces:
            write_output(piece, end="")
        write_output("")
    seconds = time.perf_counter() - start
    speed = f"{generator.num_tokens / seconds:,.0f} tokens/s"
    if generator.timed_tokens:
        speed += f", {generator.timed_tokens / generator.seconds:,.0f} tokens/s after the first"
    write_message(f"generated {generator.num_tokens:,} tokens in {seconds:.1f} s: {speed}")


def _read_prompts(file: Path) -> list[str]:
    """Returns the lines of a file.

    Raises:
      InputError: it cannot be read, or has none.
    """
    prompts = [line.rstrip("\r\n") for line in split_lines(read_text(file, max_line=MAX_LINE))]
    if not prompts:
        raise InputError(f"{file}: there is no prompt; give a file of one a line")
    return prompts


def _warn_unknown_tokens(run: "TrainedRun", prompts: Sequence[str]) -> None:
    """Warns of the first prompt that has unknown tokens."""
    from rnnjax.reporting.progress import write_message

    vocabulary = run.text_vocabulary
    for prompt, share in zip(prompts, vocabulary.unknown_shares(prompts), strict=True):
        if prompt and share:
            name = "the prompt" if len(prompts) == 1 else f"the prompt {prompt[:_QUOTED]!r}"
            write_message(
                f"WARNING: {share:.1%} of the tokens of {name} are unknown to the network, which "
                f"reads all of them as one and the same{vocabulary.advise_unicode_form([prompt])}"
            )
            return


if __name__ == "__main__":
    launch("generate")
