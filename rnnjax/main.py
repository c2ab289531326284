"""Trains the model of a config.

    rnnjax train --config bilstm
    rnnjax train --config configs/bilstm.py --workdir runs/mine --config.epochs=2

Every key of the config can be set on the command line. The same command with the same --workdir
resumes the run there.
"""

import argparse
import contextlib
import datetime
import json
import re
import shlex
from pathlib import Path

from rnnjax.cli.config_flags import add_config_flags, parsed_config
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, at_least, path
from rnnjax.cli.signals import exit_status
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.reporting.progress import write_message


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --print_config and the flags of the config."""
    parser.add_argument(
        "--workdir",
        type=path,
        metavar="FOLDER",
        help="The folder of the run, new or to resume; without it a new one under runs/.",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="Train in several processes: the same command once for each, on one machine or on "
        "several. Those of Slurm, Kubernetes and Open MPI are found; others need the flags below.",
    )
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="Address of the first process, and a free port."
    )
    parser.add_argument("--processes", type=at_least(1), metavar="N", help="Number of processes.")
    parser.add_argument(
        "--process", type=at_least(0), metavar="INDEX", help="Index of this process, from 0."
    )
    parser.add_argument(
        "--start_timeout",
        type=at_least(1),
        default=300,
        metavar="SECONDS",
        help="How long processes wait for each other at the start. Default: 300.",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="Print the whole config as JSON, and exit."
    )
    add_config_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Trains, or resumes, and returns the exit status."""
    config = parsed_config(args)
    if args.print_config:
        write_output(json.dumps(config.model_dump(), indent=2))
        return 0
    _check_distributed_flags(args)
    name = Path(args.config).stem
    workdir = args.workdir or Path(f"runs/{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")

    from rnnjax import training
    from rnnjax.tasks.registry import find_task
    from rnnjax.tasks.report_page import usage_commands
    from rnnjax.training.processes import join_processes
    from rnnjax.training.run_folder import RunFolder

    command = shlex.join(["python", "-m", "rnnjax.main", *args.arguments])
    processes = contextlib.nullcontext()
    if args.distributed:
        processes = join_processes(
            args.coordinator, args.processes, args.process, args.start_timeout
        )
    try:
        with processes:
            training.train(config, name, workdir, command)
    except (InterruptedRunError, KeyboardInterrupt) as interruption:
        if isinstance(interruption, InterruptedRunError):
            write_message(f"report so far: {RunFolder(workdir).report}")
        message = str(interruption) or "interrupted; checkpoints that were saved remain"
        usage = [line for _, line in usage_commands(find_task(config.task), config, workdir)]
        if usage and config.replicates == 1 and isinstance(interruption, InterruptedRunError):
            lines = "\n  ".join(usage)
            message += f", without scores. The network as it is can be used with:\n  {lines}\n"
        else:
            message += ". "
        resume = command if args.workdir else f"{command} {shlex.quote(f'--workdir={workdir}')}"
        write_message(f"{message}Go on with:\n  {resume}")
        return exit_status(interruption)
    for _, folder in RunFolder(workdir).replicates(config):
        write_message(f"report: {folder.report}")
    if config.replicates > 1:
        write_message(f"all replicates: {RunFolder(workdir).report}")
    if config.hints:
        usage = [line for _, line in usage_commands(find_task(config.task), config, workdir)]
        if usage and config.replicates == 1:
            write_message(f"next: {usage[0]}")
        write_message(
            "next: open the report in a browser; change one key, train again, and see both with "
            f"{shlex.join(['rnnjax', 'report', str(workdir), 'RUN'])}"
        )
    return 0


def _check_distributed_flags(args: argparse.Namespace) -> None:
    """Raises InputError if flags of several processes do not go together."""
    flags = ("coordinator", "processes", "process")
    values = [getattr(args, flag) for flag in flags]
    if not args.distributed and values != [None] * 3:
        flag = next(flag for flag, value in zip(flags, values, strict=True) if value is not None)
        raise InputError(f"--{flag}: given without --distributed; expected both, or neither")
    if args.distributed and not args.workdir:
        raise InputError(
            "--distributed: given without --workdir; expected the same folder in every process"
        )
    if args.coordinator and not re.fullmatch(r".+:\d{1,5}", args.coordinator):
        raise InputError(f"--coordinator: given {args.coordinator!r}, expected HOST:PORT")


if __name__ == "__main__":
    launch("train")
