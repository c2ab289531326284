"""The schema of configs: accepted values, refused values and their messages."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pydantic
import pytest

from rnnjax.config import defaults, differences, parse, replicate_configs
from rnnjax.errors import InputError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.py"))


def nested(key: str, value: Any) -> dict[str, Any]:
    """Returns the nested dicts that give a dotted key a value."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def leaves(values, prefix=""):
    """Returns every dotted key of nested dicts with its value."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= leaves(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def refusal(key, value):
    """Returns the message that a value of a key gets."""
    with pytest.raises(InputError) as caught:
        parse(nested(key, value))
    return str(caught.value)


def test_the_defaults_are_a_config():
    assert parse(defaults()) == parse({}) == parse({})


def test_there_is_no_none_in_a_config():
    assert None not in leaves(defaults()).values()


def test_defaults_are_new_each_time():
    defaults()["model"]["cell"] = "x"
    assert defaults()["model"]["cell"] == "LSTMCell"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2**32 - 1),
        ("learning_rate", 1),
        ("data.validation", 0.5),
        ("data.vocabulary.size", 3),
        ("model.embedding.features", 0),
        ("model.bidirectional", True),
        ("schedule", "cosine"),
        ("data.dir", "/a folder"),
    ],
)
def test_a_key_takes_its_value_and_leaves_the_others(key, value):
    expected = leaves(defaults()) | {key: value}
    assert leaves(parse(nested(key, value)).model_dump()) == expected


@pytest.mark.parametrize("key", leaves(defaults()))
def test_no_key_takes_none_or_a_list(key):
    for value in (None, []):
        message = refusal(key, value)
        assert message.startswith(f"config.{key}: given {value!r}")


def deep_mapping(depth: int) -> dict[str, Any]:
    """Returns a mapping in a mapping, so many times."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learning_rat", 0.1, ["there is no such key", "did you mean", "config.learning_rate"]),
        ("data.vocabulary.sizes", 9, ["there is no such key", "config.data.vocabulary.size"]),
        ("features", 9, ["there is no such key", "config.model.features"]),
        ("zzzz", 9, ["there is no such key", "`rnnjax train --help`"]),
        ("batch_size", "32", ["'32'", "str", "integer"]),
        ("batch_size", 3.0, ["3.0", "float", "integer"]),
        ("batch_size", True, ["True", "bool", "integer"]),
        ("learning_rate", "fast", ["'fast'", "number"]),
        ("model.bidirectional", 1, ["1", "int", "boolean"]),
        ("model.cell", 4, ["4", "string"]),
        ("batch_size", 0, ["given 0", "greater than or equal to 1"]),
        ("seed", 2**32, ["4294967296", "less than 4294967296"]),
        ("seed", -1, ["-1", "greater than or equal to 0"]),
        ("learning_rate", 0.0, ["0.0", "greater than 0"]),
        ("learning_rate", float("nan"), ["nan", "finite"]),
        ("learning_rate", float("inf"), ["inf", "finite"]),
        ("model.dropout", 1.0, ["1.0", "less than 1"]),
        ("data.validation", 0.6, ["0.6", "less than or equal to 0.5"]),
        ("data.vocabulary.size", 2, ["given 2", "greater than or equal to 3"]),
        ("checkpoint.keep", 1, ["given 1", "greater than or equal to 2"]),
        ("optimizer.clip_norm", -1.0, ["-1.0", "greater than or equal to 0"]),
        ("optimizer.arguments", "0.9", ["'0.9'", "'momentum=0.9, nesterov=True'"]),
        ("optimizer.arguments", "a=1, a=2", ["'a=1, a=2'", "dict"]),
        ("optimizer.arguments", "a=f()", ["'a=f()'", "dict"]),
        ("optimizer.arguments", {"mask": None}, ["None for mask", "number"]),
        ("optimizer.arguments", deep_mapping(2_000), ["nested too deep", "dict"]),
        ("optimizer.arguments", {"b1": float("inf")}, ["inf for b1", "finite"]),
        ("optimizer.learning_rate_factors.embed", -1.0, ["-1.0", "greater than or equal"]),
        ("model.layers", 10**6, ["given 1000000", "less than or equal to 128"]),
        ("task", "chess", ["'chess'", "'classification'"]),
        ("dtype", "float16", ["'float16'", "'bfloat16'"]),
        ("model.merge", "none", ["'none'", "'concat'"]),
        ("data", 5, ["given 5", "dictionary"]),
        ("acknowledged.paddin_read", "so", ["no such key", "config.acknowledged.padding_read"]),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_its_full_path(key, value, words):
    message = refusal(key, value)
    assert message.startswith(f"config.{key}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("chess", "given 'chess', expected one of 'classification', "),
        ("no_module:Task", "given 'no_module:Task', and there is no module no_module"),
        ("rnnjax.errors:InputError", "given 'rnnjax.errors:InputError', and rnnjax.errors has no "),
        (3, "given 3 (int), it should be a valid string"),
        ({"a": 1}, "given {'a': 1} (dict), it should be a valid string"),
    ],
)
def test_an_unknown_task_is_refused_with_the_name_of_the_config(task, message):
    with pytest.raises(InputError) as error:
        parse({"task": task, "data": {"x": 1}}, "run/config.json")
    assert str(error.value).startswith(f"run/config.json.task: {message}")


