"""The command `rnnjax lint`: its findings, exit status and errors."""

from pathlib import Path

import pytest
from command_line import run_command

from rnnjax import lint
from rnnjax.errors import InputError
from rnnjax.lint_rules import RULES, TESTED_MISTAKES

ROOT = Path(__file__).resolve().parents[1]
CONFIG = '''
"""{claim}"""
import ml_collections
from rnnjax.config import defaults

def get_config():
    config = ml_collections.ConfigDict(defaults())
    {lines}
    return config
'''


@pytest.fixture
def write(tmp_path):
    """A function that writes a config file of a claim and some lines, and returns its path."""

    def write(*lines, claim="", name="mine.py"):
        path = tmp_path / name
        path.write_text(CONFIG.format(claim=claim, lines="\n    ".join(lines or ["pass"])))
        return path

    return write


def findings(path):
    return [(rule, reason) for _, (rule, _, reason) in lint.lint(path)]


def test_the_configs_and_experiments_here_acknowledge_what_they_mean(monkeypatch):
    monkeypatch.chdir(ROOT)
    experiments = sorted(each.parent for each in Path("experiments").glob("*/experiment.toml"))
    looked_at = [*sorted(Path("configs").glob("*.py")), *experiments]
    listed = [
        (where, rule, reason) for path in looked_at for where, (rule, _, reason) in lint.lint(path)
    ]
    assert [each for each in listed if not each[-1]] == []
    named = [(where, rule) for where, rule, _ in listed]
    assert ("configs/lstm.py", "padding_read") in named
    assert ("experiments/lesson, lstm", "unlike_batch_size") in named


def test_config_and_claim_of_a_file_are_looked_at(write):
    path = write("config.model.mask = False", claim="Test accuracy .9")
    assert findings(path) == [("padding_read", ""), ("bare_claim", "")]


def test_a_reason_for_what_is_not_there_is_found_where_it_was_looked_for(write):
    reasons = ["padding_read", "bare_claim", "test_leak", "few_seeds"]
    path = write(*(f"config.acknowledged.{name} = 'so'" for name in reasons))
    assert findings(path) == [("padding_read", ""), ("bare_claim", "")]
    (_, first), _ = lint.lint(path)
    assert first.message == "is not there; remove its reason (so)"


def test_the_entries_of_an_experiment_are_looked_at_beside_each_other(write, tmp_path):
    path = write("config.data.shuffle = False")
    (tmp_path / "experiment.toml").write_text(f"""
seeds = [0, 1]
[[entry]]
config = "{path}"
flags = ["--config.acknowledged.few_seeds=a first look"]
[[entry]]
name = "larger"
config = "{path}"
flags = ["--config.batch_size=64", "--config.acknowledged.not_shuffled=it is about batches"]
""")
    assert [(where, rule, reason) for where, (rule, _, reason) in lint.lint(tmp_path)] == [
        (f"{tmp_path}, mine", "not_shuffled", ""),
        (f"{tmp_path}, mine", "few_seeds", "a first look"),
        (f"{tmp_path}, larger", "not_shuffled", "it is about batches"),
        (f"{tmp_path}, larger", "few_seeds", ""),
        (f"{tmp_path}, larger", "unlike_batch_size", ""),
        (f"{tmp_path}, larger", "chosen_on_test", ""),
    ]


def test_lines_and_status_as_a_user_types_it(write, tmp_path):
    write("config.model.mask = False", "config.data.shuffle = False", name="wrong.py")
    write("config.data.shuffle = False", "config.acknowledged.not_shuffled = 'so'", name="meant.py")
    ended = run_command("lint", "wrong.py", "meant.py", folder=tmp_path)
    assert ended.status == 1
    lines = ended.out.splitlines()
    assert lines[0].startswith("wrong.py: padding_read: model.mask is False")
    assert lines[1].startswith("wrong.py: not_shuffled: data.shuffle is False")
    assert lines[2:] == ["meant.py: not_shuffled: acknowledged: so"]
    ended = run_command("lint", "meant.py", folder=tmp_path)
    assert (ended.status, ended.err) == (0, "")


def test_the_rules_are_told(tmp_path):
    ended = run_command("lint", "--rules", folder=tmp_path)
    assert ended.status == 0
    for rule in (rule for place in RULES.values() for rule in place):
        assert f"\n  {rule.__name__}\n    {(rule.__doc__ or '').splitlines()[0]}\n" in ended.out
    for mistake in TESTED_MISTAKES:
        assert mistake.mistake in ended.out
        assert mistake.test in ended.out


def test_what_cannot_be_looked_at_is_refused(write, tmp_path):
    with pytest.raises(
        InputError, match=r"absent\.py': there is no such file; Expected the path of a config"
    ):
        lint.lint(tmp_path / "absent.py")
    with pytest.raises(InputError, match=r"mine\.py: expected a Python file .* NameError: "):
        lint.lint(write("config.x = y"))
    with pytest.raises(
        InputError, match=r"mine\.py: config\.acknowledged\.paddin_read: there is no such"
    ):
        lint.lint(write("config.acknowledged.paddin_read = 'so'"))
    with pytest.raises(InputError, match=r"experiment\.toml: cannot be read"):
        lint.lint(tmp_path)
    ended = run_command("lint", folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: given nothing, expected config files or folders")
