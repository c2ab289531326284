"""Runs commands of rnnjax: in a process of their own, as a user does, or in that of the tests."""

import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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


@pytest.fixture
def run_in_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CommandResult]:
    """A function that runs a command of `rnnjax` in this process, and returns what it printed."""
    from rnnjax.cli import launcher

    def run(name: str, *arguments: str, stdin: bytes = b"") -> CommandResult:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        status = launcher.run_command(name, arguments)
        streams = capsys.readouterr()
        return CommandResult(status, streams.out, streams.err)

    return run
