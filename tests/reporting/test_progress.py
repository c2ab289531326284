"""Progress lines, bars and messages with a fake clock and a pseudo terminal."""

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
    seconds = 1_000.0

    def monotonic(self):
        return self.seconds


def screen(text):
    """Returns the lines on the screen of a terminal, without empty ones."""
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
    visible = ["".join(line).rstrip() for line in lines]
    return [line for line in visible if line]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def patch_terminal(monkeypatch):
    # No fixture: pytest replaces the stream between setup and call.
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def test_plain_lines_after_three_then_every_ten_seconds_and_at_the_end(clock, capsys):
    with Progress("train", 100) as bar:
        for step in range(1, 101):
            clock.seconds += 0.5
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


def test_last_line_is_written_once(clock, capsys):
    with Progress("train", 2) as bar:
        clock.seconds += 20
        bar.update(1, examples=8)
        clock.seconds += 20
        bar.update(2, examples=8)
    assert capsys.readouterr().err.splitlines() == [
        "train  step 1/2 (50 %)",
        "train  step 2/2 (100 %)  0 examples/s  took 0:40",
    ]


def test_notebook_has_a_bar_of_fixed_width(clock, monkeypatch):
    output = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setenv("COLUMNS", "200")
    with Progress("train", 100) as bar:
        for step in range(1, 101):
            clock.seconds += 0.5
            bar.update(step, examples=32)
    (line,) = screen(output.getvalue())
    assert line.startswith("train 100 %  |\N{FULL BLOCK}")
    assert len(line) == 87


def test_short_loop_writes_nothing(clock, capsys):
    with Progress("predict", 2) as bar:
        bar.update(1)
        clock.seconds += 2
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_speed_excludes_initial_steps(clock, capsys):
    with Progress("train", 5_000, initial=1_000) as bar:
        clock.seconds += 1
        bar.update(1_001, examples=32)
        clock.seconds += 100
        bar.update(1_101, examples=3_200)
    assert capsys.readouterr().err.splitlines()[0] == (
        "train  step 1101/5000 (22 %)  32 examples/s  1:04:59 left"
    )


def test_loop_that_stops_early_has_its_duration(clock, capsys):
    with Progress("train", 100) as bar:
        for step in (1, 2, 3, 4):
            clock.seconds += 1
            bar.update(step, loss=0.5)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "train  step 4/100 (4 %)  loss 0.500  took 0:04"
    )


def test_metrics_are_fetched_only_for_display_and_retained(clock, capsys):
    fetched = []

    class OnDevice:
        def __init__(self, value):
            self.value = value

        def __float__(self):
            fetched.append(self.value)
            return self.value

    with Progress("train", 100) as bar:
        clock.seconds += 4
        for step in range(1, 10):
            clock.seconds += 0.01
            bar.update(step, loss=OnDevice(step / 2))
        bar.update(10)
    assert fetched == [0.5, 4.5]
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("train  step 10/100 (10 %)  loss 4.500")
    )


def test_error_in_the_loop_is_not_hidden_by_pending_metrics(clock, capsys):
    class Failed:
        def __float__(self):
            raise RuntimeError("from the device")

    with pytest.raises(KeyError, match="the cause"), Progress("train", 3) as bar:  # noqa: PT012
        clock.seconds += 4
        bar.update(1, loss=1.0)
        bar.update(2, loss=Failed())
        raise KeyError("the cause")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_updates_write_nothing(capsys):
    with Progress("evaluate", 0):
        pass
    assert capsys.readouterr().err == ""


def test_terminal_has_a_bar_on_one_line(clock, monkeypatch):
    terminal = patch_terminal(monkeypatch)
    with Progress("train", 50, initial=10) as bar:
        for step in range(11, 51):
            clock.seconds += 0.2
            bar.update(step, examples=10, loss=0.25, accuracy=0.75)
    text = terminal.getvalue()
    assert text.count("\n") == 1
    drawings = text.split("\r")
    assert len(drawings) > 40
    assert "train  60 %  |█" in text
    assert " |  30/50  loss 0.250  accuracy 0.750  50 examples/s  0:04 left" in text
    assert "train 100 %  |█" in drawings[-1]
    assert "█|  50/50  loss 0.250  accuracy 0.750  50 examples/s  took 0:08" in drawings[-1]


def test_bar_is_drawn_ten_times_a_second(clock, monkeypatch):
    terminal = patch_terminal(monkeypatch)
    with Progress("train", 1_000) as bar:
        for step in range(1, 1_001):
            clock.seconds += 0.001
            bar.update(step)
    assert 10 <= terminal.getvalue().count("\r") <= 20
    assert "|  1000/1000" in terminal.getvalue()


