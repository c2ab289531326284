"""Entry points of the conformance kit: correct cells, reports, errors, and pytest."""

import ast
import json
import unittest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import rnnjax.testing
from rnnjax.cells import AbstractCell, Cell, ConvLSTMCell, GRUCell, SimpleCell, Zoneout
from rnnjax.errors import InputError
from rnnjax.testing import (
    INVARIANTS,
    CellError,
    cell_checks,
    cell_verdict,
    check_cell,
    conformance,
)

from .cell_mutants import RowIndex
from .dropout_mutants import SequenceDropout
from .engine_mutants import NeverReverse, UnmaskedCell
from .training_mutants import UnusedParameter

pytestmark = pytest.mark.usefixtures("implicit_promotion")

DROPOUT = {name for name in INVARIANTS if name.startswith("dropout")}
DETERMINISTIC = {*DROPOUT, "counters"}
PROJECTION = {"projection", "projection_sizes", "zoneout_parts"}
FLAX = {*DETERMINISTIC, *PROJECTION, "parameter_count", "output_part"}


class SpiralState(NamedTuple):
    """A state with a complex part and a counter."""

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
        rotated = 0.8 * jnp.exp(1j * self.angle) * state.spiral
        spiral = rotated + projected.astype(state.spiral.real.dtype)
        output = jnp.abs(spiral + 3) / (1 + state.steps[..., None])
        return SpiralState(spiral, state.steps + 1), output.astype(projected.dtype)


class ManyTypesCell(SpiralCell):
    """A correct cell with a dict of several dtypes. Parameters: features * (inputs + 2)."""

    def initial_state(self, input_shape):
        return {
            "spiral": super().initial_state(input_shape),
            "coarse": jnp.ones((*input_shape[:-1], 2), jnp.bfloat16),
            "visited": jnp.zeros(input_shape[:-1], bool),
        }

    def step(self, state, projected):
        spiral, output = super().step(state["spiral"], projected)
        return {**state, "spiral": spiral, "visited": jnp.ones_like(state["visited"])}, output


class CustomCell(AbstractCell):
    """A user's cell: without the attributes of `Cell`, and without a projection."""

    size: int

    def initial_state(self, input_shape):
        return {"memory": jnp.zeros((*input_shape[:-1], self.size))}

    @nn.compact
    def step(self, state, projected):
        joined = jnp.concatenate([state["memory"], projected], axis=-1)
        memory = nn.tanh(nn.Dense(self.size)(joined))
        return {"memory": memory}, nn.Dense(2)(memory)


CORRECT: dict[str, tuple[nn.Module, Any, set[str]]] = {
    "SimpleCell": (SimpleCell(4), 3, DETERMINISTIC),
    "flax GRUCell": (nn.GRUCell(4), 3, FLAX),
    "complex": (SpiralCell(4), 3, {*DETERMINISTIC, "output_part", "newton"}),
    "several dtypes": (ManyTypesCell(4), 3, {*DROPOUT, "output_part", "newton"}),
    "custom": (
        CustomCell(4),
        3,
        FLAX - PROJECTION | {"param_dtype", "finite_differences", "bfloat16", "bfloat16_gradients"},
    ),
}
"""Correct cells of each kind, the sizes of their inputs, and the checks that do not apply.

All cells of the package are checked in tests/cells/test_conformance.py."""


@pytest.mark.parametrize("name", CORRECT)
def test_correct_cell_passes(name):
    cell, inputs, skipped = CORRECT[name]
    report = check_cell(cell, inputs, quick=True)
    assert [result.check for result in report.results] == list(INVARIANTS)
    statuses = {result.check: result.status for result in report.results}
    assert {check for check, status in statuses.items() if status == "not applicable"} == skipped
    assert set(statuses.values()) == {"passed", "not applicable"}
    assert report.largest_deviation
    assert 0 < report.largest_deviation < 0.2


CHECKS = [
    check
    for check in cell_checks(SimpleCell(features=4), quick=True)
    if check.name in ("state_structure", "masked_outputs", "dropout_rate")
]
"""Some checks of a cell that passes all of them; one does not apply."""


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_check_runs_as_pytest_case(check, request):
    assert f"[{check.name}]" in request.node.name
    check()
    assert check.name not in DROPOUT, "a check that does not apply is skipped"


class FrozenString(SimpleCell):
    """`frozen` is a string instead of a tuple of names."""

    frozen: ClassVar[Any] = "recurrent_kernel"


