"""Changes to a batch that must not change its scores: padding, filled rows, masked values.

A batch is a named tuple of arrays with `weights`, `[batch]` or `[batch, time]`. A boolean
`NAME_mask` masks the field NAME; `mask` masks every other field of its shape `[batch, time, ...]`.
Without `mask`, weights of steps that are above zero are the mask of the fields of their shape.
`first`, where there is one, is True where a row begins anew.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError

WEIGHTS, MASK, FIRST, TARGETS = "weights", "mask", "first", "targets"
_ROLES = (WEIGHTS, MASK, FIRST)


def check_fields(batch: Any) -> None:
    """Raises InputError unless a batch is a named tuple with weights."""
    names = getattr(batch, "_fields", ())
    if WEIGHTS not in names:
        described = f"fields {', '.join(names)}" if names else f"the type {type(batch).__name__}"
        raise InputError(
            f"given batches with {described}, expected a NamedTuple of arrays with `weights`, 0 "
            "for rows or steps that only fill a batch"
        )


def is_mask(name: str) -> bool:
    """Returns whether a field is a mask, by its name."""
    return name == MASK or name.endswith(f"_{MASK}")


def data_fields(batch: Any) -> list[str]:
    """Returns the names of the fields that are neither weights, nor masks, nor `first`."""
    return [name for name in batch._fields if name not in _ROLES and not is_mask(name)]


def mask_of(batch: Any, name: str) -> np.ndarray | None:
    """Returns the mask of a field, `[batch, time]`; None if it has no masked steps."""
    shape, mask = np.shape(getattr(batch, name)), getattr(batch, f"{name}_{MASK}", None)
    if mask is None:
        mask = getattr(batch, MASK, None)
        if mask is None and np.ndim(batch.weights) == 2:
            mask = np.asarray(np.asarray(batch.weights) > 0)
    is_masked = mask is not None and len(shape) > 1 and shape[:2] == mask.shape
    return np.asarray(mask) if is_masked else None


def step_mask(batch: Any) -> np.ndarray | None:
    """Returns the mask of the steps that are scored or lead to a score; None without any."""
    return next(
        (mask for name in data_fields(batch)[::-1] if (mask := mask_of(batch, name)) is not None),
        None,
    )


def counted_rows(batch: Any) -> np.ndarray:
    """Returns whether each row has a weight above zero."""
    weights = np.asarray(batch.weights)
    return np.any((weights > 0).reshape(len(weights), -1), axis=1)


def is_stream(batch: Any) -> bool:
    """Returns whether rows continue those of the previous batch."""
    return hasattr(batch, FIRST)


def scale_rows(batch: Any, factors: np.ndarray) -> Any:
    """Returns a batch whose weights are multiplied by a factor for each row."""
    weights = np.asarray(batch.weights)
    factors = factors.astype(weights.dtype).reshape((-1,) + (1,) * (weights.ndim - 1))
    return batch._replace(weights=weights * factors)


def reverse_rows(batch: Any) -> Any:
    """Returns a batch with its rows in reverse order."""
    return type(batch)(*(np.asarray(field)[::-1] for field in batch))


def add_filled_rows(batch: Any, count: int) -> Any:
    """Returns a batch with rows of zeros after its own, weight zero among them."""
    return type(batch)(
        *(
            np.concatenate(
                [field, np.zeros((count, *np.shape(field)[1:]), np.asarray(field).dtype)]
            )
            for field in batch
        )
    )


def pad_steps(batch: Any, count: int) -> Any:
    """Returns a batch with masked steps after those of each masked field.

    Raises:
      NotApplicableError: no field has a mask.
    """
    padded = [name for name in data_fields(batch) if mask_of(batch, name) is not None]
    if not padded:
        raise NotApplicableError("no field of a batch has a mask")
    padded += [name for name in batch._fields if is_mask(name)]
    padded += [name for name in (WEIGHTS, FIRST) if np.ndim(getattr(batch, name, 0)) > 1]

    def pad(field: Any) -> np.ndarray:
        return np.pad(field, [(0, 0), (0, count)] + [(0, 0)] * (np.ndim(field) - 2))

    return batch._replace(**{name: pad(getattr(batch, name)) for name in padded})


def split_steps(batch: Any, position: int) -> list[Any]:
    """Returns the steps of a stream's batch before and after a position as two batches."""
    names = [name for name in batch._fields if np.ndim(getattr(batch, name)) > 1]
    pieces = []
    for steps in (slice(0, position), slice(position, None)):
        piece = batch._replace(**{name: getattr(batch, name)[:, steps] for name in names})
        if steps.start and np.ndim(batch.first) == 1:
            piece = piece._replace(first=np.zeros_like(batch.first))
        pieces.append(piece)
    return pieces


