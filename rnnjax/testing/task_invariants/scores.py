"""Invariants of loss and scores: weights, filled rows, masks, batch size, order and padding."""

import re
from typing import Any

import jax
import numpy as np

from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.batch_changes import (
    Replacement,
    add_filled_rows,
    counted_rows,
    is_stream,
    pad_steps,
    reverse_rows,
    scale_rows,
    step_mask,
)
from rnnjax.testing.task_harness import TaskHarness
from rnnjax.testing.task_invariant import task_invariant
from rnnjax.testing.task_invariants.comparison import (
    TOLERANCE,
    assert_same_loss,
    assert_same_metrics,
    assert_same_outputs,
    is_stacked,
    require_mask,
)

_FILLED = 3
"""Rows or steps that are added to a batch."""
_DRAWS = 3
"""Changes of the same entries to different values."""
_RANDOM_PRIMITIVES = r"\b(random_bits|random_gamma|threefry2x32|rng_bit_generator|rng_uniform)\b"


@task_invariant(
    "an evaluation draws no random numbers",
    "`evaluate_batch` passes `rngs`, so that dropout is on.",
)
def evaluation_without_dropout(harness: TaskHarness) -> None:
    inputs = harness.params, harness.batch, harness.initial_carry(harness.batch)
    program = str(jax.make_jaxpr(harness.random_task.evaluate_batch)(*inputs))
    if drawn := re.search(_RANDOM_PRIMITIVES, program):
        raise ViolationError(f"evaluate_batch draws random numbers, by {drawn[1]}")


@task_invariant(
    "the loss is the weighted mean over a batch, and the sums are weighted",
    "The loss is divided by the number of rows, or the sums are taken over all rows, instead of "
    "over the weights.",
)
def weighted_mean(harness: TaskHarness) -> None:
    batch = harness.batch
    rows = _alternate_rows(batch)
    loss = harness.loss(batch)
    weight = float(np.sum(batch.weights))
    if not abs(loss.sums["weight"] - weight) <= TOLERANCE * weight:
        raise ViolationError(
            f"the sum 'weight' is {loss.sums['weight']:.7g}, expected the sum of the weights, "
            f"{weight:.7g}"
        )
    double = 1 + rows
    parts = [harness.loss(scale_rows(batch, factors)) for factors in (rows, ~rows, double)]
    totals = [part.loss * part.sums["weight"] for part in parts]
    _assert_sum("loss times weight", totals)
    _assert_sum("the sum 'loss'", [part.sums["loss"] for part in parts])
    for part in parts:
        accuracy = part.sums.get("accuracy", 0.0)
        if not -TOLERANCE <= accuracy <= part.sums["weight"] * (1 + TOLERANCE):
            raise ViolationError(
                f"the sum 'accuracy' is {accuracy:.7g}, expected at least 0 and at most the sum "
                f"of the weights, {part.sums['weight']:.7g}"
            )


@task_invariant(
    "a row of weight zero counts nothing, whatever it holds",
    "A loss or a score is a mean over all rows, or normalization mixes the rows of a batch.",
)
def zero_weight_rows(harness: TaskHarness) -> None:
    rows = _alternate_rows(harness.batch)
    batch = scale_rows(harness.batch, ~rows)
    loss, replacement = harness.loss(batch), Replacement(harness.batches)
    outputs, _ = harness.evaluate(batch)
    for _ in range(_DRAWS):
        changed = replacement.rows(batch, rows)
        context = "after a change to rows of weight zero"
        assert_same_loss(harness.loss(changed), loss, context)
        changed_outputs, _ = harness.evaluate(changed)
        _assert_same_counted(changed_outputs, outputs, batch, context)


@task_invariant(
    "filled rows added to a batch change neither loss nor gradients",
    "A mean over rows, or statistics over rows that include those that only fill a batch.",
)
def filled_rows(harness: TaskHarness) -> None:
    _require_deterministic_loss(harness)
    batch = harness.batch
    added = add_filled_rows(batch, _FILLED)
    context = f"with {_FILLED} filled rows added"
    assert_same_loss(harness.loss(added), harness.loss(batch), context)


@task_invariant(
    "filled rows of a batch of the test split change no metric",
    "compute_metrics counts rows of weight zero, whose outputs it should leave out.",
)
def filled_rows_in_metrics(harness: TaskHarness) -> None:
    if is_stream(harness.batch):
        raise NotApplicableError("in a stream, a row of weight zero may lead to later steps")
    split = harness.partial_dataset.test
    replacement = Replacement(harness.batches)
    expected = harness.metrics(split, harness.evaluate_split(split))
    count = 0
    for _ in range(_DRAWS):

        def change(batch: Any) -> Any:
            nonlocal count
            rows = ~counted_rows(batch)
            count += int(rows.sum())
            return replacement.rows(batch, rows)

        metrics = harness.metrics(split, harness.evaluate_split(split, change))
        assert_same_metrics(metrics, expected, "after a change to filled rows")
    if not count:
        raise NotApplicableError("no batch of the test split has a filled row")


@task_invariant(
    "the metric 'rows' is the number of examples of the split",
    "It counts batches, or rows of weight zero as well.",
)
def metric_rows(harness: TaskHarness) -> None:
    split = harness.partial_dataset.test
    rows = harness.metrics(split, harness.evaluate_split(split)).get("rows")
    if rows != len(split):
        raise ViolationError(f"the metric 'rows' is {rows}, expected {len(split)}, of the split")


