"""The command line of the kit: python -m rnnjax.testing."""

import pytest

from rnnjax.cli.launcher import run_command
from rnnjax.testing import INVARIANTS, conformance


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
    results = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert results == [["state_structure", "passed"], ["parameter_count", "passed"]]


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
