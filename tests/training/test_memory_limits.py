"""Limits that are checked before data are read or arrays are created."""

import pytest

from rnnjax.errors import InputError
from rnnjax.training import memory_limits

from .small_runs import news_config, train


def test_folder_that_cannot_be_created_is_refused_before_data_are_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"workdir .*run: cannot be written \(Not a directory\)"):
        train(news_config(tmp_path / "no news"), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"data__vocabulary__size": 10**7, "model__embedding__features": 2**16, "data__dir": "no"},
        {"model__features": 2**16, "model__layers": 8},
        {"model__features": 2**14, "replicates": 9},
    ],
    ids=["embedding, before data are read", "layers", "replicates"],
)
def test_parameters_beyond_device_memory_are_refused(news, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(memory_limits, "device_memory", lambda: 2**36)
    with pytest.raises(InputError, match=r"parameters take [\d,.]+ GiB .* has 64\.0 GiB; lower"):
        train(news_config(news, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_device_memory_is_plausible():
    assert 2**30 < memory_limits.device_memory() < 2**50