@task_invariant(
    "masked steps reach neither loss nor gradients nor scores",
    "The mask is not passed to the network, or to the loss; or values at masked steps are "
    "multiplied by zero where `jnp.where` would also remove a NaN.",
)
def masked_values(harness: TaskHarness) -> None:
    replacement, batch = Replacement(harness.batches), harness.batch
    if step_mask(batch) is None:
        raise NotApplicableError("no field of a batch has a mask")
    loss = harness.loss(batch)
    changes = [replacement.masked_values(batch) for _ in range(_DRAWS)]
    changes += [replacement.unweighted_targets(batch) for _ in range(_DRAWS)]
    context = "with other values at masked steps"
    for changed in changes:
        assert_same_loss(harness.loss(changed), loss, context)
    nan_context = "with NaN at masked steps"
    assert_same_loss(harness.loss(replacement.masked_values(batch, nan=True)), loss, nan_context)
    split = harness.dataset.test
    expected = harness.metrics(split, harness.evaluate_split(split))
    for change in (
        replacement.masked_values,
        replacement.unweighted_targets,
        lambda batch: replacement.masked_values(batch, nan=True),
    ):
        outputs = harness.evaluate_split(split, change)
        assert_same_metrics(harness.metrics(split, outputs), expected, context)


@task_invariant(
    "more padding changes no score",
    "The network pools over padding, divides by the padded length, or takes the last step instead "
    "of the last one that the mask has.",
)
def padding(harness: TaskHarness) -> None:
    require_mask(harness)
    batch, context = harness.batch, f"with {_FILLED} more masked steps"
    padded = pad_steps(batch, _FILLED)
    outputs, padded_outputs = harness.evaluate(batch)[0], harness.evaluate(padded)[0]
    _assert_same_counted(padded_outputs, outputs, batch, context)
    if not harness.draws:
        assert_same_loss(harness.loss(padded), harness.loss(batch), context)


@task_invariant(
    "the order of the rows of a batch changes no score",
    "A row depends on its position or on its neighbour.",
)
def row_order(harness: TaskHarness) -> None:
    batch, context = harness.batch, "with the rows in reverse order"
    reverse = reverse_rows(batch)
    outputs, reverse_outputs = harness.evaluate(batch)[0], harness.evaluate(reverse)[0]
    size = len(batch.weights)
    restored = jax.tree.map(
        lambda leaf: leaf[::-1] if is_stacked(leaf, size) else leaf, reverse_outputs
    )
    _assert_same_counted(restored, outputs, batch, context)
    if not harness.draws:
        assert_same_loss(harness.loss(reverse), harness.loss(batch), context)


@task_invariant(
    "the batch size changes no metric",
    "Normalization mixes the rows of a batch, or metrics are means of the means of batches.",
)
def batch_size(harness: TaskHarness) -> None:
    require_mask(harness)
    if is_stream(harness.batch):
        raise NotApplicableError(
            "a stream is cut into as many rows as a batch has, so that rows begin elsewhere"
        )
    split, size = harness.dataset.test, harness.config.batch_size
    expected = harness.metrics(split, harness.evaluate_split(split))
    for changed_size in sorted({1, size + 1, 2 * size + 1} - {size}):
        split = harness.make_dataset(batch_size=changed_size).test
        metrics = harness.metrics(split, harness.evaluate_split(split))
        context = f"in batches of {changed_size} instead of {size}"
        assert_same_metrics(metrics, expected, context)


def _alternate_rows(batch: Any) -> np.ndarray:
    """Returns every other row that counts as a mask of rows."""
    counted = np.flatnonzero(counted_rows(batch))
    if len(counted) < 2:
        raise NotApplicableError("no training batch has two rows that count")
    return np.isin(np.arange(len(batch.weights)), counted[1::2])


def _assert_sum(name: str, values: list[float]) -> None:
    """Asserts that the last value is the sum of the first two, the first of them twice."""
    expected = 2 * values[0] + values[1]
    if not abs(values[2] - expected) <= TOLERANCE * max(abs(value) for value in values):
        raise ViolationError(
            f"{name} is {values[2]:.7g} if half of the rows have twice their weight, expected "
            f"{expected:.7g}, twice that of these rows alone and once that of the others"
        )


def _assert_same_counted(actual: Any, expected: Any, batch: Any, context: str) -> None:
    """Asserts that outputs agree in the rows that count and at the steps of the mask.

    Further rows and steps of the actual ones are left out.
    """
    rows, mask = counted_rows(batch), step_mask(batch)

    def select(leaf: Any, like: Any) -> Any:
        if np.ndim(leaf) != np.ndim(like):
            return leaf
        leaf = leaf[tuple(slice(size) for size in np.shape(like))] if np.ndim(like) else leaf
        if not is_stacked(like, len(rows)):
            return leaf
        if mask is not None and np.ndim(like) > 1 and np.shape(like)[:2] == mask.shape:
            return leaf[mask & rows[:, None]]
        return leaf[rows]

    if jax.tree.structure(actual) != jax.tree.structure(expected):
        raise ViolationError(f"evaluate_batch returns another structure {context}")
    selected, reference = (jax.tree.map(select, tree, expected) for tree in (actual, expected))
    assert_same_outputs("outputs", selected, reference, context)


def _require_deterministic_loss(harness: TaskHarness) -> None:
    if harness.draws:
        raise NotApplicableError("the loss draws random numbers, others for another shape")
