"""The schema of configs: accepted values, refused values and their messages."""

import importlib.util
import re
from pathlib import Path

import pydantic
import pytest

from rnnjax.config import Config, defaults, differences, parse, replicate_configs
from rnnjax.errors import InputError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.py"))


def nested(key, value):
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
    assert parse(defaults()) == Config() == parse({})


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


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learning_rat", 0.1, ["there is no such key", "did you mean", "config.learning_rate"]),
        ("data.vocabulary.sizes", 9, ["there is no such key", "config.data.vocabulary.size"]),
        ("features", 9, ["there is no such key", "config.model.features"]),
        ("zzzz", 9, ["there is no such key", "rnnjax/config/schema.py"]),
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
        ("optimizer.epsilon", 0.0, ["0.0", "greater than 0"]),
        ("model.layers", 10**6, ["given 1000000", "less than or equal to 128"]),
        ("task", "chess", ["'chess'", "'classification'"]),
        ("data.text", "body", ["'body'", "'title+description'"]),
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


def test_a_value_is_shown_in_short():
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
    with pytest.raises(InputError, match=r"data\.validation is 0\.1, which is read by the task"):
        parse({**translation, "data": {"validation": 0.1}})
    languages = {"source": "de", "target": "en"}
    for given in (
        {"data": {"dir": "pairs"}},
        {"translation": languages},
        {"data": {"dir": "pairs"}, "translation": {"source": "de"}},
    ):
        with pytest.raises(InputError, match=r"set all three, or none"):
            parse({**translation, **given})
    assert parse({**translation, "data": {"dir": "pairs"}, "translation": languages})


@pytest.mark.parametrize(
    ("task", "key", "value", "readers"),
    [
        ("classification", "translation.beam_size", 3, "'translation'"),
        ("classification", "data.memory.length", 3, "'memory'"),
        ("translation", "model.bidirectional", True, "'classification'"),
        ("translation", "model.regularization.zoneout", 0.1, "'classification' and 'language_mod"),
        ("language_modeling", "model.regularization.adversarial", 0.1, "'classification'"),
        ("translation", "data.text", "title", "'classification' and 'language_modeling'"),
        ("memory", "data.buckets", 2, "'classification' and 'translation'"),
    ],
)
def test_a_key_that_a_task_does_not_read_is_refused_there(task, key, value, readers):
    with pytest.raises(InputError, match=rf"^config: {key} is .*, which is read by .* {readers}"):
        parse({"task": task, **nested(key, value)})


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
    config = Config()
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
    assert config != Config()
    assert differences(config, Config()) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_parses(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = parse(module.get_config().to_dict())
    # A file that changes nothing says nothing.
    assert differences(config, Config())
    assert module.__doc__
