"""The parser of a command's flags: names mistakes in a line and suggests the right flag."""

import argparse
import difflib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rnnjax import paths
from rnnjax.errors import InputError

_WIDEST = 100


class Parser(argparse.ArgumentParser):
    """Parses flags, in any order with other arguments, and raises InputError for mistakes."""

    def __init__(self, command: str, description: str, positional: str = ""):
        """Makes a parser that knows `--help` alone.

        Args:
          command: as the user types it.
          description: shown by `--help` above the flags.
          positional: arguments beside the flags, for `--help`; '' for none.
        """
        super().__init__(
            command,
            usage=f"{command} [flags] {positional}".strip(),
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._takes_positional = bool(positional)
        self.add_missing_flags: Callable[[Parser, argparse.Namespace], None] | None = None
        """Adds flags that depend on the values of others; for `--help`, or a flag not known yet."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Returns the values of the flags, `positional` arguments beside them, and all `arguments`.

        Raises:
          InputError: a flag is unknown, is missing or has a bad value, or an argument stands where
            only flags are expected.
        """
        arguments = list(arguments)
        end = arguments.index("--") if "--" in arguments else len(arguments)
        if self.add_missing_flags:
            flags = [argument for argument in arguments[:end] if argument not in ("-h", "--help")]
            args, extra = self.parse_known_args(flags)
            if len(flags) < end or any(argument.startswith("--") for argument in extra):
                self.add_missing_flags(self, args)
        args, extra = self.parse_known_args(arguments[:end])
        for argument in extra:
            if argument.startswith("-") and argument != "-":
                self._refuse_flag(argument)
        args.positional = extra + arguments[end + 1 :]
        args.arguments = arguments
        if args.positional and not self._takes_positional:
            raise InputError(
                f"given {args.positional[0]!r}, expected flags alone; {self._see_help()}"
            )
        return args

    def error(self, message: str) -> NoReturn:
        """Raises InputError instead of exiting."""
        raise InputError(f"{message.removeprefix('argument ')}; {self._see_help()}")

    def _refuse_flag(self, argument: str) -> NoReturn:
        flag = argument.partition("=")[0]
        name = flag.lstrip("-")
        options = list(self._option_string_actions)
        inside = [option for option in options if option.startswith(f"--{name}.")]
        if section := [option for option in inside if "." not in option[len(name) + 3 :]]:
            raise InputError(
                f"{flag} is a section, which has no value; set one of its keys: "
                f"{', '.join(section)}"
            )
        similar = [option for option in options if option.endswith(f".{name}")]
        similar = similar or difflib.get_close_matches(f"--{name}", options, n=1, cutoff=0.7)
        if not similar:
            last_parts = {option: option.lstrip("-").rpartition(".")[2] for option in options}
            best = difflib.get_close_matches(
                name.rpartition(".")[2], last_parts.values(), n=1, cutoff=0.7
            )
            similar = [option for option in options if last_parts[option] in best]
        hint = f"did you mean {' or '.join(similar)}?" if similar else self._see_help()
        dashes = "; an argument that begins with - stands after --"
        raise InputError(
            f"{flag}: there is no such flag; {hint}{dashes if self._takes_positional else ''}"
        )

    def _see_help(self) -> str:
        return f"`{self.prog} --help` lists the flags"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and puts the meaning of a flag below its name."""

    def __init__(self, prog: str):
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        super().__init__(prog, max_help_position=6, width=width)


def path(text: str) -> Path:
    """Returns the path that a flag names, with `~` expanded: a `type` of argparse."""
    if not text:
        raise argparse.ArgumentTypeError("given '', expected a path")
    try:
        return Path(paths.expand(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def at_least(lowest: int) -> Any:
    """Returns a `type` of argparse: an integer that is not below a limit."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"given {text!r}, expected an integer") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"given {value}, expected {lowest} or more")
        return value

    return integer


def add_run_flags(parser: Parser) -> None:
    """Adds the flags of the commands that load a trained run."""
    parser.add_argument(
        "--workdir", type=path, required=True, metavar="FOLDER", help="The folder of the run."
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="Import the modules of the run's cell and task that are not of rnnjax or flax.",
    )