class Replacement:
    """Other values for the entries of a batch, by the values that its fields have."""

    def __init__(self, batches: Sequence[Any], seed: int = 0):
        """Notes the values of each field in a few batches.

        Args:
          batches: at least one.
          seed: of the random values.
        """
        self._generator = np.random.default_rng(seed)
        self._limits = {
            name: (
                min(np.min(getattr(batch, name), initial=0) for batch in batches),
                max(np.max(getattr(batch, name), initial=0) for batch in batches),
            )
            for name in data_fields(batches[0])
        }

    def values(self, batch: Any, name: str) -> np.ndarray:
        """Returns other values for every entry of a field, integers within its limits."""
        field, generator = np.asarray(getattr(batch, name)), self._generator
        if field.dtype == bool:
            return ~field
        if np.issubdtype(field.dtype, np.integer):
            low, high = map(int, self._limits[name])
            span = max(high - low + 1, 2)
            shift = generator.integers(1, span, field.shape)
            return (low + (field - low + shift) % span).clip(low, high).astype(field.dtype)
        return (field + generator.normal(0, 10, field.shape)).astype(field.dtype)

    def masked_values(self, batch: Any, *, nan: bool = False) -> Any:
        """Returns a batch with other values at the masked steps of each field.

        Args:
          batch: to change.
          nan: NaN for the floats of all fields but the targets.
        """
        changes = {}
        for name in data_fields(batch):
            field, mask = np.asarray(getattr(batch, name)), mask_of(batch, name)
            if mask is None:
                continue
            values = self.values(batch, name)
            if nan and name != TARGETS and np.issubdtype(field.dtype, np.floating):
                values = np.full_like(field, np.nan)
            changes[name] = np.where(_expand(mask, field), field, values)
        return batch._replace(**changes)

    def unweighted_targets(self, batch: Any) -> Any:
        """Returns a batch with other targets at the steps of weight zero, if weights are of steps.

        `targets` alone are known to be targets; inputs at such a step may matter.
        """
        targets, weights = getattr(batch, TARGETS, None), np.asarray(batch.weights)
        if targets is None or np.shape(targets)[: weights.ndim] != weights.shape:
            return batch
        values = self.values(batch, TARGETS)
        return batch._replace(targets=np.where(_expand(weights > 0, targets), targets, values))

    def rows(self, batch: Any, rows: np.ndarray, *, unmask: bool = True) -> Any:
        """Returns a batch with other values in some rows.

        Args:
          batch: to change.
          rows: whether each row is changed.
          unmask: and their masks True.
        """
        changes = {}
        for name in data_fields(batch):
            field = np.asarray(getattr(batch, name))
            changes[name] = np.where(_expand(rows, field), self.values(batch, name), field)
        for name in filter(is_mask, batch._fields if unmask else ()):
            mask = np.asarray(getattr(batch, name))
            changes[name] = mask | _expand(rows, mask)
        return batch._replace(**changes)


def _expand(mask: np.ndarray, field: Any) -> np.ndarray:
    """Returns a mask with trailing axes of size 1, to broadcast against a field."""
    return mask.reshape(mask.shape + (1,) * (np.ndim(field) - mask.ndim))
