"""The kit as a researcher meets it: right cells pass, a report, an error, and pytest."""

import ast
import unittest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import rnnjax.testing
from rnnjax.cells import AbstractCell, Cell, ConvLSTMCell, GRUCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.testing import INVARIANTS, CellError, cell_checks, check_cell

from .mistakes_in_cells import RowNumber
from .mistakes_in_draws import Held
from .mistakes_in_engines import HalfHeld, NeverReverse
from .mistakes_in_training import Spare

pytestmark = pytest.mark.usefixtures("rank_promotion")

DROPOUT = {name for name in INVARIANTS if name.startswith("dropout")}
FLAX = {*DROPOUT, "parameters", "output_part", "project"}


class SpiralState(NamedTuple):
    """A state with a complex part and one that counts."""

    spiral: Any
    steps: Any


class SpiralCell(Cell):
    """s' = a s + x with complex a, and a count of steps. Parameters: features * (inputs + 2)."""

    def setup(self):
        self.input = self.dense(self.features)
        self.angle = self.param("angle", nn.initializers.ones, (self.features,), self.param_dtype)

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return SpiralState(jax.lax.complex(zeros, zeros), jnp.zeros(input_shape[:-1], jnp.int32))

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        turned = 0.8 * jnp.exp(1j * self.angle) * state.spiral
        spiral = turned + projected.astype(state.spiral.real.dtype)
        shown = jnp.abs(spiral + 3) / (1 + state.steps[..., None])
        return SpiralState(spiral, state.steps + 1), shown.astype(projected.dtype)


class ManyTypesCell(SpiralCell):
    """A right cell with parts of several dtypes in a dict. Parameters: features * (inputs + 2)."""

    def initial_state(self, input_shape):
        return {
            "spiral": super().initial_state(input_shape),
            "coarse": jnp.ones((*input_shape[:-1], 2), jnp.bfloat16),
            "seen": jnp.zeros(input_shape[:-1], bool),
        }

    def step(self, state, projected):
        spiral, output = super().step(state["spiral"], projected)
        return {**state, "spiral": spiral, "seen": jnp.ones_like(state["seen"])}, output


class ForeignCell(AbstractCell):
    """Somebody's cell: none of the attributes that the cells here share, no projection."""

    size: int

    def initial_state(self, input_shape):
        return {"memory": jnp.zeros((*input_shape[:-1], self.size))}

    @nn.compact
    def step(self, state, projected):
        both = jnp.concatenate([state["memory"], projected], axis=-1)
        memory = nn.tanh(nn.Dense(self.size)(both))
        return {"memory": memory}, nn.Dense(2)(memory)


RIGHT: dict[str, tuple[nn.Module, Any, set[str]]] = {
    "SimpleCell": (SimpleCell(4), 3, DROPOUT),
    "flax GRUCell": (nn.GRUCell(4), 3, FLAX),
    "complex": (SpiralCell(4), 3, {*DROPOUT, "output_part"}),
    "of many dtypes": (ManyTypesCell(4), 3, {*DROPOUT, "output_part"}),
    "foreign": (
        ForeignCell(4),
        3,
        FLAX - {"project"} | {"param_dtype", "derivative", "bfloat16"},
    ),
}
"""Cells that are right, what they read, and the checks that say nothing about them.

One of each kind; that all of the package pass is the business of tests/cells/test_zoo.py."""


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_cell_passes(name):
    cell, inputs, skipped = RIGHT[name]
    report = check_cell(cell, inputs)
    assert [line.check for line in report.lines] == list(INVARIANTS)
    assert {line.check for line in report.lines if line.result == "skipped"} == skipped
    assert {line.result for line in report.lines} == {"passed", "skipped"}
    assert 0 < report.largest < 0.2


CHECKS = cell_checks(SimpleCell(features=4))


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_check_is_a_test_of_pytest(check, request):
    assert f"[{check.name}]" in request.node.name
    check()
    assert check.name not in DROPOUT, "pytest shows what a check skips as skipped"


class FrozenString(SimpleCell):
    """A name where a tuple of names belongs."""

    frozen: ClassVar[Any] = "recurrent_kernel"


class Untouchable(SimpleCell):
    """A cell of which nothing can be asked."""

    def setup(self):
        raise RuntimeError("touched")

    def initial_state(self, input_shape):
        raise RuntimeError("touched")


def test_checks_are_made_without_computing_anything():
    checks = cell_checks(Untouchable(4))
    assert [str(check) for check in checks] == list(INVARIANTS)
    with pytest.raises(CellError, match="RuntimeError was raised: touched") as caught:
        checks[0]()
    assert caught.value.__cause__
    assert isinstance(caught.value.__cause__.__cause__, RuntimeError)


