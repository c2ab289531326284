"""Splits that have the classes in equal shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from rnnjax.data.batches import Indices, permutation
from rnnjax.data.sequences import narrow
from rnnjax.errors import InputError


def stratified_split(
    labels: Sequence[Any] | Shaped[np.ndarray, " rows"],
    share: float,
    *seeds: int,
    key: str = "config.data.validation",
) -> tuple[Indices, Indices]:
    """Draws a share of the rows of each class; returns the other rows and those, both rising.

    The number of drawn rows is that of all rows times the share, rounded. Each class has its share
    of them, rounded down or up by the largest remainders (equal ones at random), and always leaves
    a row.

    Args:
      labels: of the rows, strings or numbers.
      share: of the rows to draw; 0 for none.
      *seeds: of the draw, as for `permutation`.
      key: of the config that sets the share, for messages.

    Raises:
      InputError: a share above 0 draws no row.
    """
    # Of many rows, few arrays of their number fit in memory at once.
    order = permutation(len(labels), *seeds)
    drawn_labels = np.asarray(labels)[order]
    # By class, and within it in the order of the draw.
    grouped = narrow(np.argsort(drawn_labels, kind="stable"))
    drawn_labels = drawn_labels[grouped]
    is_first = np.append(True, drawn_labels[1:] != drawn_labels[:-1])
    starts = np.flatnonzero(is_first[: len(order)])
    first, sizes = grouped[starts], np.diff(starts, append=len(order))
    exact = share * sizes
    counts = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    # By the remainder, and where equal by the first row in the order of the draw.
    candidates = np.lexsort((first, counts - exact))
    candidates = candidates[counts[candidates] < sizes[candidates] - 1]
    missing = round(share * len(labels)) - int(counts.sum())
    counts[candidates[: max(missing, 0)]] += 1
    if share and not counts.any():
        raise InputError(
            f"{key}: {share} of {len(labels)} rows of {len(sizes)} classes is none, if each "
            "class leaves one row; expected a larger share, or more rows"
        )
    is_drawn = np.zeros(len(order), bool)
    for start, count in zip(starts, counts, strict=True):
        is_drawn[order[grouped[start : start + count]]] = True
    return narrow(np.flatnonzero(~is_drawn)), narrow(np.flatnonzero(is_drawn))
