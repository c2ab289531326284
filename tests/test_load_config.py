"""Configs by name, path and values, with overrides."""

from typing import Any

import ml_collections
import pytest

from rnnjax.config import defaults, load_config, parse
from rnnjax.errors import InputError
from rnnjax.tasks.memory.config import MemoryConfig


def test_name_path_and_values_give_the_same_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_config("gru")
    assert by_name.model.cell == "GRUCell"
    values = by_name.model_dump()
    (tmp_path / "mine.py").write_text(f"def get_config():\n    return {values!r}\n")
    assert load_config("./mine.py") == load_config(tmp_path / "mine.py") == by_name
    assert load_config(values) == load_config(ml_collections.ConfigDict(values)) == by_name
    assert load_config(by_name) == by_name
    assert load_config({}) == parse({})


def test_overrides_by_dotted_key_or_section():
    dotted = load_config("gru", {"epochs": 3, "model.cell": "LSTMCell"})
    assert (dotted.epochs, dotted.model.cell, dotted.model.features) == (3, "LSTMCell", 16)
    assert load_config("gru", {"epochs": 3, "model": {"cell": "LSTMCell"}}) == dotted
    assert load_config({"task": "memory"}, {"memory.length": 7}).section(MemoryConfig).length == 7


def test_overrides_change_fields_that_refer_to_them():
    config: Any = ml_collections.ConfigDict(defaults())
    config.model.features = config.model.embedding.get_ref("features")
    assert load_config(config, {"model.embedding.features": 5}).model.features == 5
    assert config.model.features == 64  # load_config changes a copy


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        (
            "bilsm",
            {},
            "'bilsm': there is no such config; did you mean bilstm?.*adding, awd_lstm",
        ),
        (
            "configs/no.py",
            {},
            "'configs/no.py': there is no such file; .*one of adding, awd_lstm",
        ),
        ("gru", {"epoch": 2}, r"config\.epoch: there is no such key; did you mean config\.epochs"),
        (
            "gru",
            {"epochs": "2"},
            r"config\.epochs: given '2' \(str\), it should be a valid integer",
        ),
        ("gru", {"model": 3}, r"config\.model: given 3 \(int\)"),
        ({"model": 3}, {"model.cell": "GRUCell"}, r"config\.model: given 3 \(int\)"),
        ({"epoch": 3}, {}, r"config\.epoch: there is no such key"),
        (3, {}, "config is a int; expected nested mappings"),
    ],
)
def test_mistakes_are_named(source, overrides, message):
    with pytest.raises(InputError, match=message):
        load_config(source, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "expected a Python file with a get_config.*KeyError: 'get_config'"),
        ("def get_config(:\n", "SyntaxError"),
        ("def get_config():\n    return 3\n", "config is a int"),
        ("def get_config():\n    raise RuntimeError('broken')\n", "RuntimeError: broken"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, message):
    (tmp_path / "c.py").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(tmp_path / "c.py")
    with pytest.raises(InputError, match="Is a directory"):
        load_config(f"{tmp_path}/")
