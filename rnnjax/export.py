"""Exports a trained network to a folder that needs NumPy alone, and `tokenizers` to read text.

    rnnjax export --workdir runs/mine --output mine
    python mine/run.py "Oil prices fall"
    python mine/run.py --check

The folder has the parameters in model.safetensors, the traced program in model.json and, for other
runtimes, in model.stablehlo; run.py, which answers as the network does; real inputs with their
answers, and fingerprints, by which it checks itself; and a model card, README.md.
"""

import argparse

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, path
from rnnjax.data.corpora.plain_text import split_lines
from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --output, --examples and --onnx."""
    add_run_flags(parser)
    parser.add_argument(
        "--output", type=path, required=True, metavar="FOLDER", help="The new folder."
    )
    parser.add_argument(
        "--examples",
        type=path,
        metavar="FILE",
        help="A text file, a text a line: inputs of the self-check, instead of test data of the "
        "run.",
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="Write each function as an ONNX file too (the extra 'onnx'); a network with an "
        "operation that ONNX lacks is refused.",
    )


def main(args: argparse.Namespace) -> None:
    """Writes the folder."""
    from rnnjax.exporting.folder import write_folder
    from rnnjax.training import load_run

    texts = None
    if args.examples:
        lines = split_lines(read_text(args.examples, max_line=MAX_LINE))
        texts = [line.rstrip("\r\n") for line in lines if line.strip()]
        if not texts:
            raise InputError(f"{args.examples}: there is no text; give another file")
    write_folder(load_run(args.workdir, args.trust), args.output, texts, onnx=args.onnx)


if __name__ == "__main__":
    launch("export")
