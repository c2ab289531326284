"""Verdicts keep their rate of false alarms, and the numbers are those of their sources."""

import math

import numpy as np
import pytest
from scipy import stats

from rnnjax.reporting.statistics import (
    Comparison,
    compare_scores,
    holm,
    mean_interval,
    mean_interval,
    min_permutation_pairs,
    prediction_interval,
)

A = np.array([0.84, 0.86, 0.85, 0.83, 0.87, 0.85])
B = A + np.array([0.012, 0.004, 0.01, 0.007, 0.001, 0.013])


def alike(draw, shape):
    """Scores that scatter as those of seeds do: a common part of a pair, and a part of each run."""
    return draw.normal(0.8, 0.01, shape) + draw.normal(0.0, 0.01, (2, *shape))


def heavy(draw, shape):
    return draw.standard_t(3, (2, *shape))


def collapsing(draw, shape):
    """One seed in seven ends far below the others, on both sides."""
    return draw.normal(0.0, 0.3, (2, *shape)) - 5.0 * (draw.random((2, *shape)) < 1 / 7)


def alarms(pairs, paired=True):
    """How many verdicts of a difference are given, where there is none."""
    verdicts = [compare_scores([Comparison(a, b, paired)])[0].verdict for a, b in pairs]
    assert set(verdicts) <= {"higher", "lower", "not shown"}
    return sum(verdict != "not shown" for verdict in verdicts)


def most(cases, rate=0.05):
    """What so many cases give more of than a rate in one of a thousand tries."""
    return stats.binom.isf(0.001, cases, rate)


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("scores", [alike, heavy, collapsing])
@pytest.mark.parametrize("paired", [True, False])
def test_without_a_difference_false_alarms_stay_at_their_rate(scores, seeds, paired):
    cases = 1_000
    found = alarms(zip(*scores(np.random.default_rng(seeds), (cases, seeds)), strict=True), paired)
    assert found <= most(cases)
    # Nor does the test keep its rate by never saying anything.
    if scores is alike and paired:
        assert found >= stats.binom.ppf(0.001, cases, 0.05)


def test_differences_of_two_values_are_the_worst_that_five_pairs_can_meet():
    draw, cases = np.random.default_rng(0), 1_000
    others = draw.choice([0.6, 0.9], (cases, 5)) + draw.normal(0.0, 1e-4, (cases, 5))
    found = alarms((np.full(5, 0.75), other) for other in others)
    assert stats.binom.ppf(0.001, cases, 2 / 2**5) <= found <= most(cases, 2 / 2**5)


def test_of_many_comparisons_with_one_side_any_false_alarm_is_rare():
    draw, cases, sides = np.random.default_rng(1), 1_000, 5
    wrong = uncorrected = 0
    for first, *others in draw.normal(0.8, 0.01, (cases, sides, 6)):
        judged = compare_scores([Comparison(first, other, True) for other in others])
        wrong += any(each.verdict != "not shown" for each in judged)
        uncorrected += any(each.comparison.p <= 0.05 for each in judged)
    assert wrong <= most(cases)
    assert uncorrected > most(cases)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_the_true_difference_at_their_rate(paired):
    draw, cases, truth = np.random.default_rng(2), 200, 0.02
    by_t = by_bootstrap = 0
    for a, b in zip(*alike(draw, (cases, 5)), strict=True):
        contrast = Comparison(a, b + truth, paired)
        by_t += contrast.interval.low <= truth <= contrast.interval.high
        by_bootstrap += contrast.bootstrap.low <= truth <= contrast.bootstrap.high
    assert min(by_t, by_bootstrap) >= cases - most(cases)


def test_the_smallest_difference_is_shown_in_four_cases_of_five():
    draw, cases = np.random.default_rng(3), 1_000
    # What of six pairs that spread by the true amount is said to be shown, is.
    spread = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * math.sqrt(5 / 6)
    smallest = Comparison(np.zeros(6), spread, True).minimum_detectable_effect()
    shown = [
        compare_scores([Comparison(np.zeros(6), other, True)])[0].verdict == "higher"
        for other in draw.normal(smallest, 1.0, (cases, 6))
    ]
    assert stats.binom.ppf(0.001, cases, 0.8) <= sum(shown) <= stats.binom.isf(0.001, cases, 0.8)
    # As many seeds are needed for a difference as show it.
    for share, needed in ((1.001, 6), (0.999, 7)):
        assert Comparison(np.zeros(6), spread + share * smallest, True).seeds_needed() == needed
    assert (
        Comparison(A, B, True).minimum_detectable_effect(4)
        > Comparison(A, B, True).minimum_detectable_effect()
    )
    assert Comparison(np.zeros(5), np.arange(5.0) - 1.9998, True).seeds_needed() == 0


def test_pairs_are_tested_by_the_paired_t_test():
    expected = stats.ttest_rel(B, A)
    statistic, p = expected
    found = Comparison(A, B, True)
    assert found.p == pytest.approx(p)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.mean == pytest.approx(statistic * np.std(B - A, ddof=1) / math.sqrt(6))
    assert mean_interval(B - A) == pytest.approx(found.interval)


