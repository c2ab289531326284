"""Stratified splits."""

import collections
import re

import numpy as np
import pytest

from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError

LABELS = ["a"] * 40 + ["b"] * 10 + ["c"]


def count(labels, rows):
    return dict(collections.Counter(labels[row] for row in rows))


def test_each_class_has_its_share():
    rest, drawn = stratified_split(LABELS, 0.2, 7)
    assert sorted([*rest, *drawn]) == list(range(51))
    assert count(LABELS, drawn) == {"a": 8, "b": 2}
    assert rest.tolist() == sorted(rest)
    assert drawn.tolist() == sorted(drawn)


def test_shares_are_rounded_by_the_largest_remainders():
    labels = np.repeat(np.arange(4), [15, 13, 11, 1])
    _, drawn = stratified_split(labels, 0.1, 7)
    assert count(labels.tolist(), drawn) == {0: 2, 1: 1, 2: 1}
    # Classes that are too small for a row of their own share the rows.
    labels = np.repeat(np.arange(1000), 3)
    _, drawn = stratified_split(labels, 0.1, 7)
    counts = count(labels.tolist(), drawn)
    assert (len(drawn), set(counts.values())) == (300, {1})
    assert np.mean(list(counts)) == pytest.approx(500, abs=60)


def test_every_class_leaves_a_row():
    rest, drawn = stratified_split(["x", "y", "y", "z"], 0.5, 7)
    assert count(["x", "y", "y", "z"], rest) == {"x": 1, "y": 1, "z": 1}
    assert len(drawn) == 1


def test_draw_follows_from_the_seeds():
    draws = {tuple(stratified_split(LABELS, 0.2, seed, 3)[1]) for seed in range(5)}
    assert len(draws) == 5
    again = stratified_split(LABELS, 0.2, 2, 3)[1]
    assert tuple(again) in draws
    # Every row of a class is as likely as the others.
    totals = np.zeros(10)
    for seed in range(400):
        totals[stratified_split(["a"] * 10, 0.3, seed)[1]] += 1
    np.testing.assert_allclose(totals, 120, atol=35)


def test_share_of_zero_draws_nothing():
    rest, drawn = stratified_split(LABELS, 0.0, 7)
    assert len(rest) == 51
    assert not len(drawn)


@pytest.mark.parametrize("labels", [["a", "b", "c", "d"], ["a", "a", "a"], ["a"], []])
def test_empty_draw_is_refused(labels):
    message = f"config.data.test: 0.1 of {len(labels)} rows of {len(set(labels))} classes is none"
    with pytest.raises(InputError, match=re.escape(message)):
        stratified_split(labels, 0.1, 7, key="config.data.test")
