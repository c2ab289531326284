"""Files are written atomically as strict JSON, and links are neither followed nor replaced."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.reporting import atomic_files
from rnnjax.reporting.metrics_log import MetricsLog


def test_strict_json_of_python_numpy_and_jax_values(tmp_path):
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
def test_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch, number, remedy):
    path = tmp_path / "result.json"
    atomic_files.write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        atomic_files.write_json(path, {"step": object()})

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"result\.json: could not be written") as raised:
        atomic_files.write_json(path, {"step": 2})
    assert f"({os.strerror(number)}); {remedy}" in str(raised.value)
    assert json.loads(path.read_text()) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_written_files_have_default_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic_files.write_text(tmp_path / "page", "lone surrogate: \ud83d")
    assert (tmp_path / "page").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "page").read_text() == "lone surrogate: \\ud83d"


def test_links_folders_and_devices_are_refused(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("target")
    link.symlink_to(target)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    names = ("link", "gone", "folder", "pipe")
    for path in (tmp_path / name for name in names):
        for write in (atomic_files.write_text, lambda path, _: MetricsLog(path)):
            with pytest.raises(InputError, match=rf"{path}: is (a symbolic|a folder|no regular)"):
                write(path, "text")
    assert target.read_text() == "target"
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"target", *names}


def test_file_name_of_maximum_length(tmp_path):
    path = tmp_path / ("a" * 255)
    atomic_files.write_text(path, "text")
    assert path.read_text() == "text"


def test_lock_is_exclusive_and_writes_nothing(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("text")
    with atomic_files.lock_file(path), pytest.raises(BlockingIOError):
        atomic_files.lock_file(path)
    with atomic_files.lock_file(path):
        assert path.read_text() == "text"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(InputError, match="is a symbolic link"):
        atomic_files.lock_file(tmp_path / "link")
