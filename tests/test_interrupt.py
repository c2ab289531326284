"""Signals as wishes."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from rnnjax.interrupt import InterruptRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_kept_and_the_second_would_kill(number):
    before = signal.getsignal(number)
    with InterruptRequest() as request:
        assert request.signal == ""
        os.kill(os.getpid(), number)
        assert request.signal == number.name
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(number):
    script = f"""
        import gc, signal, sys, time
        from rnnjax import command

        def collected(phase, about):  # JAX has such a callback
            gc.callbacks.remove(collected)
            signal.raise_signal(signal.{number.name})

        def main(arguments):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of `sh &` ignores it
            gc.callbacks.append(collected)
            gc.collect()
            time.sleep(10)
            print("went on")

        command.run(main)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("", "interrupted\n")
    assert ended.returncode == 128 + number
