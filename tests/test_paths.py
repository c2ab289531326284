"""Any name that a folder can have is one for a run, and ~ is the home folder everywhere."""

import gc
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run_command
from training.small_runs import assert_trees_equal, news_config, read_files, restore_state

from rnnjax import cache, paths, training
from rnnjax.config import parse as parse_config
from rnnjax.errors import InputError
from rnnjax.training.checkpoint import Checkpoints

pytest_plugins = ["training.small_runs"]

NAMES = [
    "gru[lr=0.001]",
    "back\\slash",
    "gs:/a:b",
    "every*name?",
    "-{a,b} 'c' \"d\" $HOME 100% %41 #e ~ &;|<>.",
    "é 漢 new\nline\t\x01\x7f",
    "caf\udce9",
    "a" * 255,
]
NOBODY = "~there-is-no-such-user/x"


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_saved_read_and_cleared_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(folder)
    trees = {step: {"a": np.arange(3.0) + step} for step in (1, 2, 3)}
    for step, tree in trees.items():
        checkpoints.save(step, tree)
    (folder / "4.orbax-checkpoint-tmp").mkdir()
    restored = Checkpoints(folder).restore(trees[1], repair=True)
    assert restored is not None
    assert restored[0] == 3
    assert_trees_equal(restored[1], trees[3])
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    beside = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert [path for path in beside if not path.is_relative_to(Path(name).parts[0])] == []


def test_what_is_wrong_with_a_checkpoint_is_told_of_the_folder_itself(tmp_path):
    folder = tmp_path / "a[b]"
    Checkpoints(folder).save(1, {"a": np.arange(3.0)})
    for path in (folder / "1" / "arrays" / "d").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="every checkpoint is damaged") as caught:
        Checkpoints(folder).restore({"a": np.arange(3.0)})
    assert f"{folder}/1/arrays" in str(caught.value)


def test_nothing_is_left_among_the_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    checkpoints = Checkpoints(tmp_path / "a[b]" / "checkpoints")
    checkpoints.save(1, {"a": np.arange(3.0)})
    assert len(list(tmp_path.glob("rnnjax-*"))) == 1
    del checkpoints
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["a[b]"]
    assert (tmp_path / "a[b]" / "checkpoints" / "1").is_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a[b]"))
    with pytest.raises(InputError, match="set TMPDIR to another"):
        Checkpoints(tmp_path / "a[b]" / "checkpoints")


def test_a_run_is_begun_resumed_asked_and_scored_in_a_folder_of_any_name(news, tmp_path):
    strange = tmp_path / "gru[lr=0.001]*" / NAMES[4] / NAMES[5]
    data = shutil.copytree(news, strange / "data")
    config = news_config(data, epochs=1)
    training.train(config, "small", strange / "run")
    state = restore_state(config, strange / "run")
    (strange / "run" / "result.json").unlink()
    result = training.train(config, "small", strange / "run")
    assert result["resumed_from"] == result["steps"] == state.num_steps
    run = training.load_run(strange / "run")
    assert run.step == state.num_steps
    assert run.evaluate(data / "test.csv")["accuracy"] == pytest.approx(result["test"]["accuracy"])
    assert run.predict(["goal"]).shape == (1, 4)


def test_a_home_folder_is_put_in_the_place_of_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.expand("~/x/../y") == f"{tmp_path}/x/../y"
    assert paths.expand("~") == str(tmp_path)
    for path in ("", "a/~", "./~/x", "a~"):
        assert paths.expand(path) == path
    monkeypatch.setenv("RNNJAX_CACHE", "~/kept")
    assert cache.cache_directory() == tmp_path / "kept"


@pytest.mark.parametrize(
    "key",
    ["data.dir", "data.file", "data.validation_file", "data.test_file", "model.embedding.path"],
)
def test_a_path_of_a_config_is_expanded_or_refused_by_its_key(key, monkeypatch, tmp_path):
    def parsed(path):
        values: Any = path
        for name in reversed(key.split(".")):
            values = {name: values}
        if key.endswith("_file"):
            values["data"]["file"] = "x"
        result: Any = parse_config({"task": task, **values}).model_dump()
        for name in key.split("."):
            result = result[name]
        return result

    task = "language_modeling" if key.endswith("file") else "classification"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parsed("~/x") == f"{tmp_path}/x"
    for path in (NOBODY, "a\0b", "caf\udce9", "\ud800"):
        with pytest.raises(InputError, match=rf"^config\.{key}: given "):
            parsed(path)


def test_paths_of_the_command_lines_are_expanded_or_refused_by_their_flags(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "plain.py").write_text(
        "from ml_collections import ConfigDict\nfrom rnnjax.config import defaults\n"
        "def get_config():\n    return ConfigDict(defaults())\n"
    )
    (tmp_path / "empty").mkdir()
    given = ("--config=~/plain.py", "--print_config", "--config.data.dir=~/news")
    ended = run_command("main", *given, folder=tmp_path / "empty")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["data"]["dir"] == str(tmp_path / "news")

    for module, *arguments in (
        ("main", f"--config={NOBODY}"),
        ("main", "--workdir=run", "--config", "caf\udce9.py"),
        ("main", "--config=~/plain.py", f"--workdir={NOBODY}"),
        ("predict", f"--workdir={NOBODY}", "goal"),
        ("evaluate", "--workdir=run", f"--data={NOBODY}"),
        ("inspect", "--workdir=run", f"--output={NOBODY}", "goal"),
        ("compare", f"--plot={NOBODY}"),
        ("predict", "--workdir=caf\udce9"),
    ):
        ended = run_command(module, *arguments, folder=tmp_path / "empty")
        assert ended.status == 2, (module, ended)
        assert ended.err.startswith("error: "), ended.err
        assert "given '" in ended.err, ended.err
    assert read_files(tmp_path / "empty") == {}
