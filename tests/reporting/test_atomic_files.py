import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.reporting import atomic_files
from rnnjax.reporting.metrics_log import MetricsLog


def test_json_is_strict_and_takes_numbers_of_every_origin(tmp_path):
    path = tmp_path / "result.json"
    atomic_files.write_json(
        path,
        {
            "lost": float("nan"),
            "best": np.float32(-np.inf),
            "loss": jnp.float32(0.5),
            "rows": np.int64(7),
            "confusion": np.array([[3, 1], [0, 2]]),
            "rates": (0.25, jnp.array([np.inf, 1.0])),
            "name": "naïve",
            "early": False,
        },
    )

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    values = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert values == {
        "lost": "nan",
        "best": "-inf",
        "loss": 0.5,
        "rows": 7,
        "confusion": [[3, 1], [0, 2]],
        "rates": [0.25, ["inf", 1.0]],
        "name": "naïve",
        "early": False,
    }
    assert np.isnan(float(values["lost"]))
    assert "naïve" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EDQUOT, "make room, or have the disk quota raised"),
        (errno.EMFILE, "raise the limit on open files"),
        (errno.EROFS, "use a folder on a file system that is not read-only"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, remedy):
    path = tmp_path / "result.json"
    atomic_files.write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        atomic_files.write_json(path, {"step": object()})

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"result\.json: could not be written") as caught:
        atomic_files.write_json(path, {"step": 2})
    assert f"({os.strerror(number)}); {remedy}" in str(caught.value)
    assert json.loads(path.read_text()) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "other").write_text("")
    atomic_files.write_text(tmp_path / "page", "half a pair: \ud83d")
    assert (tmp_path / "page").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert (tmp_path / "page").read_text() == "half a pair: \\ud83d"


def test_links_folders_and_devices_are_neither_replaced_nor_followed(tmp_path):
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.write_text("mine")
    link.symlink_to(mine)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    names = ("link", "gone", "folder", "pipe")
    for path in (tmp_path / name for name in names):
        for write in (atomic_files.write_text, lambda path, _: MetricsLog(path)):
            with pytest.raises(InputError, match=rf"{path}: is (a symbolic|a folder|no regular)"):
                write(path, "text")
    assert mine.read_text() == "mine"
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", *names}


def test_a_file_may_have_as_long_a_name_as_there_can_be(tmp_path):
    path = tmp_path / ("a" * 255)
    atomic_files.write_text(path, "text")
    assert path.read_text() == "text"


def test_a_lock_is_held_once_and_writes_nothing(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("mine")
    with atomic_files.lock_file(path), pytest.raises(BlockingIOError):
        atomic_files.lock_file(path)
    with atomic_files.lock_file(path):
        assert path.read_text() == "mine"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(InputError, match="is a symbolic link"):
        atomic_files.lock_file(tmp_path / "link")
