import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from rnnjax.reporting import progress
from rnnjax.reporting.progress import Progress, uncounted, write_message


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 1_000.0

    def monotonic(self):
        return self.now


def screen(text):
    """The lines to be seen after a terminal has obeyed the text, without empty ones."""
    lines, row, column = [[]], 0, 0
    for sign in text.replace("\x1b[A", "\v"):
        if sign == "\r":
            column = 0
        elif sign == "\n":
            row, column = row + 1, 0
            lines += [[]] * (row == len(lines))
        elif sign == "\v":
            row -= 1
        else:
            lines[row] = lines[row] + [" "] * (column + 1 - len(lines[row]))
            lines[row][column] = sign
            column += 1
    seen = ["".join(line).rstrip() for line in lines]
    return [line for line in seen if line]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def a_terminal(monkeypatch):
    # No fixture: between setup and call, pytest puts its own stream there.
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def test_plain_lines_come_after_three_seconds_then_one_in_ten_and_the_last(clock, capsys):
    with Progress("train", 100) as bar:
        for step in range(1, 101):
            clock.now += 0.5
            bar.update(step, examples=32, loss=1 / step, accuracy=step / 100)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split("/")[0] for line in lines] == [
        "train  step 6", "train  step 26", "train  step 46", "train  step 66", "train  step 86",
        "train  step 100",
    ]  # fmt: skip
    assert lines[1] == (
        "train  step 26/100 (26 %)  loss 0.038  accuracy 0.260  64 examples/s  0:37 left"
    )
    assert lines[-1] == (
        "train  step 100/100 (100 %)  loss 0.010  accuracy 1.000  64 examples/s  took 0:50"
    )


def test_the_last_line_comes_once(clock, capsys):
    with Progress("train", 2) as bar:
        clock.now += 20
        bar.update(1, examples=8)
        clock.now += 20
        bar.update(2, examples=8)
    assert capsys.readouterr().err.splitlines() == [
        "train  step 1/2 (50 %)",
        "train  step 2/2 (100 %)  0 examples/s  took 0:40",
    ]


def test_what_is_over_at_once_says_nothing(clock, capsys):
    with Progress("predict", 2) as bar:
        bar.update(1)
        clock.now += 2
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_the_speed_is_that_of_this_process(clock, capsys):
    with Progress("train", 5_000, initial=1_000) as bar:
        clock.now += 1
        bar.update(1_001, examples=32)
        clock.now += 100
        bar.update(1_101, examples=3_200)
    assert capsys.readouterr().err.splitlines()[0] == (
        "train  step 1101/5000 (22 %)  32 examples/s  1:04:59 left"
    )


def test_a_loop_that_stops_early_says_how_long_it_took(clock, capsys):
    with Progress("train", 100) as bar:
        for step in (1, 2, 3, 4):
            clock.now += 1
            bar.update(step, loss=0.5)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "train  step 4/100 (4 %)  loss 0.500  took 0:04"
    )


def test_metrics_are_fetched_only_to_be_shown_and_stay(clock, capsys):
    fetched = []

    class OnDevice:
        def __init__(self, value):
            self.value = value

        def __float__(self):
            fetched.append(self.value)
            return self.value

    with Progress("train", 100) as bar:
        clock.now += 4
        for step in range(1, 10):
            clock.now += 0.01
            bar.update(step, loss=OnDevice(step / 2))
        bar.update(10)
    assert fetched == [0.5, 4.5]
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("train  step 10/100 (10 %)  loss 4.500")
    )


