"""The folder of a run: it belongs to one config and one process, and its files are read warily."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.training.folder import RunFolder, read_json


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claim(Config()):
        folder.write_config("small", Config(), {})
    return folder


def test_a_new_folder_is_made_with_those_above_it(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    with folder.claim(Config()):
        assert folder.path.is_dir()


def test_it_is_taken_up_again_by_the_same_config(run):
    with run.claim(Config()):
        pass
    assert run.read_config() == ("small", Config())


def test_a_second_process_is_kept_out_until_the_first_has_left(run):
    with (
        run.claim(Config()),
        pytest.raises(InputError, match="another process is running in it"),
        RunFolder(run.path).claim(Config()),
    ):
        pass
    with RunFolder(run.path).claim(Config()):
        pass


def test_another_config_is_refused_by_the_keys_that_differ(run):
    values = Config().model_dump()
    values["seed"] = 7
    values["data"]["vocabulary"]["size"] = 300
    other = Config.model_validate(values)
    with pytest.raises(InputError, match="another config") as caught, run.claim(other):
        pass
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert lines == ["config.seed: 7, 0", "config.data.vocabulary.size: 300, 20000"]


def test_a_file_and_a_folder_of_other_things_are_refused_and_left_alone(tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("mine")
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is a file"), RunFolder(file).claim(Config()):
        pass
    with pytest.raises(InputError, match=r"holds thesis\.tex"), RunFolder(other).claim(Config()):
        pass
    assert file.read_text() == "mine"
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(InputError, match="cannot be written"), folder.claim(Config()):
        pass


def test_what_a_kill_in_a_write_leaves_does_not_bar_the_folder_and_is_cleared_away(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".config.json.4711").write_text('{"na')
    with RunFolder(tmp_path).claim(Config()):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_killed_process_lets_go_of_the_folder(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from rnnjax.config import Config\n"
        "from rnnjax.training.folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).claim(Config()):\n"
        "    print('in', flush=True)\n"
        "    time.sleep(60)\n"
    )
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match="another process"), folder.claim(Config()):
            pass
        process.kill()
        process.wait()
        with folder.claim(Config()):
            pass


def test_a_folder_that_may_not_be_written_is_an_error_that_says_so(tmp_path, monkeypatch):
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)  # so that nobody need look at the folders above
    if root := not os.geteuid():
        os.seteuid(65534)  # the superuser may write everywhere
    try:
        with (
            pytest.raises(InputError, match=r"run: cannot be written \(Permission denied\)"),
            RunFolder(Path("run")).claim(Config()),
        ):
            pass
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"name": "small", "con', "is damaged"),
        (b"\xff\xfe", "is damaged"),
        ("[]", "not a JSON object"),
        ("{}", "no 'name'"),
        ('{"name": "small"}', "no 'config'"),
        ('{"name": "small", "config": 3}', "expected nested mappings"),
        ('{"name": "small", "config": {"sede": 1}}', "did you mean"),
    ],
)
def test_a_damaged_config_is_named(run, content, says):
    run.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says) as caught:
        run.read_config()
    assert str(run.config) in str(caught.value)


def test_what_is_said_of_the_data_must_be_there(run):
    with pytest.raises(InputError, match="cannot be read"):
        run.read_data()
    for content, says in ({}, "no 'data'"), ({"data": {"fingerprint": ""}}, "no 'fallback'"):
        run.environment.write_text(json.dumps(content))
        with pytest.raises(InputError, match=says):
            run.read_data()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        read_json(tmp_path / "none.json")
