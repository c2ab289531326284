"""Invariants of predictions: each stands for itself, and together they give the recorded scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.data.dataset import Split, TextDataset
from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.batch_changes import TARGETS, counted_rows, data_fields, mask_of
from rnnjax.testing.task_harness import TaskHarness, quiet
from rnnjax.testing.task_invariant import task_invariant
from rnnjax.testing.task_invariants.comparison import TOLERANCE, require_mask

_TEXTS = 12
"""Texts that are predicted together and one by one."""


@task_invariant(
    "the prediction for a text does not depend on the other texts",
    "Predictions come in the order of the batches, not of the texts; or a text is padded as text.",
)
def separate_predictions(harness: TaskHarness) -> None:
    run, texts = harness.trained_run, _test_texts(harness)[:_TEXTS]
    together = _predict(harness, texts)
    if len(together) != len(texts):
        raise ViolationError(f"{len(together)} predictions for {len(texts)} texts")
    for index, text in enumerate(texts):
        with quiet():
            (alone,) = run.predict([text])
        if not _is_same(alone, together[index]):
            raise ViolationError(
                f"the prediction for text {index + 1} of {len(texts)} is "
                f"{_shorten(together[index])}, and for the same text alone {_shorten(alone)}"
            )


@task_invariant(
    "the accuracy of an evaluation follows from the predictions",
    "Prediction prepares its input in another way than evaluation, or in another order.",
)
def accuracy_of_predictions(harness: TaskHarness) -> None:
    require_mask(harness)
    run, file = harness.trained_run, harness.file
    with quiet():
        try:
            if file is None:
                texts = _test_texts(harness)
                values = [prediction.values for prediction in run.predictions(texts)]
                dataset = harness.task_class.make_dataset(
                    run.config, harness.corpus, run.vocabulary
                )
                split, recorded = dataset.test, run.result["test"].get("accuracy")
            else:
                values = [prediction.values for prediction in run.predictions(file)]
                split = run.task.read_split(run, file)
                recorded = run.evaluate(file).get("accuracy")
        except InputError as error:
            raise NotApplicableError(str(error)) from None
    unknown = NotApplicableError("no entry of the predictions is a class, or there is no accuracy")
    if recorded is None:  # of forecasts, which are predictions of other windows
        raise unknown
    if len(values) != len(split):
        raise ViolationError(f"{len(values)} predictions for {len(split)} examples")
    targets = _targets(split)
    names = tuple(run.data.get("classes", ()))
    accuracies = {
        key: accuracy
        for key in values[0]
        if (accuracy := _accuracy([row[key] for row in values], targets, names)) is not None
    }
    if not accuracies:
        raise unknown
    if not any(abs(accuracy - recorded) <= TOLERANCE for accuracy in accuracies.values()):
        listed = ", ".join(f"{accuracy:.7g} by {key!r}" for key, accuracy in accuracies.items())
        raise ViolationError(
            f"the accuracy of the predictions is {listed}, expected {recorded:.7g}"
        )


def _test_texts(harness: TaskHarness) -> list[str]:
    """Returns the texts of the test split.

    Raises:
      NotApplicableError: there are none.
    """
    dataset, texts = harness.dataset, ()
    if isinstance(dataset, TextDataset):
        texts = dataset.texts(harness.config.data, "test")
    if not texts:
        raise NotApplicableError(
            "the test split has no texts to predict; give a file, if the task reads one (--data)"
        )
    return list(texts)


def _predict(harness: TaskHarness, texts: Sequence[str]) -> Any:
    """Returns the predictions for texts.

    Raises:
      NotApplicableError: the task predicts nothing of texts.
    """
    try:
        with quiet():
            return harness.trained_run.predict(texts)
    except InputError as error:
        raise NotApplicableError(str(error)) from None


def _is_same(value: Any, reference: Any) -> bool:
    """Returns whether two predictions agree up to rounding."""
    if isinstance(value, Mapping):
        return set(value) == set(reference) and all(
            _is_same(value[key], reference[key]) for key in value
        )
    if isinstance(value, str) or value is None:
        return value == reference
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
        return len(value) == len(reference) and all(map(_is_same, value, reference))
    value, reference = np.asarray(value), np.asarray(reference)
    if value.shape != reference.shape:
        return False
    if value.dtype.kind not in "fc":
        return np.array_equal(value, reference)
    limit = TOLERANCE * max(float(np.abs(value).max(initial=0.0)), 1e-3)
    return bool((np.abs(value - reference) <= limit).all())


def _targets(split: Split) -> list[np.ndarray]:
    """Returns the target classes of each example, in the order of the examples.

    Raises:
      NotApplicableError: it is not clear which field has them, or they are no whole numbers.
    """
    first: Any = split.batch_at(0, 0)
    candidates = [
        name
        for name in data_fields(first)
        if mask_of(first, name) is None and np.ndim(getattr(first, name)) == 1
    ]
    name = TARGETS if hasattr(first, TARGETS) else candidates[0] if len(candidates) == 1 else ""
    if not name or not np.issubdtype(np.asarray(getattr(first, name)).dtype, np.integer):
        raise NotApplicableError("the targets are no classes")
    rows: list[tuple[int, np.ndarray]] = []
    indices_at = getattr(split, "indices_at", None)
    for step in range(split.steps_per_epoch):
        batch: Any = split.batch_at(0, step)
        counted = np.flatnonzero(counted_rows(batch))
        numbers = indices_at(0, step) if indices_at else len(rows) + np.arange(len(counted))
        targets, weights = np.asarray(getattr(batch, name)), np.asarray(batch.weights)
        for number, row in zip(numbers, counted, strict=True):
            target = targets[row]
            rows.append((int(number), target[weights[row] > 0] if target.ndim else target[None]))
    return [target for _, target in sorted(rows, key=lambda entry: entry[0])]


def _accuracy(
    values: Sequence[Any], targets: Sequence[np.ndarray], names: Sequence[str]
) -> float | None:
    """Returns the share of targets that predictions hit; None if they are no classes."""
    rows = [value if isinstance(value, list | tuple) else [value] for value in values]
    if sum(map(len, rows)) != sum(map(len, targets)):
        return None
    hits: list[bool] = []
    for row, target in zip(rows, targets, strict=True):
        classes = [names.index(entry) if entry in names else entry for entry in row]
        if any(isinstance(c, bool) or not isinstance(c, int | np.integer) for c in classes):
            return None
        # Predictions of another length are those of another example.
        is_aligned = len(classes) == len(target)
        hits += (np.equal(classes, target) if is_aligned else np.zeros(len(target), bool)).tolist()
    return float(np.mean(hits))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