def test_message_is_written_above_the_bar(clock, monkeypatch):
    terminal = patch_terminal(monkeypatch)
    with Progress("train", 10) as bar:
        bar.update(3)
        write_message("saved step 3")
        clock.seconds += 1
        bar.update(4)
        visible = screen(terminal.getvalue())
        write_message("saved step 4")
    assert screen(terminal.getvalue())[1:] == ["saved step 4", visible[1]]
    message, bar = visible
    assert message == "saved step 3"
    assert bar.endswith("|  4/10  0:06 left")


def test_nested_bar_is_removed(clock, monkeypatch):
    terminal = patch_terminal(monkeypatch)
    with Progress("train", 2) as outer:
        outer.update(1)
        with Progress("evaluate", 4) as inner:
            clock.seconds += 1
            inner.update(4)
        outer.update(2)
    assert "evaluate 100 %  |" in terminal.getvalue()
    (bar,) = screen(terminal.getvalue())
    assert bar.startswith("train 100 %  |")


@pytest.fixture
def pseudo_terminal(monkeypatch):
    """Returns a function that captures the output of a function on a terminal of some columns."""
    monkeypatch.setenv("COLUMNS", "300")  # outdated, as after resizing

    def capture(columns, function, encoding="utf-8"):
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        parts = []

        def read():  # the buffer of a terminal is small
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

    return capture


@pytest.mark.parametrize(
    ("columns", "visible", "hidden"),
    [
        (30, ["%", "left"], ["█", "loss", "accuracy", "/5000"]),
        (40, ["%", "left", "loss"], ["█", "accuracy", "/5000"]),
        (60, ["%", "left", "loss", "█"], ["/5000", "accuracy", "examples/s"]),
        (80, ["%", "left", "loss", "█", "/5000", "accuracy"], ["examples/s"]),
        (120, ["%", "left", "loss", "█", "/5000", "accuracy", "examples/s"], []),
    ],
)
def test_line_fits_the_terminal_by_priority(clock, pseudo_terminal, columns, visible, hidden):
    def train():
        with Progress("train", 5_000) as bar:
            for step in range(1, 3_001):
                clock.seconds += 2.0
                bar.update(step, examples=1_000, loss=12.345, accuracy=0.75)
            write_message("text")

    lines = re.split("[\r\n]+", pseudo_terminal(columns, train).strip())
    assert len(lines) > 1_000
    assert max(map(len, lines)) < columns
    assert all(part in lines[-1] for part in visible)
    lines = lines[10:]  # at first no metrics compete with the bar
    assert not any(part in line for part in hidden for line in lines)
    bars = [bar for line in lines if (bar := re.search(r"\|(█* *)\|", line))]
    assert bool(bars) is ("█" in visible)
    assert all(len(bar[1]) >= 10 for bar in bars)


def test_ascii_terminal_has_an_ascii_bar(clock, pseudo_terminal):
    def train():
        with Progress("train", 10) as bar:
            clock.seconds += 1
            bar.update(5)

    assert "|#####" in pseudo_terminal(80, train, "ascii")


def test_time_left_excludes_compilation(clock, capsys):
    def left():
        return [line.split("  ")[-1] for line in capsys.readouterr().err.splitlines()]

    with Progress("train", 4_000) as bar:
        clock.seconds += 70
        bar.update(1)
        assert left() == ["train", "step 1/4000 (0 %)"][1:]
        with uncounted():
            clock.seconds += 60
        clock.seconds += 0.02
        bar.update(2)
        assert left() == ["step 2/4000 (0 %)"]
        for step in range(3, 1_001):
            clock.seconds += 0.02
            bar.update(step)
    assert left() == ["1:10 left", "took 2:30"]


def test_slow_start_has_no_lasting_effect(clock, monkeypatch):
    terminal = patch_terminal(monkeypatch)
    with Progress("train", 4_000) as bar:
        bar.update(1)
        clock.seconds += 3  # an unannounced compilation
        bar.update(2)
        for step in range(3, 1_001):
            clock.seconds += 0.02
            bar.update(step)
        (line,) = screen(terminal.getvalue())
    assert line.endswith(" 1:00 left")


@pytest.mark.parametrize("broken", ["closed", "full", "pipe", "none", "ascii"])
def test_broken_stream_does_not_end_a_loop(clock, monkeypatch, tmp_path, broken):
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
                clock.seconds += 20
                bar.update(step)
                write_message("caf\N{LATIN SMALL LETTER E WITH ACUTE}\x1b[2J")
    if broken == "ascii":
        assert path.read_text("ascii").count("caf\\u00e9\\u001b[2J\n") == 3
    with contextlib.suppress(OSError):
        stream.close()


def test_message_without_a_terminal_is_a_line(capsys):
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
