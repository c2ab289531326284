"""Signals as wishes."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from rnnjax.cli import launcher
from rnnjax.cli.signals import Terminated
from rnnjax.interrupt import InterruptRequest


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request):
    return request.param


def test_the_first_signal_is_kept_and_the_second_would_kill(number):
    previous = signal.signal(number, handler := lambda *_: None)
    with InterruptRequest() as request:
        assert request.signal == ""
        os.kill(os.getpid(), number)
        assert request.signal == number.name
        # A terminal that is closed sends two of SIGHUP.
        second = signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL
        assert signal.getsignal(number) is second
    assert signal.signal(number, previous) is handler


def test_a_hangup_that_is_ignored_stays_ignored():
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with InterruptRequest() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.signal == ""
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)


@pytest.mark.parametrize(("ignored", "status"), [("", 129), ("trap '' HUP; ", 0)])
def test_a_command_ends_when_its_terminal_is_closed_unless_that_is_ignored(ignored, status):
    script = """
        import os, signal
        from rnnjax.cli.launcher import run_process

        def main():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:  # the second signal does not disturb the clean-up
                os.kill(os.getpid(), signal.SIGHUP)
                print("cleaned up")

        run_process(main)
    """
    ended = subprocess.run(
        ["/bin/sh", "-c", f'{ignored}exec "$0" -c "$1"', sys.executable, textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (status, "cleaned up\n")
    assert ended.stderr == ("interrupted\n" if status else "")


def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(number):
    script = f"""
        import gc, signal, sys, time
        from rnnjax.cli.launcher import run_process

        def collected(phase, about):  # JAX has such a callback
            gc.callbacks.remove(collected)
            signal.raise_signal(signal.{number.name})

        def main():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of `sh &` ignores it
            gc.callbacks.append(collected)
            gc.collect()
            time.sleep(10)
            print("went on")

        run_process(main)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("", "interrupted\n")
    assert ended.returncode == 128 + number


def test_a_signal_that_comes_before_a_command_begins_ends_it_with_its_status(monkeypatch, capsys):
    def receive(_: int) -> None:
        raise Terminated(signal.SIGTERM)

    monkeypatch.setattr(launcher.logging, "set_verbosity", receive)
    assert launcher.run_command("train", []) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "interrupted\n"