def test_an_error_in_the_loop_is_not_hidden_by_what_was_to_be_shown(clock, capsys):
    class Failed:
        def __float__(self):
            raise RuntimeError("from the device")

    with pytest.raises(KeyError, match="the cause"), Progress("train", 3) as bar:  # noqa: PT012
        clock.now += 4
        bar.update(1, loss=1.0)
        bar.update(2, loss=Failed())
        raise KeyError("the cause")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_updates_nothing_is_said(capsys):
    with Progress("evaluate", 0):
        pass
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_on_one_line(clock, monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Progress("train", 50, initial=10) as bar:
        for step in range(11, 51):
            clock.now += 0.2
            bar.update(step, examples=10, loss=0.25, accuracy=0.75)
    text = terminal.getvalue()
    assert text.count("\n") == 1
    drawings = text.split("\r")
    assert len(drawings) > 40
    assert "train  60 %  |█" in text
    assert " |  30/50  loss 0.250  accuracy 0.750  50 examples/s  0:04 left" in text
    assert "train 100 %  |█" in drawings[-1]
    assert "█|  50/50  loss 0.250  accuracy 0.750  50 examples/s  took 0:08" in drawings[-1]


def test_a_bar_is_not_drawn_more_often_than_one_can_see(clock, monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Progress("train", 1_000) as bar:
        for step in range(1, 1_001):
            clock.now += 0.001
            bar.update(step)
    assert 10 <= terminal.getvalue().count("\r") <= 20
    assert "|  1000/1000" in terminal.getvalue()


def test_a_message_does_not_break_the_bar(clock, monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Progress("train", 10) as bar:
        bar.update(3)
        write_message("saved step 3")
        clock.now += 1
        bar.update(4)
        seen = screen(terminal.getvalue())
        write_message("saved step 4")
    assert screen(terminal.getvalue())[1:] == ["saved step 4", seen[1]]
    message, bar = seen
    assert message == "saved step 3"
    assert bar.endswith("|  4/10  0:06 left")


def test_a_bar_inside_another_leaves_nothing(clock, monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Progress("train", 2) as outer:
        outer.update(1)
        with Progress("evaluate", 4) as inner:
            clock.now += 1
            inner.update(4)
        outer.update(2)
    assert "evaluate 100 %  |" in terminal.getvalue()
    (bar,) = screen(terminal.getvalue())
    assert bar.startswith("train 100 %  |")


@pytest.fixture
def pseudo_terminal(monkeypatch):
    """Yields a function that returns what a terminal of some columns gets of a function."""
    monkeypatch.setenv("COLUMNS", "300")  # of another terminal, or of this one when it began

    def drawn(columns, function, encoding="utf-8"):
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        parts = []

        def read():  # a terminal holds little that is not read yet
            with contextlib.suppress(OSError):  # at the end
                while part := os.read(reader, 4096):
                    parts.append(part)

        reading = threading.Thread(target=read)
        reading.start()
        stream = io.TextIOWrapper(io.FileIO(writer, "w"), encoding, write_through=True)
        with stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            function()
        reading.join()
        os.close(reader)
        return b"".join(parts).decode(encoding).replace("\r\n", "\n")

    return drawn


@pytest.mark.parametrize(
    ("columns", "shown", "hidden"),
    [
        (30, ["%", "left"], ["█", "loss", "accuracy", "/5000"]),
        (40, ["%", "left", "loss"], ["█", "accuracy", "/5000"]),
        (60, ["%", "left", "loss", "█"], ["/5000", "accuracy", "examples/s"]),
        (80, ["%", "left", "loss", "█", "/5000", "accuracy"], ["examples/s"]),
        (120, ["%", "left", "loss", "█", "/5000", "accuracy", "examples/s"], []),
    ],
)
def test_a_line_is_no_wider_than_the_terminal_and_shows_first_what_matters(
    clock, pseudo_terminal, columns, shown, hidden
):
    def train():
        with Progress("train", 5_000) as bar:
            for step in range(1, 3_001):
                clock.now += 2.0
                bar.update(step, examples=1_000, loss=12.345, accuracy=0.75)
            write_message("above")

    lines = re.split("[\r\n]+", pseudo_terminal(columns, train).strip())
    assert len(lines) > 1_000
    assert max(map(len, lines)) < columns
    assert all(part in lines[-1] for part in shown)
    lines = lines[10:]  # at first nothing is known that a bar must leave room for
    assert not any(part in line for part in hidden for line in lines)
    bars = [bar for line in lines if (bar := re.search(r"\|(█* *)\|", line))]
    assert bool(bars) is ("█" in shown)
    assert all(len(bar[1]) >= 10 for bar in bars)


def test_a_terminal_that_is_no_unicode_gets_a_bar_of_ascii(clock, pseudo_terminal):
    def train():
        with Progress("train", 10) as bar:
            clock.now += 1
            bar.update(5)

    assert "|#####" in pseudo_terminal(80, train, "ascii")


def test_the_time_left_is_not_known_at_first_and_does_not_count_compiling(clock, capsys):
    def left():
        return [line.split("  ")[-1] for line in capsys.readouterr().err.splitlines()]

    with Progress("train", 4_000) as bar:
        clock.now += 70
        bar.update(1)
        assert left() == ["train", "step 1/4000 (0 %)"][1:]
        with uncounted():
            clock.now += 60
        clock.now += 0.02
        bar.update(2)
        assert left() == ["step 2/4000 (0 %)"]
        for step in range(3, 1_001):
            clock.now += 0.02
            bar.update(step)
    assert left() == ["1:10 left", "took 2:30"]


def test_a_slow_beginning_is_forgotten(clock, monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Progress("train", 4_000) as bar:
        bar.update(1)
        clock.now += 3  # a shape that is compiled where nothing says so
        bar.update(2)
        for step in range(3, 1_001):
            clock.now += 0.02
            bar.update(step)
        (drawn,) = screen(terminal.getvalue())
    assert drawn.endswith(" 1:00 left")


@pytest.mark.parametrize("broken", ["closed", "full", "pipe", "none", "ascii"])
def test_no_stream_ends_a_loop(clock, monkeypatch, tmp_path, broken):
    path = Path("/dev/full") if broken == "full" else tmp_path / "written"
    if broken == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
    else:
        stream = path.open("w", encoding="ascii")
    if broken == "closed":
        stream.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None if broken == "none" else stream)
        with Progress("train", 3) as bar:
            for step in range(1, 4):
                clock.now += 20
                bar.update(step)
                write_message("caf\N{LATIN SMALL LETTER E WITH ACUTE}\x1b[2J")
    if broken == "ascii":
        assert path.read_text("ascii").count("caf\\u00e9\\u001b[2J\n") == 3
    with contextlib.suppress(OSError):
        stream.close()


def test_a_message_without_a_terminal_is_a_line(capsys):
    write_message("saved step 3")
    assert capsys.readouterr() == ("", "saved step 3\n")


def test_importing_is_light():
    heavy = "matplotlib numpy jax jinja2 pydantic tqdm".split()  # noqa: SIM905
    code = (
        "import sys, rnnjax.reporting.progress, rnnjax.reporting.metrics_log\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
