"""A picture in text of the entries that differ: a line for each row, a mark for each step."""

import itertools
from collections.abc import Mapping

import numpy as np

MAX_MARKS, MAX_LINES = 60, 16
"""Marks of a line, and lines; a mark stands for several steps where there are more."""

LEGEND = ". equal, X differs"
MAX_WIDTH = 90

SEQUENCES = ("outputs", "gradient of inputs", "project", "read", "coefficients")
"""Names of the arrays `[rows, steps, ...]`; other arrays of a batch are `[rows, ...]`."""

PARAMETERS = "gradient of parameters"


def draw_differences(
    differences: Mapping[str, np.ndarray], ranks: Mapping[str, int], mask: np.ndarray
) -> list[str]:
    """Draws where arrays differ, as lines of text; none if there is nothing to show.

    Arrays of a batch stand side by side, a line for each row and a mark for each step, those that
    differ first where there is not room for all. If none of them differs, the first array that does
    is drawn by itself.

    Args:
      differences: for each array the entries that differ.
      ranks: number of axes of the arrays that have an axis of steps, by name.
      mask: `[rows, steps]`; a masked step that is equal is drawn as '-'.
    """
    columns = _batch_columns(differences, ranks)
    if any(marks.any() for marks in columns.values()):
        return _draw_columns(columns, mask)
    for name, entries in differences.items():
        if entries.any():
            grid = entries.reshape(-1, entries.shape[-1]) if entries.ndim else entries.reshape(1, 1)
            return [f"{name} {list(entries.shape)}  ({LEGEND})", *_draw_lines(grid)]
    return []


def _batch_columns(
    differences: Mapping[str, np.ndarray], ranks: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a batch as `[rows, steps]`, or `[rows, 1]` without steps."""
    columns: dict[str, np.ndarray] = {}
    for name, entries in differences.items():
        if name.startswith(PARAMETERS) or entries.ndim == 0 or len(entries) == 0:
            continue
        label = next((label for label in SEQUENCES if name.startswith(label)), "")
        has_steps = bool(label) and entries.ndim == ranks.get(label)
        # The parts of a state share a column.
        label = label or name.partition(".")[0]
        shape = entries.shape[:2] if has_steps else (len(entries), 1)
        marks = np.asarray(entries.reshape(*shape, -1).any(axis=-1))
        if label in columns and columns[label].shape == marks.shape:
            marks = marks | columns[label]
        columns[label] = marks
    count = max(map(len, columns.values()), default=0)
    order = dict.fromkeys([*SEQUENCES, *columns])
    return {
        label: columns[label]
        for label in order
        if label in columns and len(columns[label]) == count
    }


def _draw_columns(columns: dict[str, np.ndarray], mask: np.ndarray) -> list[str]:
    blocks, room = {}, MAX_WIDTH
    for label in sorted(columns, key=lambda label: not columns[label].any()):
        marks = columns[label]
        masked = ~mask if marks.shape == mask.shape else np.zeros_like(marks)
        steps = marks.shape[1]
        header = label if steps == 1 else f"{label}, {steps} steps"
        block = [header, *_draw_lines(marks, masked)]
        room -= max(map(len, block)) + 2
        if room > 0 or not blocks:
            blocks[label] = block
    blocks = [blocks[label] for label in columns if label in blocks]
    widths = [max(map(len, block)) for block in blocks]
    lines = [
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in itertools.zip_longest(*blocks, fillvalue="")
    ]
    rows = len(next(iter(columns.values())))
    labels = [f"row {row}" for row in range(min(rows, MAX_LINES))]
    if rows != len(mask):
        labels = [f"{label} of the {rows} compared" for label in labels]
    labels = ["", *labels, *[""] * (len(lines) - 1 - len(labels))]
    width = max(map(len, labels))
    legend = f"{LEGEND}, - masked" if any("-" in line for line in lines[1:]) else LEGEND
    body = [f"{label:{width}}  {line}".rstrip() for label, line in zip(labels, lines, strict=True)]
    return [f"({legend})", *body]


def _draw_lines(marks: np.ndarray, masked: np.ndarray | None = None) -> list[str]:
    """Returns a line for each row of marks; several steps share a mark where there are many."""
    masked = np.zeros_like(marks) if masked is None else masked
    steps = marks.shape[1]
    group = -(-steps // MAX_MARKS)
    starts = np.arange(0, steps, group)
    differs = np.logical_or.reduceat(marks, starts, axis=1)
    hidden = np.logical_and.reduceat(masked, starts, axis=1)
    text = np.where(differs, "X", np.where(hidden, "-", "."))
    lines = ["".join(row) for row in text[:MAX_LINES]]
    note = f"  each mark is {group} steps" if group > 1 else ""
    if len(text) > MAX_LINES:
        rest = int(differs[MAX_LINES:].any(axis=1).sum())
        lines.append(f"{len(text) - MAX_LINES} more, of which {rest} differ{note}")
    elif note:
        lines.append(note.strip())
    return lines
