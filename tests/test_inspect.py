"""The command that shows the inside of a network, as a user types it."""

import re
import shutil

import pytest
from command_line import run_command
from training.small_runs import read_files

pytest_plugins = ["training.small_runs"]

TEXTS = ["Goal, said the striker", "profit of xyzzy"]


def words(page):
    """Returns the heads of the columns of each text, once for each time that they stand there."""
    lists = re.findall(r'<ol class="words".*?</ol>', page)
    return [re.findall(r"<span>(.*?)</span>", each) for each in lists]


def test_texts_of_the_command_line_get_a_page_in_the_folder_of_the_run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = read_files(tmp_path)
    ended = run_command("inspect", "--workdir=run", "--", *TEXTS, folder=tmp_path)
    assert (ended.status, ended.out) == (0, "run/inspect.html\n"), ended.err
    after = read_files(tmp_path)
    page = after.pop("run/inspect.html").decode()
    assert after == before
    assert "<title>Inside run</title>" in page
    # Above the sheet, and once more above its layer.
    expected = [["Goal", "said", "the", "striker"], ["profit", "of", "xyzzy"]]
    assert words(page) == [each for text in expected for each in (text, text)]
    for name in ("forget gate", "input gate", "output gate", "hidden", "cell"):
        assert f"<b>{name}</b>" in page


def test_lines_of_standard_input_get_a_page_wherever_it_is_asked_for(finished, tmp_path):
    before = read_files(finished)
    arguments = f"--workdir={finished}", "--output=page.html"
    ended = run_command("inspect", *arguments, folder=tmp_path, stdin=b"rocket\ngoal\n")
    assert (ended.status, ended.out) == (0, "page.html\n"), ended.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert words(page) == [["rocket"], ["rocket"], ["goal"], ["goal"]]
    assert read_files(finished) == before


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--output=page.html", "no text on standard input"),
        ("--output=none/page.html", "--output=none/page.html: there is no folder none; make it"),
    ],
)
def test_a_mistake_is_named(finished, tmp_path, argument, says):
    ended = run_command("inspect", f"--workdir={finished}", argument, folder=tmp_path)
    assert ended.status == 2
    assert says in ended.err
    assert list(tmp_path.iterdir()) == []
