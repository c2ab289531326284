"""Tests of the processes that the fault campaign forks and disturbs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).resolve().parents[1] / "experiments" / "faults"


def run_disturbed(tmp_path: Path, command: str, call: str) -> str:
    """Returns the output of a call of `forks.run` on a command, in a process without a device."""
    (tmp_path / "disturbed_command.py").write_text(textwrap.dedent(command))
    (tmp_path / "files").mkdir()
    script = f"""
import errno, functools, os, signal, sys
from pathlib import Path
import disturbed_processes, forks
folder = Path("files").absolute()
run = functools.partial(forks.run, "disturbed_command", [], folder)
{textwrap.dedent(call)}
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CAMPAIGN), str(tmp_path)])},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_hang_up_arrives_where_the_campaign_ignores_it(tmp_path: Path):
    command = "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"
    call = """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
        print(run().status == -signal.SIGHUP)
    """
    assert run_disturbed(tmp_path, command, call) == "True"


@pytest.mark.parametrize("disturbance", ["signal", "failure"])
def test_summary_is_not_disturbed(tmp_path: Path, disturbance: str):
    command = """
        import signal, sys
        def end(*_):
            sys.exit(3)
        signal.signal(signal.SIGTERM, end)
    """
    call = f"""
        def summarize():
            if {disturbance == "signal"}:
                os.kill(os.getpid(), signal.SIGTERM)
            return "finished"
        fail = forks.WriteFailure(1, errno.ENOSPC, True) if {disturbance == "failure"} else None
        result = run(fail=fail, summarize=summarize)
        print(result.status, result.events, forks.read_summary(folder), result.err)
    """
    assert run_disturbed(tmp_path, command, call) == "0 [] finished"


def test_messages_are_whole_where_files_are_cut(tmp_path: Path):
    command = f"""
        import sys
        try:
            with open({str(tmp_path / "data")!r}, "wb", 0) as file:
                file.write(b"12345678")
                file.write(b"9")
        except OSError as error:
            print("error:", error.strerror, "." * 10_000, file=sys.stderr)
            sys.exit(2)
    """
    call = """
        result = run(prepare=functools.partial(disturbed_processes._cut_files, 8))
        print(result.status, len(result.err), result.err[:22])
    """
    assert run_disturbed(tmp_path, command, call) == "2 10023 error: File too large"
