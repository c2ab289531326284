"""False alarm rates of verdicts, and values of the statistics against their sources."""

import math

import numpy as np
import pytest
from scipy import stats

from rnnjax.config.task_schema import find_schema, task_names
from rnnjax.reporting.run_report import wilson
from rnnjax.reporting.statistics import (
    SCORE_RANGES,
    Comparison,
    compare_scores,
    holm,
    mean_interval,
    min_permutation_pairs,
    prediction_interval,
)

A = np.array([0.84, 0.86, 0.85, 0.83, 0.87, 0.85])
B = A + np.array([0.012, 0.004, 0.01, 0.007, 0.001, 0.013])


def normal_scores(generator, shape):
    """Normal scores with a common part of each pair."""
    return generator.normal(0.8, 0.01, shape) + generator.normal(0.0, 0.01, (2, *shape))


def heavy_tailed_scores(generator, shape):
    return generator.standard_t(3, (2, *shape))


def collapsing_scores(generator, shape):
    """One seed in seven collapses, in both groups."""
    return generator.normal(0.0, 0.3, (2, *shape)) - 5.0 * (generator.random((2, *shape)) < 1 / 7)


def count_alarms(pairs, paired=True):
    """Returns the number of verdicts of a difference."""
    verdicts = [compare_scores([Comparison(a, b, paired)])[0].verdict for a, b in pairs]
    assert set(verdicts) <= {"higher", "lower", "not shown"}
    return sum(verdict != "not shown" for verdict in verdicts)


def upper_bound(cases, rate=0.05):
    """Returns the 99.9 % quantile of the number of events."""
    return stats.binom.isf(0.001, cases, rate)


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("scores", [normal_scores, heavy_tailed_scores, collapsing_scores])
@pytest.mark.parametrize("paired", [True, False])
def test_false_alarm_rate(scores, seeds, paired):
    cases = 1_000
    pairs = zip(*scores(np.random.default_rng(seeds), (cases, seeds)), strict=True)
    num_alarms = count_alarms(pairs, paired)
    assert num_alarms <= upper_bound(cases)
    # A test that never rejects would pass the line above.
    if scores is normal_scores and paired:
        assert num_alarms >= stats.binom.ppf(0.001, cases, 0.05)


def test_false_alarm_rate_of_two_valued_differences():
    generator, cases = np.random.default_rng(0), 1_000
    scores = generator.choice([0.6, 0.9], (cases, 5)) + generator.normal(0.0, 1e-4, (cases, 5))
    num_alarms = count_alarms((np.full(5, 0.75), candidate) for candidate in scores)
    assert stats.binom.ppf(0.001, cases, 2 / 2**5) <= num_alarms <= upper_bound(cases, 2 / 2**5)


def test_family_wise_error_rate():
    generator, cases, groups = np.random.default_rng(1), 1_000, 5
    corrected = uncorrected = 0
    for reference, *candidates in generator.normal(0.8, 0.01, (cases, groups, 6)):
        results = compare_scores([Comparison(reference, group, True) for group in candidates])
        corrected += any(result.verdict != "not shown" for result in results)
        uncorrected += any(result.comparison.p <= 0.05 for result in results)
    assert corrected <= upper_bound(cases)
    assert uncorrected > upper_bound(cases)


@pytest.mark.parametrize("paired", [True, False])
def test_interval_coverage(paired):
    generator, cases, truth = np.random.default_rng(2), 200, 0.02
    by_t = by_bootstrap = 0
    for a, b in zip(*normal_scores(generator, (cases, 5)), strict=True):
        comparison = Comparison(a, b + truth, paired)
        by_t += comparison.interval.low <= truth <= comparison.interval.high
        by_bootstrap += comparison.bootstrap.low <= truth <= comparison.bootstrap.high
    assert min(by_t, by_bootstrap) >= cases - upper_bound(cases)


def test_minimum_detectable_effect_has_its_power():
    generator, cases = np.random.default_rng(3), 1_000
    # Six pairs with the true standard deviation.
    spread = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * math.sqrt(5 / 6)
    effect = Comparison(np.zeros(6), spread, True).minimum_detectable_effect()
    detected = [
        compare_scores([Comparison(np.zeros(6), scores, True)])[0].verdict == "higher"
        for scores in generator.normal(effect, 1.0, (cases, 6))
    ]
    assert stats.binom.ppf(0.001, cases, 0.8) <= sum(detected) <= stats.binom.isf(0.001, cases, 0.8)
    # A difference needs as many seeds as detect it.
    for share, needed in ((1.001, 6), (0.999, 7)):
        assert Comparison(np.zeros(6), spread + share * effect, True).seeds_needed() == needed
    assert (
        Comparison(A, B, True).minimum_detectable_effect(4)
        > Comparison(A, B, True).minimum_detectable_effect()
    )
    assert Comparison(np.zeros(5), np.arange(5.0) - 1.9998, True).seeds_needed() == 0


def test_paired_t_test():
    expected = stats.ttest_rel(B, A)
    statistic, p = expected
    comparison = Comparison(A, B, True)
    assert comparison.p == pytest.approx(p)
    assert comparison.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert comparison.mean == pytest.approx(statistic * np.std(B - A, ddof=1) / math.sqrt(6))
    assert mean_interval((B - A).tolist()) == pytest.approx(comparison.interval)


