"""Generated masks, and values moved from one mask to another."""

import numpy as np
import pytest

from rnnjax.testing.mask_patterns import (
    format_mask,
    generate_masks,
    left_padded,
    move_steps,
    reverse_steps,
    right_padded,
)


def parse_mask(*rows):
    return np.array([[step == "#" for step in row] for row in rows])


def test_small_sizes_generate_all_masks_fullest_first():
    assert [format_mask(mask) for mask in generate_masks(1, 2)] == ["##", "#.", ".#", ".."]
    assert len({format_mask(mask) for mask in generate_masks(2, 3)}) == 64


@pytest.mark.parametrize(("rows", "steps"), [(6, 7), (3, 4), (4, 5), (8, 5)])
def test_larger_sizes_generate_every_pattern_of_rows(rows, steps):
    full, *ragged = generate_masks(rows, steps)
    assert full.all()
    assert {mask.shape for mask in ragged} == {(rows, steps)}
    generated = [tuple(row) for mask in ragged for row in mask]
    half = (steps + 1) // 2
    padded = (True,) * half + (False,) * (steps - half)
    for pattern in ((True,) * steps, (False,) * steps, padded, padded[::-1]):
        assert pattern in generated
    assert any(row[0] and not row[1] and any(row[2:]) for row in generated)


def test_default_size_needs_two_masks():
    assert format_mask(generate_masks(6, 7)[1]).split() == [
        "#######",
        "####...",
        "...####",
        "#.##.#.",
        ".......",
        "...#...",
    ]


def test_steps_move_between_masks_in_order():
    source, target = parse_mask("#.#.", "..##"), parse_mask(".##.", "##..")
    values = np.arange(1, 9).reshape(2, 4)
    assert move_steps(values, source, target).tolist() == [[0, 1, 3, 0], [7, 8, 0, 0]]
    assert reverse_steps(values, source).tolist() == [[3, 2, 1, 4], [5, 6, 8, 7]]
    assert format_mask(right_padded(source)).split() == ["##..", "##.."]
    assert format_mask(left_padded(source)).split() == ["..##", "..##"]