@pytest.fixture
def foreign_values(tmp_path, monkeypatch):
    """Values of a config whose task is in a module that cannot be imported."""
    (tmp_path / "foreign_task.py").write_text("raise RuntimeError('it runs')\nclass Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return {"task": "foreign_task:Mine", "mine": {"width": 3}}


def test_the_section_of_an_untrusted_task_is_not_validated(foreign_values):
    with pytest.raises(InputError, match=r"^config\.task: given 'foreign_task:Mine', .*: it runs"):
        parse(foreign_values)
    config = parse({**foreign_values, "epochs": 7}, trust=False)
    assert config.model_dump() == {**defaults(), **foreign_values, "epochs": 7}


@pytest.mark.parametrize("data", [3, {"x": 1}, {"take": -1}])
def test_refusing_an_untrusted_task_imports_nothing(foreign_values, data):
    with pytest.raises(InputError, match=r"^config\.data") as error:
        parse({**foreign_values, "data": data}, trust=False)
    assert "it runs" not in str(error.value)


@pytest.mark.parametrize("name", ["data", "seed", "copy"])
def test_the_section_of_a_task_replaces_no_other_key(tmp_path, monkeypatch, name):
    module = f"task_with_section_{name}"
    (tmp_path / f"{module}.py").write_text(
        "from rnnjax.config.schema import ConfigSection\n"
        "from rnnjax.config.task_schema import TaskSchema\n"
        f"class Mine:\n    schema = TaskSchema(name='{name}', section=ConfigSection)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=rf"section would be config\.{name}, which is taken"):
        parse({"task": f"{module}:Mine"})


def test_a_value_is_shown_in_short():
    assert len(refusal("task", "a" * 10**5)) < 1_000
    assert "given a number of thousands of digits" in refusal("epochs", 10**5_000)
    assert len(refusal("data.dir", [[]] * 10**5)) < 300
    deep = nested(".".join("a" * 5_000), 1)
    assert "given a value that is nested too deeply" in refusal("epochs", deep)


@pytest.mark.parametrize("key", [key for key, v in leaves(defaults()).items() if type(v) is int])
def test_every_count_has_a_limit(key):
    assert re.search("should be less than", refusal(key, 2**63))


def test_every_mistake_is_named_at_once():
    with pytest.raises(InputError) as caught:
        parse({"epochs": 0, "model": {"layers": 0, "size": 1}}, name="config.json")
    lines = str(caught.value).splitlines()
    starts = {line.split(": ")[0] for line in lines}
    assert starts == {"config.json.epochs", "config.json.model.layers", "config.json.model.size"}


@pytest.mark.parametrize(
    "values", [{"early_stopping": {"patience": 2}}, {"evaluate_every": 10}], ids=str
)
def test_what_needs_a_validation_part_is_refused_without_one(values):
    with pytest.raises(InputError, match=r"^config: .*data\.validation is 0"):
        parse(values)
    assert parse(values | {"data": {"validation": 0.1}}).data.validation == 0.1


@pytest.mark.parametrize(("key", "value"), [("path", "vectors.txt"), ("trainable", False)])
def test_one_hot_input_has_no_vectors(key, value):
    model = {"embedding": {key: value, "features": 0}}
    with pytest.raises(InputError, match=rf"model\.embedding\.{key} is set .*features is 0"):
        parse({"model": model})
    model["embedding"]["features"] = 5
    assert getattr(parse({"model": model}).model.embedding, key) == value


def test_replicates_are_single_trainings_of_neighbouring_seeds():
    config = parse({"seed": 2**32 - 3, "replicates": 3, "epochs": 4})
    single = replicate_configs(config)
    assert [config.seed for config in single] == [2**32 - 3, 2**32 - 2, 2**32 - 1]
    assert differences(single[1], single[0]) == [f"seed: {2**32 - 2}, {2**32 - 3}"]
    assert {(config.replicates, config.epochs) for config in single} == {(1, 4)}
    with pytest.raises(InputError, match=r"the last seed.*less than 4294967296"):
        parse({"seed": 2**32 - 3, "replicates": 4})
    stopping = {"early_stopping": {"patience": 2}, "data": {"validation": 0.1}}
    with pytest.raises(InputError, match=r"early_stopping.patience and replicates are set"):
        parse({"replicates": 2, **stopping})
    with pytest.raises(InputError, match=r"model.engine is 'cudnn' and replicates are set"):
        parse({"replicates": 2, "model": {"engine": "cudnn"}})


def test_pairs_come_with_a_validation_part_and_their_languages():
    translation = {"task": "translation", "early_stopping": {"patience": 2}, "evaluate_every": 9}
    assert parse(translation).data.validation == 0
    with pytest.raises(InputError, match=r"data\.validation 0\.1 .* and other pairs have one"):
        parse({**translation, "data": {"validation": 0.1}})
    languages = {"source": "de", "target": "en"}
    for given in (
        {"data": {"dir": "pairs"}},
        {"translation": languages},
        {"data": {"dir": "pairs"}, "translation": {"source": "de"}},
    ):
        with pytest.raises(InputError, match=r"set both and one of the paths, or none"):
            parse({**translation, **given})
    assert parse({**translation, "data": {"dir": "pairs"}, "translation": languages})


@pytest.mark.parametrize(
    ("task", "key", "value", "readers"),
    [
        ("translation", "model.bidirectional", True, "'classification'"),
        ("translation", "model.regularization.zoneout", 0.1, "'classification', 'language_mod"),
        ("language_modeling", "model.regularization.adversarial", 0.1, "'classification'"),
        ("translation", "data.text", "title", "'classification' and 'language_modeling'"),
        (
            "memory",
            "data.buckets",
            2,
            "'classification', 'tagging', 'time_series' and 'translation'",
        ),
    ],
)
def test_a_key_that_a_task_does_not_read_is_refused_there(task, key, value, readers):
    with pytest.raises(InputError, match=rf"^config: {key} is .*, which is read by .* {readers}"):
        parse({"task": task, **nested(key, value)})


@pytest.mark.parametrize("key", ["translation.beam_size", "memory.length"])
def test_a_section_of_another_task_is_refused(key):
    section = key.split(".")[0]
    with pytest.raises(InputError, match=rf"config\.{section}: is a key of the task '{section}'"):
        parse({section: {key.split(".")[1]: 3}})


@pytest.mark.parametrize("name", ["embedding_dropout", "adversarial"])
def test_one_hot_input_has_no_vectors_to_drop_or_to_move(name):
    model = {"embedding": {"features": 0}, "regularization": {name: 0.1}}
    with pytest.raises(InputError, match=rf"model\.regularization\.{name} is set and .* one-hot"):
        parse({"model": model})


def test_a_translator_has_no_one_hot_input():
    with pytest.raises(InputError, match=r"a translator has no one-hot input"):
        parse({"task": "translation", "model": {"embedding": {"features": 0}}})


@pytest.mark.parametrize("values", [None, 3, "config.py", ["seed"]])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(InputError, match=f"config is a {type(values).__name__}"):
        parse(values)


def test_a_config_is_frozen():
    config = parse({})
    for section, key in ((config, "seed"), (config.data, "take"), (config.data.vocabulary, "size")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(section, key, 7)


def test_differences_are_named_by_key():
    first = parse({"seed": 1, "model": {"cell": "GRUCell"}})
    second = parse({"data": {"vocabulary": {"unit": "character"}}})
    assert differences(first, second) == [
        "seed: 1, 0",
        "data.vocabulary.unit: 'word', 'character'",
        "model.cell: 'GRUCell', 'LSTMCell'",
    ]
    assert differences(first, first) == []


def test_what_is_acknowledged_is_stripped_and_no_difference():
    config = parse({"acknowledged": {"padding_read": " to see it\n", "truncated": "  "}})
    assert config.acknowledged.padding_read == "to see it"
    assert config.acknowledged.truncated == ""
    assert config != parse({})
    assert differences(config, parse({})) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_parses(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = parse(module.get_config().to_dict())
    # A file that changes nothing says nothing.
    assert differences(config, parse({}))
    assert module.__doc__