class SkipsByName(SimpleCell):
    """`conformance_skips` is a string instead of reasons by name."""

    conformance_skips: ClassVar[Any] = "vmap"


class RaisingCell(SimpleCell):
    """A cell that raises in every method."""

    def setup(self):
        raise RuntimeError("called")

    def initial_state(self, input_shape):
        raise RuntimeError("called")


def test_cell_checks_compute_nothing():
    checks = cell_checks(RaisingCell(4))
    assert [str(check) for check in checks] == list(INVARIANTS)
    with pytest.raises(CellError, match="RuntimeError was raised: called") as error:
        checks[0]()
    assert error.value.__cause__
    assert isinstance(error.value.__cause__.__cause__, RuntimeError)


def test_report_is_a_table_with_reasons_for_skipping():
    skip = {name: "not of interest" for name in INVARIANTS if name != "state_structure"}
    report = str(check_cell(GRUCell(4, reset_after=False), skip=skip)).splitlines()
    assert report[0] == "GRUCell(features=4, reset_after=False)"
    assert report[1].split()[:2] == ["state_structure", "passed"]
    assert report[1].endswith(INVARIANTS["state_structure"].statement)
    assert report[2].split(maxsplit=2) == ["rng_stream", "skipped", "not of interest"]
    assert len(report) == 1 + 2 * len(INVARIANTS)
    assert report[1 + len(INVARIANTS)].startswith(f"1 passed, {len(INVARIANTS) - 1} skipped in ")
    assert report[-1] == "not checked: serialization (not of interest)"


class Surrogate(SimpleCell):
    """A cell whose gradient is no derivative, which it declares."""

    conformance_skips: ClassVar[Any] = {"finite_differences": "surrogate gradient"}

    def step(self, state, projected):
        new, output = super().step(state, projected)
        smooth = new + 0.1 * (new - jax.lax.stop_gradient(new))
        return smooth, smooth.astype(output.dtype)


@pytest.mark.parametrize("cell", [Surrogate(4), Zoneout(Surrogate(4), 0.2)], ids=["plain", "inner"])
def test_class_declares_skips(cell):
    status = {check.name: check.skip_reason for check in cell_checks(cell)}
    assert status.pop("finite_differences") == "surrogate gradient"
    assert not any(status.values())
    (check,) = (
        check
        for check in cell_checks(cell, skip={"finite_differences": "of the caller"})
        if check.skip_reason
    )
    assert check.result().message == "of the caller"


def test_undeclared_surrogate_gradient_is_a_violation():
    class Undeclared(Surrogate):
        conformance_skips: ClassVar[Any] = {}

    error = violate(Undeclared(4), "finite_differences")
    assert "a surrogate gradient is skipped by name" in str(error)


def test_skips_stand_in_the_verdict(monkeypatch):
    names = ("state_structure", "finite_differences", "parameter_count")
    monkeypatch.setattr(conformance, "INVARIANTS", {name: INVARIANTS[name] for name in names})
    report = cell_verdict(Surrogate(4))
    verdict = json.loads(json.dumps(report.as_dict()))
    assert verdict["verdict"] == "passed"
    assert verdict["skipped"] == {"finite_differences": "surrogate gradient"}
    assert [check["status"] for check in verdict["checks"]] == [
        "passed",
        "skipped",
        "not applicable",
    ]
    assert "1 passed, 1 skipped, 1 not applicable in" in report.summary()
    assert report.summary().endswith("not checked: finite_differences (surrogate gradient)")


def test_verdict_of_violation_is_data():
    report = cell_verdict(UnmaskedCell(4), quick=True)
    verdict = json.loads(json.dumps(report.as_dict()))
    assert verdict["verdict"] == "failed"
    statuses = [check["status"] for check in verdict["checks"]]
    assert statuses.index("failed") == statuses.index("not run") - 1
    violation = verdict["violation"]
    assert violation["check"] == "empty_rows"
    assert violation["causes"] == [INVARIANTS["empty_rows"].cause]
    assert (violation["engine"], violation["reverse"]) == ("fused", False)
    assert violation["smallest"] == {
        "is_minimized": True,
        "cell": "UnmaskedCell(features=4)",
        "inputs": [3],
        "rows": 1,
        "steps": 1,
        "mask": ["."],
    }
    assert violation["picture"][-1].endswith("  X")
    assert str(report.error) in str(report)


def test_skipped_check_raises_skip_test_with_reason():
    check = cell_checks(RaisingCell(4), skip={"state_structure": "surrogate"})[0]
    with pytest.raises(unittest.SkipTest, match="surrogate"):
        check()


