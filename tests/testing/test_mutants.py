"""Mutation tests of the conformance kit: the intended check detects each mutant.

Every branch of a check that can fail has been seen to fail, for a mutant of a cell or of the layer;
the message of a mutant identifies the branch.

Many mistakes violate several invariants, as swapped gates violate `loop_values` and
`loop_gradients`. The table names the first, since checks are ordered from cause to consequence.
"""

import jax
import jax.numpy as jnp
import pytest

from rnnjax.cells import SimpleCell
from rnnjax.kernels import newton
from rnnjax.kernels.masking import zero_masked
from rnnjax.layers import rnn
from rnnjax.testing import INVARIANTS, CellError, cell_checks, check_cell

from . import (  # noqa: F401  registers their mutants
    draw_mutants,
    matrix_mutants,
    number_mutants,
    size_mutants,
    training_mutants,
    zoneout_mutants,
)
from .cell_mutants import CorrectCell
from .dropout_mutants import FusedDropout, SequenceDropout, StepDropout
from .engine_mutants import FusedCell, LeakyIntegrator
from .matrix_mutants import DecayingMemory
from .mutants import MUTANTS, PLANTED

pytestmark = pytest.mark.usefixtures("implicit_promotion")

CORRECT = (
    CorrectCell,
    SequenceDropout,
    StepDropout,
    FusedCell,
    LeakyIntegrator,
    FusedDropout,
    DecayingMemory,
)


@pytest.mark.parametrize("name", MUTANTS)
def test_check_detects_mutant(name):
    cell, check, message, *_ = MUTANTS[name]
    with pytest.raises(CellError) as error:
        check_cell(cell, quick=True)
    assert error.value.check == check, str(error.value)
    assert message in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize("cell", CORRECT)
def test_correct_cell_passes(cell):
    check_cell(cell(features=4), quick=True)


def test_every_check_has_a_mutant():
    mutants = [*MUTANTS.values(), *PLANTED.values()]
    assert set(INVARIANTS) == {mutant.check for mutant in mutants}


def _is_inputs(values):
    return values.shape[-1:] == (3,)


def _unmasked_inputs(values, mask):
    return values if _is_inputs(values) else zero_masked(values, mask)


def _leaked_gradient(values, mask):
    masked = zero_masked(values, mask)
    if not _is_inputs(values):
        return masked
    # A zero whose gradient reaches the previous step.
    zeros = jnp.pad(values - jax.lax.stop_gradient(values), ((0, 0), (1, 0), (0, 0)))
    return masked + zeros[:, :-1]


@pytest.mark.parametrize(
    ("function", "mutation", "check", "message"),
    [
        ("where_mask", lambda mask, new, old: new, "empty_rows", ""),
        ("default_state", lambda cell, inputs: jnp.ones((len(inputs), 4)), "initial_state", ""),
        ("zero_masked", lambda values, mask: values, "masked_outputs", ""),
        ("zero_masked", _unmasked_inputs, "masked_values", "because the inputs at masked steps"),
        ("zero_masked", _leaked_gradient, "masked_gradients", "gradient of inputs"),
    ],
)
def test_check_detects_mutant_of_layer(monkeypatch, function, mutation, check, message):
    monkeypatch.setattr(rnn, function, mutation)
    with pytest.raises(CellError) as error:
        check_cell(SimpleCell(4), quick=True)
    assert error.value.check == check
    assert message in str(error.value)


def _largest_of_batch(values):
    return jnp.full(len(values), jnp.abs(values).max())


@pytest.mark.parametrize(
    ("function", "mutation", "message"),
    [
        ("_reset", lambda problem, states, resets: states, "by the engine newton, as by the scan"),
        ("_largest", _largest_of_batch, "because the inputs of the first row are NaN"),
        ("merge_steps", lambda values: values.reshape(-1, *values.shape[2:])[::-1], "by the scan"),
        ("_apply", lambda jacobians, vectors: jnp.zeros_like(vectors), "gradient of"),
    ],
)
def test_check_detects_mutant_of_newton(monkeypatch, function, mutation, message):
    monkeypatch.setattr(newton, function, mutation)
    checks = {check.name: check for check in cell_checks(SimpleCell(4), quick=True)}
    with pytest.raises(CellError) as error:
        checks["newton"]()
    assert message in str(error.value)
