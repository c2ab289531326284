"""Signals as wishes."""

import os
import signal

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