def violate(cell: nn.Module, name: str) -> CellError:
    """Runs one check, which fails, and returns its error."""
    (check,) = (check for check in cell_checks(cell) if check.name == name)
    with pytest.raises(CellError) as error:
        check()
    return error.value


def test_error_names_invariant_difference_and_case():
    error = violate(UnmaskedCell(4), "empty_rows")
    assert isinstance(error, AssertionError)
    assert error.check == "empty_rows"
    lines = str(error).splitlines()
    assert lines[0] == "UnmaskedCell(features=4) violates empty_rows"
    assert lines[1] == f"invariant: {INVARIANTS['empty_rows'].statement}"
    assert lines[2].startswith("violation: final state.cell[0, ")
    assert "; it must be exact)" in lines[2]
    assert " ".join(" ".join(lines[3:5]).split()) == f"usually: {INVARIANTS['empty_rows'].cause}"
    assert lines[5] == "where:     engine fused, forward"
    assert lines[6:8] == ["smallest:  1 row, 1 step, mask (# is real):", "."]
    assert lines[8] == "differs:   at 6 rows, 7 steps"


@pytest.mark.parametrize(
    ("cell", "name", "size", "mask"),
    [
        (UnmaskedCell(4), "empty_rows", (1, 1), "."),
        (NeverReverse(4), "reverse", (1, 2), "##"),
        (RowIndex(4), "row_independence", (2, 2), "##\n##"),
    ],
)
def test_error_reports_smallest_case(cell, name, size, mask):
    error = violate(cell, name)
    assert (error.case.rows, error.case.steps) == size
    assert f"mask (# is real):\n{mask}\ndiffers:" in str(error)
    assert error.case.engine == ("scan" if cell == RowIndex(4) else "fused")
    assert error.case.reverse == (name == "reverse")


def test_check_of_default_size_is_not_minimized():
    # One step from a zero state gives no recurrent kernel a gradient.
    error = violate(UnusedParameter(4), "trainable_parameters")
    assert "parameters.spare is zero" in str(error)
    assert "at:        6 rows, 7 steps" in str(error)


def test_dropout_checks_apply_to_random_cell():
    results = {
        result.check: result for result in check_cell(SequenceDropout(4), quick=True).results
    }
    assert results["dropout_per_sequence"].status == "passed"
    assert results["dropout_per_step"].message == "a step draws nothing"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SimpleCell,), {}, "as an instance"),
        ((nn.Dense(3),), {}, "cell is a Dense"),
        ((SimpleCell(4), 0), {}, "inputs: given 0"),
        ((SimpleCell(4), ()), {}, "inputs: given ()"),
        ((nn.ConvLSTMCell(4, (3,)), 3), {}, "expected a size for each: inputs=(5, 3)"),
        ((SimpleCell(4, dtype=jnp.bfloat16),), {}, "has the dtype bfloat16"),
        ((SimpleCell(4, param_dtype=jnp.float64),), {}, "has the param_dtype float64"),
        ((FrozenString(4),), {}, "expected a tuple of names: ('recurrent_kernel',)"),
        ((SimpleCell(4),), {"skip": {"masks": "a"}}, "skip: given 'masks', expected some of stat"),
        ((SimpleCell(4),), {"skip": {"vmap": " "}}, "given 'vmap' for the reason ' ', expected a"),
        ((SkipsByName(4),), {}, "SkipsByName.conformance_skips: given 'vmap', expected reasons"),
        ((SimpleCell(4),), {"sizes": [(0, 3)]}, "sizes: given [(0, 3)]"),
    ],
)
def test_invalid_cell_raises_input_error(arguments, options, message):
    for entry in (cell_checks, check_cell):
        with pytest.raises(InputError) as error:
            entry(*arguments, **options)
        assert message in str(error.value)


def test_input_error_of_cell_is_no_violation():
    with pytest.raises(InputError, match="expected 2 axes of an image"):
        check_cell(ConvLSTMCell(4))


def test_kit_does_not_import_pytest():
    for path in Path(rnnjax.testing.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert "pytest" not in {name.split(".")[0] for name in [*names, module]}, path


class SensitiveCell(SimpleCell):
    """A correct cell that amplifies rounding errors a thousandfold."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        new, output = super().step(state, projected)
        return new, jnp.sin(1e3 * output)


def test_amplified_rounding_is_no_violation():
    check_cell(
        SensitiveCell(4),
        skip={"finite_differences": "too nonlinear for a finite difference"},
        quick=True,
    )
