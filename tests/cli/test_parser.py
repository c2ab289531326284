"""Flags: order, mistakes and suggestions."""

import pytest

from rnnjax.cli.parser import Parser, at_least, path
from rnnjax.errors import InputError


@pytest.fixture
def parser():
    """A parser of flags and texts."""
    parser = Parser("rnnjax test", "Tests.", "[TEXT ...]")
    parser.add_argument("--workdir", type=path)
    parser.add_argument("--seeds", type=at_least(1))
    parser.add_argument("--config.data.take")
    parser.add_argument("--config.epochs")
    return parser


def test_flags_and_texts_stand_in_any_order(parser):
    args = parser.parse(["one", "--seeds=2", "two", "--workdir", "a", "--", "--seeds"])
    assert args.positional == ["one", "two", "--seeds"]
    assert (args.seeds, str(args.workdir)) == (2, "a")
    assert args.arguments == ["one", "--seeds=2", "two", "--workdir", "a", "--", "--seeds"]


def test_paths_expand_home(parser, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(parser.parse(["--workdir=~/runs"]).workdir) == "/home/me/runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs=2"], "--epochs: there is no such flag; did you mean --config.epochs?"),
        (["--take", "2"], r"--take: .*did you mean --config\.data\.take\?"),
        (["--wordkir=a"], "--wordkir: .*did you mean --workdir?"),
        (
            ["--config.data=a"],
            "--config.data is a section.*set one of its keys: --config.data.take",
        ),
        (["--config.take=a"], r"did you mean --config\.data\.take\?"),
        (["--qqqq"], "--qqqq: there is no such flag; `rnnjax test --help` lists the flags"),
        (["-5 degrees"], "an argument that begins with - stands after --"),
        (["--work=a"], "--work: there is no such flag"),  # no abbreviations
        (["--seeds=0"], "--seeds: given 0, expected 1 or more; `rnnjax test --help`"),
        (["--seeds=many"], "--seeds: given 'many', expected an integer"),
        (["--seeds"], "--seeds: expected one argument"),
        (["--workdir="], "--workdir: given '', expected a path"),
        (["--workdir=a\0b"], "NUL character"),
    ],
)
def test_mistakes_are_named(parser, arguments, message):
    with pytest.raises(InputError, match=message):
        parser.parse(arguments)


def test_positional_arguments_are_refused_where_none_is_expected():
    with pytest.raises(InputError, match="given 'a', expected flags alone"):
        Parser("rnnjax test", "Tests.").parse(["a"])


def test_required_flags():
    parser = Parser("rnnjax test", "Tests.")
    parser.add_argument("--workdir", required=True)
    with pytest.raises(InputError, match="are required: --workdir"):
        parser.parse([])
