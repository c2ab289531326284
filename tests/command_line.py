"""Runs commands of rnnjax in a process of their own, as a user does."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class CommandResult:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


def start_command(module: str, *arguments: str, folder: Path, **options: Any) -> subprocess.Popen:
    """Starts `python -m rnnjax.<module>` in a folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": folder, **options}
    return subprocess.Popen([sys.executable, "-m", f"rnnjax.{module}", *arguments], **pipes)


def run_command(module: str, *arguments: str, folder: Path, stdin: bytes = b"") -> CommandResult:
    """Runs `python -m rnnjax.<module>` in a folder to its end, which is never a traceback."""
    process = start_command(module, *arguments, folder=folder, stdin=subprocess.PIPE)
    out, err = process.communicate(stdin, timeout=120)
    result = CommandResult(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in result.err, result.err
    return result