def test_two_independent_sides_are_tested_by_welch():
    b = np.append(B, [0.95, 0.80])
    expected = stats.ttest_ind(b, A, equal_var=False)
    found = Comparison(A, b, False)
    assert found.p == pytest.approx(expected[1])
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_the_permutation_test_counts_every_way():
    assert Comparison(A[:5], B[:5], True).permutation_p == 2 / 2**5
    assert Comparison(A[:5], B[:5], True).min_permutation_p == 2 / 2**5
    apart = Comparison(A, A + 0.1, False)
    assert apart.permutation_p == apart.min_permutation_p == 2 / math.comb(12, 6)
    # Of the eight ways to sign 1, 2 and -3, six give a sum at least as large as theirs, which is 0.
    assert Comparison(np.zeros(3), np.array([1.0, 2.0, -3.0]), True).permutation_p == 1.0
    assert Comparison(np.zeros(3), np.array([1.0, 2.0, -1.0]), True).permutation_p == 0.75
    assert [min_permutation_pairs(count) for count in (1, 2, 4)] == [6, 7, 8]


def test_effect_sizes_are_those_of_hedges():
    d = (B - A).mean() / np.std(B - A, ddof=1)
    assert Comparison(A, B, True).effect_size == pytest.approx(d * (1 - 3 / (4 * 5 - 1)), rel=5e-3)
    pooled = math.sqrt((np.var(A, ddof=1) + np.var(B, ddof=1)) / 2)
    g = (B.mean() - A.mean()) / pooled * (1 - 3 / (4 * 10 - 1))
    assert Comparison(A, B, False).effect_size == pytest.approx(g, rel=5e-3)


def test_seeds_of_both_sides_are_paired_and_the_rest_is_left_out():
    first = {seed: float(seed) for seed in range(8)}
    other = {seed: seed + 10.0 for seed in (9, 5, 3, 4, 7, 6)}
    found = Comparison.from_seeds(first, other)
    assert found.paired
    assert found.reference.tolist() == [3, 4, 5, 6, 7]
    assert found.candidate.tolist() == [13, 14, 15, 16, 17]
    few = Comparison.from_seeds(first, {0: 1.0, 1: 2.0})
    assert (few.paired, few.num_runs) == (True, 2)


def test_sides_that_share_few_seeds_are_not_paired():
    first, other = ({seed: 0.1 * seed for seed in seeds} for seeds in (range(6), range(5, 10)))
    found = Comparison.from_seeds(first, other)
    assert not found.paired
    assert (len(found.reference), len(found.candidate)) == (6, 5)


def test_holm_corrects_from_the_smallest_on():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("contrast", "verdict"),
    [
        (Comparison(A[:4], A[:4] + B[:4], True), "none"),
        (Comparison(A, (A + B)[:4], False), "none"),
        (Comparison(A, A, True), "none"),
        (Comparison(A, A + 0.1, True), "none"),
        (Comparison(A[:1], B[:1], True), "none"),
        (Comparison(A, B, True), "higher"),
        (Comparison(B, A, True), "lower"),
        (Comparison(A, B, False), "not shown"),
    ],
    ids=["four pairs", "four of one side", "the same", "no spread", "one", "up", "down", "wide"],
)
def test_there_is_a_verdict_where_there_can_be(contrast, verdict):
    assert compare_scores([contrast])[0].verdict == verdict


def test_a_single_run_tells_a_difference_and_no_more():
    one = Comparison(A[:1], B[:1], True)
    assert one.mean == pytest.approx(0.012)
    assert one.interval == one.bootstrap == (-math.inf, math.inf)
    assert one.p == one.min_permutation_p == 1.0
    assert all(map(math.isnan, (one.effect_size, one.correlation, one.minimum_detectable_effect())))


def test_a_bootstrap_that_ties_cannot_end_says_so_and_is_the_same_every_time():
    tied = Comparison(np.zeros(5), np.array([0.01, 0.01, 0.01, 0.01, 0.02]), True)
    assert tied.bootstrap.high == math.inf
    assert Comparison(A, B, True).bootstrap == Comparison(A, B, True).bootstrap


def test_the_interval_of_a_mean_is_that_of_the_tables_of_student():
    # t of 2 degrees of freedom at 97.5 % is 4.3027, that of 4 is 2.7764.
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 4.4842), 1e-4)
    low, high = mean_interval([0.0, 0.0, 1.0, 3.0, 6.0])
    assert (low, high) == pytest.approx((2 - 2.7764 * 6.5**0.5 / 5**0.5, 5.1656), 1e-4)
    assert mean_interval([4.0]) == (float("-inf"), float("inf"))


def test_an_interval_is_cut_to_the_range_of_its_score():
    values = [1.0, 0.52, 1.0]  # Student's interval reaches from 0.15 to 1.53
    low, high = mean_interval(values)
    assert (low, high) == pytest.approx((0.1516, 1.5284), abs=1e-4)
    assert mean_interval(values, "accuracy") == pytest.approx((low, 1.0))
    assert mean_interval(values, "bleu") == pytest.approx((low, high))
    assert mean_interval([0.1, 3.0], "loss").low == 0.0
    assert mean_interval([4.0], "accuracy") == (0.0, 1.0)
    assert mean_interval([-1.0, -1.5], "reward") == mean_interval([-1.0, -1.5])


def test_new_runs_lie_in_the_prediction_interval_as_often_as_it_says():
    draw = np.random.default_rng(0)
    for new in (1, 5):
        recorded, later = draw.normal(size=(2_000, 5)), draw.normal(size=(2_000, new)).mean(1)
        ends = [prediction_interval(each, new, "reward") for each in recorded]
        inside = [low <= mean <= high for (low, high), mean in zip(ends, later, strict=True)]
        assert 0.935 < np.mean(inside) < 0.965  # three standard errors of .95
