"""Flags of the keys of a config, and their `--help`."""

import pytest

from rnnjax.cli.config_flags import add_config_flags, config_overrides, load_config_flags
from rnnjax.cli.parser import Parser
from rnnjax.config import key_paths
from rnnjax.config.keys import key_sections
from rnnjax.config.task_schema import task_names
from rnnjax.errors import InputError


def overrides(*arguments):
    """Returns the overrides that arguments ask for."""
    parser = Parser("rnnjax train", "Trains.")
    add_config_flags(parser)
    return config_overrides(parser.parse(arguments))


def test_values_have_the_type_of_their_key():
    assert overrides(
        "--config.epochs=3",
        "--config.learning_rate=1e-2",
        "--config.model.cell=GRUCell",
        "--config.data.fallback=",
        "--config.model.mask=false",
    ) == {
        "epochs": 3,
        "learning_rate": 0.01,
        "model.cell": "GRUCell",
        "data.fallback": "",
        "model.mask": False,
    }


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--config.model.mask"], True),
        (["--config.model.mask", "False"], False),
        (["--config.model.mask=1"], True),
        (["--config.model.mask", "--config.seed=1"], True),
    ],
)
def test_switches(arguments, value):
    assert overrides(*arguments)["model.mask"] is value


def test_a_config_of_flags():
    config = load_config_flags(["--config=gru", "--config.model.features=5"])
    assert (config.model.cell, config.model.features) == ("GRUCell", 5)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.epochs=many", r"config\.epochs: given 'many' \(str\), it should be a valid int"),
        ("--config.epochs=0", r"config\.epochs: given 0 \(int\), it should be greater"),
        (
            "--config.schedule=steep",
            r"config\.schedule: given 'steep' \(str\), it should be 'const",
        ),
        ("--config.model.mask=maybe", r"config\.model\.mask: given 'maybe'"),
    ],
)
def test_refused_values(flag, message):
    with pytest.raises(InputError, match=message):
        load_config_flags(["--config=gru", flag])


@pytest.fixture
def foreign_task(tmp_path, monkeypatch):
    """The class path of a task from outside the package, and a config file that names it."""
    (tmp_path / "task_of_flags.py").write_text(
        "from rnnjax.config.schema import ConfigSection\n"
        "from rnnjax.config.task_schema import TaskSchema\n"
        "class Section(ConfigSection):\n    width: int = 3\n    is_wide: bool = False\n"
        "class Mine:\n    schema = TaskSchema(name='mine', section=Section)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "wide.py"
    path.write_text("def get_config():\n    return {'task': 'task_of_flags:Mine'}\n")
    return "task_of_flags:Mine", str(path)


def test_flags_of_a_task_from_outside_the_package(foreign_task):
    task, path = foreign_task
    for arguments in (["--config", path], ["--config=gru", f"--config.task={task}"]):
        flags = "--config.mine.width=5", "--config.mine.is_wide", "--config.data.take=0"
        values = overrides(*arguments, *flags)
        assert (values["mine.width"], values["mine.is_wide"], values["data.take"]) == (5, True, 0)
    config = load_config_flags([f"--config={path}", "--config.mine.width=5"])
    assert config.model_dump()["mine"] == {"width": 5, "is_wide": False}
    with pytest.raises(InputError, match=r"config\.mine\.width: given 'broad' \(str\), it"):
        load_config_flags([f"--config={path}", "--config.mine.width=broad"])
    with pytest.raises(InputError, match=r"widht: .* did you mean --config\.mine\.width\?"):
        overrides("--config", path, "--config.mine.widht=5")


def test_flags_of_a_task_need_the_task(foreign_task):
    for arguments in (
        [],
        ["--config=gru"],
        [f"--config={foreign_task[1]}", "--config.task=memory"],
    ):
        with pytest.raises(InputError, match=r"--config\.mine\.width: there is no such flag"):
            overrides(*arguments, "--config.mine.width=5")


def test_every_key_has_a_meaning():
    keys = [key for section in key_sections() for key in section.keys]
    assert sorted(key.path for key in keys) == sorted(
        {path for task in task_names() for path in key_paths(task)}
    )
    assert [key.path for key in keys if not key.meaning.endswith(".")] == []
    assert [section.path for section in key_sections() if not section.meaning] == []


def test_help_lists_keys_by_section_with_default_and_meaning():
    parser = Parser("rnnjax train", "Trains.")
    add_config_flags(parser)
    text = parser.format_help()
    top, data = text.index("\nconfig:\n"), text.index("\nconfig.data:\n")
    assert top < text.index("--config.epochs INTEGER") < data
    assert data < text.index("--config.data.take INTEGER") < text.index("\nconfig.model:\n")
    assert "--config.schedule constant|linear|cosine" in text
    for section in key_sections():
        for key in section.keys:
            start = text.index(f"--config.{key.path} ")
            text_of_key = " ".join(text[start : start + 800].split())
            assert f"{key.meaning} Default: {key.default!r}." in text_of_key
