"""Invariants of a data set: its batches follow from seed and step, and hold every example once."""

from collections import Counter
from typing import Any

import numpy as np

from rnnjax.data.dataset import Split
from rnnjax.testing.assertions import NotApplicableError, ViolationError, bits_differ, named_leaves
from rnnjax.testing.batch_changes import counted_rows, data_fields, is_stream, mask_of
from rnnjax.testing.task_harness import TaskHarness
from rnnjax.testing.task_invariant import task_invariant


@task_invariant(
    "the batch of a seed and a step is always the same",
    "The order comes from a counter, or from a generator that an earlier batch has advanced; make "
    "it a function of seed, epoch and step alone.",
)
def pure_batches(harness: TaskHarness) -> None:
    seed = harness.config.seed
    first, second = harness.dataset, harness.make_dataset()
    for name in ("train", "validation", "test"):
        split, twin = getattr(first, name), getattr(second, name)
        if split is None:
            continue
        steps = range(min(2 * split.steps_per_epoch, split.steps_per_epoch + 4))
        batches = [split.batch_at(seed, step) for step in steps]
        for step in reversed(steps):
            context = f"batch_at({seed}, {step}) of the {name} split"
            _assert_same(f"the second call of {context}", split.batch_at(seed, step), batches[step])
            twin_batch = twin.batch_at(seed, step)
            _assert_same(f"{context} of a second data set", twin_batch, batches[step])
            group = split.batch_group_at(seed, step, 1)
            grouped = type(batches[step])(*(field[0] for field in group.batches))
            _assert_same(
                f"the first batch of batch_group_at({seed}, {step}, 1)", grouped, twin_batch
            )


@task_invariant(
    "every batch has the shapes of an empty batch",
    "Batches are as long as their longest sequence; pad them to a few lengths, which "
    "`empty_batches` lists, since each shape is compiled.",
)
def few_shapes(harness: TaskHarness) -> None:
    for name in ("train", "validation", "test"):
        split = getattr(harness.dataset, name)
        if split is None:
            continue
        listed = {_shapes(batch) for batch in split.empty_batches()}
        for batch in split.empty_batches():
            if np.any(batch.weights):
                raise ViolationError(f"an empty batch of the {name} split has weights above zero")
        for step in range(split.steps_per_epoch):
            shapes = _shapes(split.batch_at(0, step))
            if shapes not in listed:
                raise ViolationError(
                    f"batch_at(0, {step}) of the {name} split has the shapes {_describe(shapes)}, "
                    f"expected one of the {len(listed)} of empty_batches()"
                )


@task_invariant(
    "an epoch has every example once",
    "The last batch is dropped or filled with examples of weight one, or steps_per_epoch is off "
    "by one.",
)
def every_example_once(harness: TaskHarness) -> None:
    for name in ("train", "validation", "test"):
        split = getattr(harness.dataset, name)
        if split is None:
            continue
        batches = _epoch(split, harness.config.seed)
        rows = sum(int(counted_rows(batch).sum()) for batch in batches)
        steps = sum(int(np.count_nonzero(batch.weights)) for batch in batches)
        if len(split) not in (rows, steps):
            raise ViolationError(
                f"an epoch of the {name} split has {rows} rows and {steps} entries of non-zero "
                f"weight, expected {len(split)}, its length"
            )
    if harness.config.model.mask and not is_stream(harness.batch):
        expected = _count_examples(harness.dataset.test)
        counts = _count_examples(
            harness.make_dataset(batch_size=harness.config.batch_size + 1).test
        )
        if expected != counts:
            missing = sum((expected - counts).values())
            raise ViolationError(
                f"{missing} of the {len(harness.dataset.test)} examples of the test split are not "
                "there when a batch has one row more"
            )


@task_invariant(
    "a seed changes the order or the content of the training batches",
    "The seed of `batch_at` is ignored, or another one is used.",
)
def seeded_order(harness: TaskHarness) -> None:
    config = harness.config
    if config.task_schema.reads("data.shuffle") and not config.data.shuffle:
        raise NotApplicableError("config.data.shuffle is False")
    epochs = []
    for seed in (config.seed, config.seed + 1):
        split = harness.make_dataset(seed=seed).train
        epochs.append([leaf for batch in _epoch(split, seed) for leaf in batch])
    if len(epochs[0]) == len(epochs[1]) and not bits_differ(*epochs):
        raise ViolationError(
            f"all training batches of the seeds {config.seed} and {config.seed + 1} are the same"
        )


def _epoch(split: Split, seed: int) -> list[Any]:
    return [split.batch_at(seed, step) for step in range(split.steps_per_epoch)]


def _count_examples(split: Split) -> Counter[bytes]:
    """Counts the examples of a split by their content, masked steps left out."""
    examples: Counter[bytes] = Counter()
    for batch in _epoch(split, 0):
        masks = {name: mask_of(batch, name) for name in data_fields(batch)}
        for row in np.flatnonzero(counted_rows(batch)):
            content = []
            for name, mask in masks.items():
                field = np.asarray(getattr(batch, name))[row]
                content.append((field if mask is None else field[mask[row]]).tobytes())
            examples[b"|".join(content)] += 1
    return examples


def _shapes(batch: Any) -> tuple[tuple[tuple[int, ...], str], ...]:
    return tuple((np.shape(field), str(np.asarray(field).dtype)) for field in batch)


def _describe(shapes: tuple[tuple[tuple[int, ...], str], ...]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in shapes)


def _assert_same(name: str, actual: Any, expected: Any) -> None:
    for field, values in named_leaves(expected).items():
        if bits_differ(getattr(actual, field), values):
            raise ViolationError(f"{name} has another `{field}`")
