"""The folder of a run: its lock, its config, and verification of its files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.config import parse
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.reporting import atomic_files, run_files, run_schema
from rnnjax.reporting.record_digest import with_digest
from rnnjax.training.run_folder import RunFolder

from .small_runs import read_files


def config_file():
    return run_schema.RecordedConfig(name="small", config=parse({}).model_dump())


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock(parse({})):
        atomic_files.write_json(folder.config, config_file().values())
    return folder


def test_folder_is_created_with_its_parents(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    with folder.lock(parse({})):
        assert folder.path.is_dir()


def test_folder_is_locked_again_by_the_same_config(run):
    with run.lock(parse({})):
        pass
    assert run.read_config() == ("small", parse({}))


def test_second_process_is_refused_while_the_first_has_the_lock(run):
    with (
        run.lock(parse({})),
        pytest.raises(InputError, match="another process is running in it"),
        RunFolder(run.path).lock(parse({})),
    ):
        pass
    with RunFolder(run.path).lock(parse({})):
        pass


def test_error_names_the_keys_in_which_configs_differ(run):
    values = parse({}).model_dump()
    values["seed"] = 7
    values["data"]["vocabulary"]["size"] = 300
    other_config = parse(values)
    with pytest.raises(InputError, match="another config") as caught, run.lock(other_config):
        pass
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert lines == ["config.seed: 7, 0", "config.data.vocabulary.size: 300, 20000"]


def test_foreign_files_and_folders_are_refused(tmp_path):
    file, other_config = tmp_path / "file", tmp_path / "other"
    file.write_text("mine")
    other_config.mkdir()
    (other_config / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is a file"), RunFolder(file).lock(parse({})):
        pass
    with (
        pytest.raises(InputError, match=r"holds thesis\.tex"),
        RunFolder(other_config).lock(parse({})),
    ):
        pass
    assert file.read_text() == "mine"
    assert [path.name for path in other_config.iterdir()] == ["thesis.tex"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(InputError, match="cannot be written"), folder.lock(parse({})):
        pass


def test_drafts_of_a_killed_process_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process deletes nothing
    with pytest.raises(ZeroDivisionError):
        atomic_files.write_text(tmp_path / "config.json", '{"na')
    monkeypatch.undo()
    (tmp_path / ".lock").write_text("")
    assert len(list(tmp_path.iterdir())) == 2
    with RunFolder(tmp_path).lock(parse({})):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_hidden_files_are_not_deleted_as_drafts(tmp_path, run):
    names = {".notes.2024", ".bash_history.1", ".config.json.4711", ".rnnjax-draft-mine"}
    for name in names:
        (tmp_path / name).write_text("mine")
        (run.path / name).write_text("mine")
    with pytest.raises(InputError, match=r"holds \.bash_history\.1"):
        RunFolder(tmp_path).check_config(parse({}))
    before = read_files(tmp_path)
    with run.lock(parse({})):
        assert read_files(tmp_path) == before


def test_draft_that_is_no_regular_file_is_not_deleted(tmp_path):
    draft = ".rnnjax-draft-0123456789abcdef"
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / draft).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=f"holds {draft}"):
        RunFolder(tmp_path / "new").check_config(parse({}))


RUN_FILES = [
    *("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"),
    *("report.html", ".lock", "checkpoints"),
]


@pytest.mark.parametrize("name", RUN_FILES)
def test_links_are_refused(run, tmp_path, name):
    mine = tmp_path / "mine"
    (mine.mkdir if name == "checkpoints" else mine.touch)()
    if name == "config.json":
        mine.write_bytes(run.config.read_bytes())
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(mine)
    before = read_files(tmp_path)
    with pytest.raises(InputError, match=f"{name}: is a symbolic link"), run.lock(parse({})):
        pass
    assert read_files(tmp_path) == before
    assert (run.path / name).is_symlink()


@pytest.mark.parametrize("name", RUN_FILES)
def test_file_of_another_kind_is_named(run, name):
    (run.path / name).unlink(missing_ok=True)
    if name == "checkpoints":
        (run.path / name).touch()
    elif name == ".lock":
        os.mkfifo(run.path / name)
    else:
        (run.path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: is (a f|no reg)"), run.lock(parse({})):
        pass


def test_links_of_replicates_are_refused(tmp_path):
    config = parse({"replicates": 2, "seed": 3})
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "run" / "seed-4").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="seed-4: is a symbolic link"):
        RunFolder(tmp_path / "run").check_config(config)


def test_the_folder_of_a_run_may_be_a_link_itself(tmp_path, run):
    (tmp_path / "link").symlink_to(run.path)
    with RunFolder(tmp_path / "link").lock(parse({})):
        pass


@pytest.mark.parametrize("name", ["a\0b", "caf\udce9", "\ud800"])
def test_invalid_name_is_refused(name):
    with pytest.raises(InputError, match="workdir: given '"):
        RunFolder(Path(name))


def test_too_long_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        RunFolder(tmp_path / ("a" * 300)).check_config(parse({}))


def test_killed_process_releases_the_lock(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from rnnjax.config import parse\n"
        "from rnnjax.training.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).lock(parse({})):\n"
        "    print('in', flush=True)\n"
        "    time.sleep(60)\n"
    )
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match="another process"), folder.lock(parse({})):
            pass
        process.kill()
        process.wait()
        with folder.lock(parse({})):
            pass


def test_read_only_folder_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)  # so that nobody need look at the folders above
    if root := not os.geteuid():
        os.seteuid(65534)  # the superuser may write everywhere
    try:
        with (
            pytest.raises(InputError, match=r"run: cannot be written \(Permission denied\)"),
            RunFolder(Path("run")).lock(parse({})),
        ):
            pass
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)


def tokenizer():
    return Vocabulary.fit(["a small text"], 20).to_json()


DATA = {"fingerprint": "f00d", "fallback": "", "vocabulary": 5}


@pytest.fixture
def started(run):
    """A folder in which a run has begun that reads text."""
    run_files.begin(run.path, config_file(), tokenizer(), {"data": DATA})
    return run


def test_config_and_manifest_are_read_back(started):
    config, manifest = started.read()
    assert config == parse({})
    assert manifest.files.keys() == {"config.json", "tokenizer.json"}
    assert started.read_data() == DATA
    assert len(started.read_vocabulary()) == 5
    run_files.begin(started.path, config_file(), tokenizer(), {"data": DATA})
    assert started.read()[1].run != manifest.run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "small", "con', "is damaged"),
        (b"\xff\xfe", "is damaged"),
        ("[]", "not a JSON object"),
        ("[" * 5_000, "is nested more than"),
        ("{}", "name: Field required"),
        ('{"name": "small"}', "config: Field required"),
        ('{"name": 1, "config": {}}', "name: Input should be a valid string, given '1'"),
        ('{"name": "small", "config": 3}', "config: Input should be a valid dictionary"),
        ('{"name": "small", "config": {"sede": 1}}', "did you mean"),
        ('{"name": "small", "config": {}}', "its digest is not the one in environment.json"),
    ],
)
def test_damaged_config_is_named(started, content, message):
    started.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        started.read()
    assert str(started.config) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": None}, "run: Input should be a valid string"),
        ({"files": {}}, "files: has no 'config.json'"),
        ({"files": {"../../other": ""}}, "files.../../other.*: Input should be 'config.json' or"),
        ({"data": {"fingerprint": ""}}, "data: has no 'fallback'"),
        ({"data": {**DATA, "classes": [1]}}, "data.classes.0: Input should be a valid string"),
        ({"data": {**DATA, "vocabulary": "5"}}, "data.vocabulary: Input should be a valid integer"),
    ],
)
def test_invalid_manifest_is_named(started, change, message):
    values = json.loads(started.manifest.read_text()) | change
    started.manifest.write_text(json.dumps(values))
    with pytest.raises(
        InputError, match=r"environment\.json is damaged \(its digest does not match"
    ):
        started.read()
    started.manifest.write_text(json.dumps(with_digest(values)))
    with pytest.raises(InputError, match=message) as caught:
        started.read_data()
    assert str(started.manifest) in str(caught.value)


def test_vocabulary_of_another_size_is_refused(started):
    run_files.begin(started.path, config_file(), tokenizer(), {"data": {**DATA, "vocabulary": 6}})
    with pytest.raises(InputError, match=r"tokenizer\.json .* \(5 entries, and 6 were recorded\)"):
        started.read_vocabulary()
    run_files.begin(started.path, config_file(), "", {"data": DATA})
    with pytest.raises(InputError, match=r"environment\.json .*files: has no 'tokenizer\.json'"):
        started.read_vocabulary()


def test_missing_file_and_pipe_are_named(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match=r"config\.json is missing"):
        folder.read()
    os.mkfifo(folder.config)
    with pytest.raises(InputError, match=r"config\.json: cannot be read \(it is a pipe"):
        folder.read()
