"""Writes pages on runs: the report of one, a comparison of several, or the index of a folder.

    rnnjax report runs/mine
    rnnjax report runs/lstm runs/gru --output comparison.html
    rnnjax report runs

The first renders the report of a run again, also of one that was interrupted. Of several runs the
page has the curves in one plot, the scores with intervals, and the keys in which the configs
differ; the folder of replicates counts as its seeds. Of a folder that holds runs it is an
index.html, with a link to each.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rnnjax import paths
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, path
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.reporting import run_files
from rnnjax.reporting.run_report import REPORT
from rnnjax.reporting.runs_report import INDEX

POSITIONAL = "RUN [RUN ...]"


def add_flags(parser: Parser) -> None:
    """Adds --output."""
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="The page to write; without it report.html in a run, index.html in a folder of runs, "
        "and comparison.html here for several runs.",
    )


def main(args: argparse.Namespace) -> None:
    """Writes the page, and prints its path."""
    folders = [Path(paths.expand(name)) for name in args.positional]
    if not folders:
        raise InputError("no run is given; expected folders of runs, or a folder that holds some")
    for index, folder in enumerate(folders):
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; expected the folder of a run")
        if folder.resolve() in {previous.resolve() for previous in folders[:index]}:
            raise InputError(f"{folder}: is given twice; expected each run once")
    if args.output and not args.output.parent.is_dir():
        raise InputError(f"--output={args.output}: there is no folder {args.output.parent}")
    write_output(str(_write(folders, args.output)))


def _write(folders: Sequence[Path], output: Path | None) -> Path:
    from rnnjax.tasks import report_page

    runs = [run for folder in folders for run in report_page.replicate_folders(folder)]
    is_run = [(folder / run_files.CONFIG).exists() for folder in folders]
    if is_run == [False]:
        return report_page.write_index(folders[0], output or folders[0] / INDEX)
    if len(runs) == 1:
        task, finished = report_page.recorded_task(runs[0]), (runs[0] / run_files.RESULT).exists()
        return report_page.write_report(task, runs[0], finished=finished, output=output)
    default = folders[0] / REPORT if len(folders) == 1 else Path("comparison.html")
    return report_page.write_comparison(runs, output or default)


if __name__ == "__main__":
    launch("report")
