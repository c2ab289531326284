"""The command `rnnjax inspect`: its page, and the mistakes it refuses."""

import re
import shutil

import pytest
from training.small_runs import read_files

TEXTS = ["Goal, said the striker", "profit of xyzzy"]


def column_words(page):
    """Returns the words above the columns of each text and of each of its layers."""
    lists = re.findall(r'<ol class="words".*?</ol>', page)
    return [re.findall(r"<span>(.*?)</span>", text) for text in lists]


def test_the_page_of_arguments_is_in_the_folder_of_the_run(
    finished, tmp_path, monkeypatch, run_in_process
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    files = read_files(tmp_path)
    result = run_in_process("inspect", "--workdir=run", "--", *TEXTS)
    assert (result.status, result.out) == (0, "run/inspect.html\n"), result.err
    written = read_files(tmp_path)
    page = written.pop("run/inspect.html").decode()
    assert written == files
    assert re.search("<title>.* run</title>", page)
    first, second = ["Goal", "said", "the", "striker"], ["profit", "of", "xyzzy"]
    assert column_words(page) == [first, first, second, second]
    for name in ("forget gate", "input gate", "output gate", "hidden", "cell"):
        assert f"<b>{name}</b>" in page


def test_the_page_of_standard_input_is_at_the_output_path(
    finished, tmp_path, monkeypatch, run_in_process
):
    monkeypatch.chdir(tmp_path)
    files = read_files(finished)
    arguments = f"--workdir={finished}", "--output=page.html"
    result = run_in_process("inspect", *arguments, stdin=b"rocket\ngoal\n")
    assert (result.status, result.out) == (0, "page.html\n"), result.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert column_words(page) == [["rocket"], ["rocket"], ["goal"], ["goal"]]
    assert read_files(finished) == files


def test_two_runs_and_pictures(finished, tmp_path, monkeypatch, run_in_process):
    monkeypatch.chdir(tmp_path)
    arguments = f"--workdir={finished}", f"--beside={finished}", "rocket"
    assert run_in_process("inspect", "--output=page.html", *arguments).status == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert column_words(page) == [["rocket"]] * 4
    assert run_in_process("inspect", "--output=page.svg", *arguments).status == 0
    picture = (tmp_path / "page.svg").read_text(encoding="utf-8")
    assert picture.count(">rocket</text>") == 4


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--output=page.html", "no text on standard input"),
        ("--output=none/page.html", "--output=none/page.html: there is no folder none; make it"),
    ],
)
def test_mistakes_are_named(finished, tmp_path, monkeypatch, run_in_process, argument, message):
    monkeypatch.chdir(tmp_path)
    result = run_in_process("inspect", f"--workdir={finished}", argument)
    assert result.status == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []
