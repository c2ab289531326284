"""The program `rnnjax`: runs a command, or lists the commands and the configs."""

import contextlib
import difflib
import sys
from pathlib import Path
from typing import NoReturn

import rnnjax
from rnnjax import console
from rnnjax.cli.commands import COMMANDS
from rnnjax.cli.launcher import launch, report_error
from rnnjax.cli.overview import overview


def main() -> NoReturn:
    """Runs the command that the first argument names: the entry point of the console script."""
    if not sys.flags.safe_path:
        # As `python -m` does: a cell of one's own is imported from the current folder.
        with contextlib.suppress(OSError):
            sys.path.insert(0, str(Path.cwd()))
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        del sys.argv[1]
        launch(name)
    with console.standard_streams():
        status = _run_without_command(name)
    sys.exit(status)


def _run_without_command(argument: str) -> int:
    if argument in ("-h", "--help", "help"):
        console.write_output(overview())
        return 0
    if argument == "--version":
        console.write_output(f"rnnjax {rnnjax.__version__}")
        return 0
    similar = difflib.get_close_matches(argument, COMMANDS, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return report_error(
        f"{argument!r}: there is no such command; {hint}Expected one of {', '.join(COMMANDS)}"
    )


if __name__ == "__main__":
    main()
