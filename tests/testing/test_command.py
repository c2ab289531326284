"""The kit as it is typed: python -m rnnjax.testing."""

import pytest

from rnnjax.testing import INVARIANTS, check
from rnnjax.testing.__main__ import main


@pytest.fixture(autouse=True)
def _few_checks(monkeypatch):
    few = {name: INVARIANTS[name] for name in ("contract", "parameters")}
    monkeypatch.setattr(check, "INVARIANTS", few)


@pytest.mark.parametrize(
    "arguments",
    [["LSTMCell"], ["ConvLSTMCell", "--inputs", "5,5,3"], ["SimpleCell", "--inputs", "2"]],
)
def test_a_right_cell_is_listed(arguments, capsys):
    assert main(arguments) == 0
    names = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert names == [["contract", "passed"], ["parameters", "passed"]]


def test_a_broken_invariant_ends_with_one(capsys):
    assert main(["tests.testing.mistakes_in_cells:Miscounted"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("contract")
    assert "breaks parameters" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NoCell"], "given 'NoCell'"),
        (["LSTMCell", "--inputs", "0"], "expected the sizes of the feature axes"),
        (["ConvLSTMCell"], "expected 2 axes of an image and one of channels"),
        (["ConvLSTMCell"], "(with --inputs 3)"),
    ],
)
def test_what_cannot_be_checked_ends_with_two(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_inputs_are_named_only_where_a_cell_has_refused_them(capsys):
    assert main(["GRUCell(kernel_init=3)"]) == 2
    assert "--inputs" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["LSTMCell", "--inputs", "5,x"]])
def test_what_cannot_be_read_ends_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m rnnjax.testing" in capsys.readouterr().err
