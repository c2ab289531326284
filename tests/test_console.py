"""Command lines whose standard streams are closed, full, broken or of another encoding."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from rnnjax.console import escape, shorten

WORKS = """
    import subprocess, sys
    from pathlib import Path
    from rnnjax.cli.launcher import run_process
    from rnnjax.console import write_output
    from rnnjax.errors import InputError
    from rnnjax.reporting.progress import Progress, write_message

    def main():
        with open("work", "w") as file:
            assert file.fileno() > 2
            write_message("a message")
            with Progress("train", 2) as progress:
                progress.update(1)
            print("of a library " * 1_000, flush=True)
            print("of a library", file=sys.stderr)
            subprocess.run(["cat"], check=True)  # it inherits the streams
            file.write("done")

    run_process(main)
"""
SHOWS = """
    from rnnjax.cli.launcher import run_process
    from rnnjax.console import write_output

    def main():
        for number in range(1_000_000):
            write_output(f"line {number}")

    run_process(main)
"""


@pytest.fixture
def typed(tmp_path):
    """Returns a function that runs a script, its streams redirected as a shell does it."""

    def run(script, redirect="", *arguments, **environment):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script), encoding="utf-8")
        shell = f'{{ "$0" "$@"; echo $? >status; }} {redirect}'
        return subprocess.run(
            ["bash", "-c", shell, sys.executable, str(path), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )

    def ended(*arguments, **environment):
        process = run(*arguments, **environment)
        status = int((tmp_path / "status").read_text())
        return status, process.stdout.decode("latin-1"), process.stderr.decode("latin-1")

    return ended


@pytest.mark.parametrize(
    "redirect",
    [
        *("<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- 2>&-"),
        *("| true", "2>&1 | true", "2> >(true)", "2>/dev/full"),
    ],
)
def test_no_stream_keeps_work_from_its_end(typed, tmp_path, redirect):
    status, _, err = typed(WORKS, redirect)
    assert (tmp_path / "work").read_text() == "done", err
    assert status == 0
    assert "Traceback" not in err
    assert "Exception" not in err


def test_a_full_device_is_a_failure_after_the_work(typed, tmp_path):
    status, _, err = typed(WORKS, ">/dev/full")
    assert (tmp_path / "work").read_text() == "done"
    assert status == 2
    assert err.splitlines()[-1] == (
        "error: standard output could not be written (No space left on device); "
        "send it to another place"
    )


@pytest.mark.parametrize("flags", ["", "x"])  # the second: without buffers
def test_what_is_printed_for_a_reader_ends_with_it(typed, flags):
    assert typed(SHOWS, "| head -1", PYTHONUNBUFFERED=flags) == (141, "line 0\n", "")
    status, _, err = typed(SHOWS, ">/dev/full", PYTHONUNBUFFERED=flags)
    assert status == 2
    assert err.count("\n") == 1
    assert "standard output could not be written (No space left on device)" in err


def test_a_failure_has_its_status_where_nobody_reads_of_it(typed):
    fails = "raise InputError('wrong')"
    for statement, expected in ((fails, 2), ("raise RuntimeError", 1), ("sys.exit(3)", 3)):
        script = WORKS.replace('file.write("done")', statement)
        for redirect in ("2>&-", "2>/dev/full", "2>&1 | true"):
            assert typed(script, redirect)[0] == expected
    # Refused before anything is run.
    compare = 'from rnnjax.cli.launcher import launch\nlaunch("compare")\n'
    assert typed(compare, "2>/dev/full", "--no_such_flag")[0] == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": "C"},
    ],
    ids=str,
)
def test_no_encoding_refuses_a_text(typed, environment):
    text = (
        "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{HORIZONTAL ELLIPSIS} \N{HOT BEVERAGE} \U0001f389"
    )
    script = f"""
        \"\"\"Says {text}.\"\"\"
        import json
        from rnnjax.cli.launcher import run_process
        from rnnjax.console import write_output
        from rnnjax.errors import InputError

        def main():
            write_output(json.dumps({text!r}, ensure_ascii=False))
            print({text!r})
            raise InputError({text!r})

        run_process(main)
    """
    status, out, err = typed(script, **environment)
    assert status == 2, err
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    first, second = out.encode("latin-1").decode(encoding).splitlines()
    assert json.loads(first) == text
    assert first == f'"{second}"'
    assert err.startswith("error: caf")
    assert err.count("\n") == 1
    asks_help = f"""
        from rnnjax.cli.launcher import run_process
        from rnnjax.cli.parser import Parser

        run_process(lambda: Parser("command", {text!r}).parse(["--help"]))
    """
    status, out, err = typed(asks_help, **environment)
    assert "\\u2026" in out or "\x85" in out  # which is the ellipsis of cp1252
    assert err == ""


def test_a_message_with_commands_for_the_terminal_is_printed_without_them(typed):
    script = """
        from rnnjax.cli.launcher import run_process
        from rnnjax.console import write_output
        from rnnjax.errors import InputError

        def main():
            write_output("a \\x1b]0;title\\x07 \\u202e text")
            raise InputError("no \\x9b2J\\r file")

        run_process(main)
    """
    assert typed(script) == (
        2, "a \\u001b]0;title\\u0007 \\u202e text\n", "error: no \\u009b2J\\r file\n"
    )  # fmt: skip


def test_what_a_terminal_shows_is_not_escaped():
    text = "two lines\n\tcaf\N{LATIN SMALL LETTER E WITH ACUTE} \N{HOT BEVERAGE}"
    assert escape(text) == text


def test_endless_lines_lose_their_middle():
    path = f"data.file is {'x' * 100_000}: leave it out"
    assert len(shorten(path)) < 1_000
    assert shorten(path).startswith("data.file is xxx")
    assert shorten(path).endswith("xxx: leave it out")
    assert shorten("a line\nand another") == "a line\nand another"


def test_json_that_is_escaped_is_the_same_json():
    text = "".join(map(chr, range(0x2100)))
    written = json.dumps(text, ensure_ascii=False)
    escaped = escape(written)
    assert json.loads(escaped) == text
    assert escaped.isprintable() or not any(sign in escaped for sign in "\x1b\x7f\x9b\u2028\u202e")


def test_a_pipe_that_is_full_and_set_not_to_wait_loses_nothing(tmp_path):
    script = """
        import os
        from rnnjax.cli.launcher import run_process
        from rnnjax.console import write_output
        os.set_blocking(1, False)
        run_process(lambda: write_output("line " * 100_000))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE
    )
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, len(out)) == (0, 500_001)


def test_a_failure_is_followed_by_no_complaints_of_what_a_library_leaves(typed):
    script = """
        from rnnjax.cli.launcher import run_process
        from rnnjax.errors import InputError

        class HalfMade:
            def __del__(self):
                raise AttributeError("_ssock")

        async def never_awaited():
            pass

        def main():
            global left
            left = HalfMade(), never_awaited()
            raise InputError("too many open files")

        run_process(main)
    """
    status, _, err = typed(script)
    assert status == 2
    assert err == "error: too many open files\n"
