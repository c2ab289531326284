"""Invariants of the carry, the state that rows of a stream pass from batch to batch."""

from typing import Any

import jax
import numpy as np

from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.batch_changes import is_stream, split_steps, step_mask
from rnnjax.testing.task_harness import TaskHarness
from rnnjax.testing.task_invariant import task_invariant
from rnnjax.testing.task_invariants.comparison import (
    assert_same_loss,
    assert_same_outputs,
    is_stacked,
)


@task_invariant(
    "the carry does not matter where a row begins anew",
    "The carried state is not replaced by the initial one where `first` is True.",
)
def carry_reset(harness: TaskHarness) -> None:
    _require_carry(harness)
    batch = harness.batch._replace(first=np.ones_like(harness.batch.first))
    context = "with another carry, though every row begins anew"
    expected, zero = harness.loss(batch), harness.initial_carry(batch)
    assert_same_loss(harness.loss(batch, _random_carry(zero)), expected, context)
    outputs, carry = harness.evaluate(batch)
    random_outputs, next_carry = harness.evaluate(batch, _random_carry(zero))
    assert_same_outputs("outputs", random_outputs, outputs, context)
    assert_same_outputs("the next carry", next_carry, carry, context)


@task_invariant(
    "a row that goes on depends on the carry",
    "The carry of the previous batch is dropped, in training or in an evaluation.",
)
def carry_read(harness: TaskHarness) -> None:
    _require_carry(harness)
    batch = harness.batch._replace(first=np.zeros_like(harness.batch.first))
    carry = _random_carry(harness.initial_carry(batch))
    losses = [harness.loss(batch, start).loss for start in (None, carry)]
    if losses[0] == losses[1]:
        raise ViolationError("the loss is the same for another carry, though no row begins anew")
    outputs = [jax.tree.leaves(harness.evaluate(batch, start)) for start in (None, carry)]
    if all(np.array_equal(*pair) for pair in zip(*outputs, strict=True)):
        raise ViolationError(
            "evaluate_batch returns the same for another carry, though no row begins anew"
        )


@task_invariant(
    "a batch read in two pieces gives the outputs and the carry of one pass",
    "The next carry is that of another step, or is not returned by `evaluate_batch`.",
)
def pieces(harness: TaskHarness) -> None:
    _require_carry(harness)
    batch = harness.batch
    mask = step_mask(batch)
    if mask is None or mask.shape[1] < 2:
        raise NotApplicableError("a batch has a single step")
    expected, expected_carry = harness.evaluate(batch)
    results, carry = [], harness.initial_carry(batch)
    for piece in split_steps(batch, mask.shape[1] // 2):
        outputs, carry = harness.evaluate(piece, carry)
        results.append(outputs)
    context = "of a batch read in two pieces"
    assert_same_outputs("the carry", carry, expected_carry, context)

    def join(first: Any, second: Any, single_pass: Any) -> Any:
        if np.ndim(single_pass) == 0:
            return first + second
        if (
            is_stacked(single_pass, len(batch.weights))
            and np.shape(single_pass)[1:2] == mask.shape[1:]
        ):
            return np.concatenate([first, second], axis=1)
        return single_pass  # an output of the rows, not of the steps

    joined = jax.tree.map(join, *results, expected)
    assert_same_outputs("outputs", joined, expected, context)


def _require_carry(harness: TaskHarness) -> None:
    """Raises NotApplicableError unless rows of a batch go on where the previous one ended."""
    batch = harness.batch
    if not is_stream(batch):
        raise NotApplicableError("batches have no field `first`, so that no row goes on")
    size = len(batch.weights)
    if not any(is_stacked(leaf, size) for leaf in jax.tree.leaves(harness.initial_carry(batch))):
        raise ViolationError("batches have a field `first`, and initial_carry no state of the rows")


def _random_carry(carry: Any) -> Any:
    """Returns random numbers in the shapes of a carry; integers stay as they are."""
    generator = np.random.default_rng(0)

    def draw(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf)
        if not np.issubdtype(values.dtype, np.inexact):
            return values
        return generator.standard_normal(values.shape).astype(values.dtype)

    return jax.tree.map(draw, carry)