def test_a_report_is_a_table_that_says_why_something_was_skipped():
    skip = {name: "only these are looked at" for name in INVARIANTS if name != "contract"}
    report = str(check_cell(GRUCell(4, reset_after=False), skip=skip)).splitlines()
    assert report[0] == "GRUCell(features=4, reset_after=False)"
    assert report[1].split()[:2] == ["contract", "passed"]
    assert report[1].endswith(INVARIANTS["contract"].says)
    assert report[2].split(maxsplit=2) == ["streams", "skipped", "only these are looked at"]
    assert len(report) == 2 + len(INVARIANTS)
    assert report[-1].startswith(f"1 passed, {len(INVARIANTS) - 1} skipped in ")


def test_a_check_that_is_not_to_be_made_skips_with_the_reason():
    check = cell_checks(Untouchable(4), skip={"contract": "known"})[0]
    with pytest.raises(unittest.SkipTest, match="known"):
        check()


def broken(cell: nn.Module, name: str) -> CellError:
    """Returns the error of one check."""
    (check,) = (each for each in cell_checks(cell) if each.name == name)
    with pytest.raises(CellError) as caught:
        check()
    return caught.value


def test_an_error_says_what_is_broken_where_and_by_how_much():
    error = broken(HalfHeld(4), "empty_rows")
    assert isinstance(error, AssertionError)
    assert error.check == "empty_rows"
    lines = str(error).splitlines()
    assert lines[0] == "HalfHeld(features=4) breaks empty_rows"
    assert lines[1] == f"invariant: {INVARIANTS['empty_rows'].says}"
    assert lines[2].startswith("broken:    final state.cell[0, ")
    assert "; it must be exact)" in lines[2]
    assert lines[3] == "where:     engine fused, forward"
    assert lines[4:] == ["smallest:  1 row, 1 step, masked so (# is real):", "."]


@pytest.mark.parametrize(
    ("cell", "name", "size", "mask"),
    [
        (HalfHeld(4), "empty_rows", (1, 1), "."),
        (NeverReverse(4), "reverse", (1, 2), "##"),
        (RowNumber(4), "rows", (2, 2), "##\n##"),
    ],
)
def test_the_case_that_is_reported_is_the_smallest(cell, name, size, mask):
    error = broken(cell, name)
    assert (error.case.rows, error.case.steps) == size
    assert str(error).endswith(f"\n{mask}")
    assert error.case.engine == ("scan" if cell == RowNumber(4) else "fused")
    assert error.case.reverse == (name == "reverse")


def test_what_a_few_steps_cannot_show_is_not_tried_on_them():
    # One step from zeros gives a recurrent kernel no gradient, in the best of cells.
    error = broken(Spare(4), "learning")
    assert "parameters.spare is zero" in str(error)
    assert "at:        6 rows, 7 steps" in str(error)


def test_a_cell_that_draws_is_asked_about_it():
    report = {line.check: line for line in check_cell(Held(4)).lines}
    assert report["dropout_held"].result == "passed"
    assert report["dropout_fresh"].says == "a step draws nothing"


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((SimpleCell,), {}, "as an instance"),
        ((nn.Dense(3),), {}, "cell is a Dense"),
        ((SimpleCell(4), 0), {}, "inputs: given 0"),
        ((SimpleCell(4), ()), {}, "inputs: given ()"),
        ((nn.ConvLSTMCell(4, (3,)), 3), {}, "expected a size for each: inputs=(5, 3)"),
        ((SimpleCell(4, dtype=jnp.bfloat16),), {}, "has the dtype bfloat16"),
        ((SimpleCell(4, param_dtype=jnp.float64),), {}, "has the param_dtype float64"),
        ((FrozenString(4),), {}, "expected a tuple of names: ('recurrent_kernel',)"),
        ((SimpleCell(4),), {"skip": {"masks": ""}}, "skip: given 'masks', expected some of cont"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments, options, words):
    for entry in (cell_checks, check_cell):
        with pytest.raises(InputError) as caught:
            entry(*arguments, **options)
        assert words in str(caught.value)


def test_what_a_cell_refuses_is_no_broken_invariant():
    with pytest.raises(InputError, match="expected 2 axes of an image"):
        check_cell(ConvLSTMCell(4))


def test_the_kit_needs_no_test_runner():
    for path in Path(rnnjax.testing.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert "pytest" not in {name.split(".")[0] for name in [*names, module]}, path


class Sensitive(SimpleCell):
    """A right cell that makes a thousand roundings of one."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, jnp.sin(1e3 * output)


def test_a_rounding_is_no_mistake_even_if_the_cell_enlarges_it():
    check_cell(Sensitive(4), skip={"derivative": "it bends within a finite difference"})