def test_welch_t_test():
    b = np.append(B, [0.95, 0.80])
    expected = stats.ttest_ind(b, A, equal_var=False)
    comparison = Comparison(A, b, False)
    assert comparison.p == pytest.approx(expected[1])
    assert comparison.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_permutation_test_is_exact():
    assert Comparison(A[:5], B[:5], True).permutation_p == 2 / 2**5
    assert Comparison(A[:5], B[:5], True).min_permutation_p == 2 / 2**5
    disjoint = Comparison(A, A + 0.1, False)
    assert disjoint.permutation_p == disjoint.min_permutation_p == 2 / math.comb(12, 6)
    # Of the eight ways to sign 1, 2 and -3, six give a sum at least as large as theirs, which is 0.
    assert Comparison(np.zeros(3), np.array([1.0, 2.0, -3.0]), True).permutation_p == 1.0
    assert Comparison(np.zeros(3), np.array([1.0, 2.0, -1.0]), True).permutation_p == 0.75
    assert [min_permutation_pairs(count) for count in (1, 2, 4)] == [6, 7, 8]


def test_hedges_effect_size():
    d = (B - A).mean() / np.std(B - A, ddof=1)
    assert Comparison(A, B, True).effect_size == pytest.approx(d * (1 - 3 / (4 * 5 - 1)), rel=5e-3)
    pooled = math.sqrt((np.var(A, ddof=1) + np.var(B, ddof=1)) / 2)
    g = (B.mean() - A.mean()) / pooled * (1 - 3 / (4 * 10 - 1))
    assert Comparison(A, B, False).effect_size == pytest.approx(g, rel=5e-3)


def test_shared_seeds_are_paired():
    reference = {seed: float(seed) for seed in range(8)}
    candidate = {seed: seed + 10.0 for seed in (9, 5, 3, 4, 7, 6)}
    comparison = Comparison.from_seeds(reference, candidate)
    assert comparison.paired
    assert comparison.reference.tolist() == [3, 4, 5, 6, 7]
    assert comparison.candidate.tolist() == [13, 14, 15, 16, 17]
    few = Comparison.from_seeds(reference, {0: 1.0, 1: 2.0})
    assert (few.paired, few.num_runs) == (True, 2)


def test_groups_with_few_shared_seeds_are_not_paired():
    reference, candidate = (
        {seed: 0.1 * seed for seed in seeds} for seeds in (range(6), range(5, 10))
    )
    comparison = Comparison.from_seeds(reference, candidate)
    assert not comparison.paired
    assert (len(comparison.reference), len(comparison.candidate)) == (6, 5)


def test_holm():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("comparison", "verdict"),
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
    ids=["four pairs", "four of a group", "equal", "no spread", "single", "up", "down", "wide"],
)
def test_verdict(comparison, verdict):
    assert compare_scores([comparison])[0].verdict == verdict


def test_single_runs_have_no_interval():
    one = Comparison(A[:1], B[:1], True)
    assert one.mean == pytest.approx(0.012)
    assert one.interval == one.bootstrap == (-math.inf, math.inf)
    assert one.p == one.min_permutation_p == 1.0
    assert all(map(math.isnan, (one.effect_size, one.correlation, one.minimum_detectable_effect())))


def test_bootstrap_is_reproducible_and_unbounded_with_ties():
    tied = Comparison(np.zeros(5), np.array([0.01, 0.01, 0.01, 0.01, 0.02]), True)
    assert tied.bootstrap.high == math.inf
    assert Comparison(A, B, True).bootstrap == Comparison(A, B, True).bootstrap


def test_mean_interval_against_tabulated_t():
    # t of 2 degrees of freedom at 97.5 % is 4.3027, that of 4 is 2.7764.
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 4.4842), 1e-4)
    low, high = mean_interval([0.0, 0.0, 1.0, 3.0, 6.0])
    assert (low, high) == pytest.approx((2 - 2.7764 * 6.5**0.5 / 5**0.5, 5.1656), 1e-4)
    assert mean_interval([4.0]) == (float("-inf"), float("inf"))


def test_mean_interval_is_cut_to_the_range_of_the_score():
    values = [1.0, 0.52, 1.0]  # Student's interval reaches from 0.15 to 1.53
    low, high = mean_interval(values)
    assert (low, high) == pytest.approx((0.1516, 1.5284), abs=1e-4)
    assert mean_interval(values, "accuracy") == pytest.approx((low, 1.0))
    assert mean_interval(values, "bleu") == pytest.approx((low, high))
    assert mean_interval([0.1, 3.0], "loss").low == 0.0
    assert mean_interval([4.0], "accuracy") == (0.0, 1.0)
    assert mean_interval([0.9, 1.0], "scaled_accuracy").high == 1.0
    assert mean_interval([-0.3, -0.1], "scaled_accuracy").low < -1.0
    assert mean_interval([-1.0, -1.5], "reward") == mean_interval([-1.0, -1.5])


@pytest.mark.parametrize("task", task_names())
def test_scores_of_tasks_have_a_range(task):
    assert set(find_schema(task).metrics) <= set(SCORE_RANGES)


def test_prediction_interval_coverage():
    generator = np.random.default_rng(0)
    for num_runs in (1, 5):
        recorded = generator.normal(size=(2_000, 5))
        means = generator.normal(size=(2_000, num_runs)).mean(1)
        intervals = [prediction_interval(scores, num_runs, "reward") for scores in recorded]
        inside = [low <= mean <= high for (low, high), mean in zip(intervals, means, strict=True)]
        assert 0.935 < np.mean(inside) < 0.965  # three standard errors of .95


@pytest.mark.parametrize("rows", [1, 2, 7, 7_600])
def test_wilson_is_that_of_scipy(rows):
    for correct in {*range(0, rows, max(rows // 20, 1)), rows}:
        expected = stats.binomtest(correct, rows).proportion_ci(method="wilson")
        interval = wilson(correct / rows, rows)
        assert interval is not None
        np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-12, atol=1e-15)
