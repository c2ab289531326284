"""The command line of the kit: python -m rnnjax.testing."""

import json

import pytest

from rnnjax.cells import SimpleCell
from rnnjax.cli.launcher import run_command
from rnnjax.testing import INVARIANTS, conformance


class ManyRows(SimpleCell):
    """A cell that refuses nine rows. Parameters: features * (inputs + features + 1)."""

    def step(self, state, projected):
        if len(state) == 9:
            raise ValueError(f"nine rows: {state.shape}")
        return super().step(state, projected)


@pytest.fixture(autouse=True)
def _few_checks(monkeypatch):
    few = {name: INVARIANTS[name] for name in ("state_structure", "parameter_count")}
    monkeypatch.setattr(conformance, "INVARIANTS", few)


@pytest.mark.parametrize(
    "arguments",
    [["LSTMCell"], ["ConvLSTMCell", "--inputs", "5,5,3"], ["SimpleCell", "--inputs", "2"]],
)
def test_correct_cell_prints_results(arguments, capsys):
    assert run_command("test-cell", arguments) == 0
    *results, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in results] == [
        ["state_structure", "passed"],
        ["parameter_count", "passed"],
    ]
    assert summary.startswith("2 passed in ")


def test_json_is_one_object(capsys):
    flags = ["--json", "--skip", "state_structure=seen before", "--features", "5"]
    assert run_command("test-cell", ["LSTMCell", *flags]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["subject"] == "LSTMCell(features=5)"
    assert verdict["skipped"] == {"state_structure": "seen before"}
    assert verdict["violation"] is None
    assert run_command("test-cell", ["tests.testing.cell_mutants:Miscounted", "--json"]) == 1
    streams = capsys.readouterr()
    assert json.loads(streams.out)["violation"]["check"] == "parameter_count"
    assert streams.err == ""


def test_sizes_are_checked(capsys):
    arguments = ["tests.testing.test_command:ManyRows", "--sizes", "6x7,9x8"]
    assert run_command("test-cell", arguments) == 1
    assert "(9, 4)" in capsys.readouterr().err
    assert run_command("test-cell", arguments[:1]) == 0


def test_violation_exits_with_one(capsys):
    assert run_command("test-cell", ["tests.testing.cell_mutants:Miscounted"]) == 1
    streams = capsys.readouterr()
    assert streams.out.startswith("state_structure")
    assert "violates parameter_count" in streams.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "given 0 cells, expected one"),
        (["LSTMCell", "GRUCell"], "given 2 cells, expected one"),
        (["NoCell"], "given 'NoCell'"),
        (["LSTMCell", "--inputs", "0"], "expected the sizes of the feature axes"),
        (["ConvLSTMCell"], "expected 2 axes of an image and one of channels"),
        (["ConvLSTMCell"], "(with --inputs 3)"),
        (["LSTMCell", "--skip", "vmap=later"], "given 'vmap', expected some of state_structure"),
        (["LSTMCell", "--skip", "state_structure"], "expected a text that says why"),
        (["LSTMCell", "--sizes", "6,7"], "expected rows and steps: 6x7"),
        (["LSTMCell", "--sizes", "0x7"], "expected rows and steps: 6x7"),
    ],
)
def test_invalid_cell_or_inputs_exits_with_two(arguments, message, capsys):
    assert run_command("test-cell", arguments) == 2
    assert message in capsys.readouterr().err


def test_invalid_cell_message_omits_inputs(capsys):
    assert run_command("test-cell", ["GRUCell(kernel_init=3)"]) == 2
    assert "--inputs" not in capsys.readouterr().err


def test_invalid_flag_exits_with_two(capsys):
    assert run_command("test-cell", ["LSTMCell", "--inputs", "5,x"]) == 2
    assert "--inputs" in capsys.readouterr().err
