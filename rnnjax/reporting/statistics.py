"""Statistical comparison of runs over their seeds, on top of `scipy.stats`.

The verdict follows from Student's t test of the mean difference: paired over seeds where both
groups have them, Welch's otherwise. Where both groups spread alike but for their means, the test
gives a false alarm in no more than about one case of twenty from five seeds on (2 / 2^5, one in
sixteen, if five differences take but two values). Two checks that assume no distribution stand
beside it:

* the studentized bootstrap. The percentile and BCa intervals of `scipy.stats.bootstrap` cover the
  true value in some 85 cases of 100, not 95, with five seeds;
* the permutation test, which is exact, but n pairs cannot bring it below 2 / 2^n: five pairs never
  reach .05, six can. So it does not give the verdict.

Where one group fails now and then and the other never does, five seeds that happen to be good
mislead every method here far too often: look at the seeds, not at the verdict alone.
`experiments/false_alarms` has the rates.

Sources: Student (1908), "The probable error of a mean"; Welch (1947), "The generalization of
Student's problem when several different population variances are involved"; Efron and Tibshirani
(1993), "An introduction to the bootstrap", chapter 12; Holm (1979), "A simple sequentially
rejective multiple test procedure"; Hedges (1981), "Distribution theory for Glass's estimator of
effect size and related estimators".
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special, stats

ALPHA = 0.05
"""Significance level: the rate of false alarms over all comparisons of one call."""
CONFIDENCE = 1 - ALPHA
MIN_SEEDS = 5
"""Seeds of each group that a verdict needs."""
MAX_SEEDS = 1_000

_RESAMPLES = 9_999

Values = Float[np.ndarray, " runs"]
Verdict = Literal["higher", "lower", "not shown", "none"]


class Interval(NamedTuple):
    """A closed interval; an end that too few runs leave undetermined is infinite."""

    low: float
    high: float

    def clip(self, bounds: "Interval") -> "Interval":
        """Returns the interval cut to bounds."""
        return Interval(*(min(max(end, bounds.low), bounds.high) for end in self))


_UNBOUNDED = Interval(-math.inf, math.inf)
_SHARE, _PERCENT, _AMOUNT = Interval(0, 1), Interval(0, 100), Interval(0, math.inf)
_AT_MOST_ONE = Interval(-math.inf, 1)
SCORE_RANGES = {
    **dict.fromkeys(("accuracy", "exact", "macro_f1", "micro_f1"), _SHARE),
    **dict.fromkeys(("span_f1", "span_precision", "span_recall"), _SHARE),
    **dict.fromkeys(("bleu", "chrf"), _PERCENT),
    **dict.fromkeys(("loss", "bits", "bits_per_character", "bits_per_byte"), _AMOUNT),
    **dict.fromkeys(("mae", "pinball", "rmse", "cpu_seconds", "train_seconds"), _AMOUNT),
    **dict.fromkeys(("scaled_accuracy", "r2"), _AT_MOST_ONE),
    "perplexity": Interval(1, math.inf),
}
"""The range of each score by its definition; any other is unbounded."""


def mean_interval(values: Sequence[float] | Values, score: str = "") -> Interval:
    """Returns Student's 95 % confidence interval of the mean, cut to the range of the score.

    With few runs, or close to an end of the range, the uncut interval reaches beyond it.
    """
    return _t_interval(values, 1.0, score)


def prediction_interval(values: Sequence[float] | Values, num_runs: int, score: str) -> Interval:
    """Returns Student's 95 % prediction interval of the mean of new runs.

    The mean of m new runs differs from that of n recorded ones by s * sqrt(1 / n + 1 / m). A new
    run has another seed, or the same on another processor, whose rounding is taken to move it no
    further.

    Args:
      values: scores of the recorded runs.
      num_runs: number of new runs.
      score: name of the score, whose range cuts the interval.
    """
    return _t_interval(values, math.sqrt(1 + len(values) / num_runs), score)


def _t_interval(values: Sequence[float] | Values, scale: float, score: str) -> Interval:
    mean, interval = float(np.mean(values)), _UNBOUNDED
    if len(values) > 1:
        error = float(stats.sem(values)) * scale
        # SciPy has no interval of width zero.
        ends = stats.t.interval(CONFIDENCE, len(values) - 1, mean, error) if error else (mean, mean)
        interval = Interval(*map(float, ends))
    return interval.clip(SCORE_RANGES.get(score, _UNBOUNDED))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Difference of the mean scores of two groups of runs, candidate minus reference.

    Attributes:
      reference: a score for each run.
      candidate: the same; of pairs, in the order of their partners.
      paired: whether both groups have the same seeds.
    """

    reference: Values
    candidate: Values
    paired: bool

    @classmethod
    def from_seeds(
        cls, reference: Mapping[int, float], candidate: Mapping[int, float]
    ) -> "Comparison":
        """Compares scores by seed.

        They are paired if the groups share `MIN_SEEDS` seeds, or all those of the smaller one; runs
        without a partner are then left out.
        """
        shared = sorted(reference.keys() & candidate.keys())
        paired = len(shared) >= min(MIN_SEEDS, len(reference), len(candidate))
        a, b = (
            np.array([scores[seed] for seed in (shared if paired else sorted(scores))])
            for scores in (reference, candidate)
        )
        return cls(a, b, paired)

    @property
    def num_runs(self) -> int:
        """Number of pairs, or of runs of the smaller group."""
        return min(len(self.reference), len(self.candidate))

    @functools.cached_property
    def _samples(self) -> tuple[Values, ...]:
        """The differences of the pairs, or the two independent samples."""
        if self.paired:
            return (self.candidate - self.reference,)
        return self.reference, self.candidate

    @property
    def mean(self) -> float:
        """Difference of the means."""
        return float(self.candidate.mean() - self.reference.mean())

    @functools.cached_property
    def standard_error(self) -> float:
        """Standard error of the difference of the means; 0 of a single run."""
        return float(_standard_error(self._samples)) if self.num_runs > 1 else 0.0

    @property
    def has_spread(self) -> bool:
        """Whether runs of one group differ by more than rounding, which every test needs."""
        largest = max(np.abs(self.reference).max(), np.abs(self.candidate).max())
        return self.standard_error > 1e-12 * largest

    @functools.cached_property
    def _t_test(self) -> Any:
        """Student's paired t test, or Welch's for independent samples."""
        if self.paired:
            return stats.ttest_rel(self.candidate, self.reference)
        return stats.ttest_ind(self.candidate, self.reference, equal_var=False)

    @property
    def p(self) -> float:
        """Two-sided p value of the t test, without correction; 1 without spread."""
        return float(self._t_test.pvalue) if self.has_spread else 1.0

    @property
    def interval(self) -> Interval:
        """95 % confidence interval of the difference by the t test."""
        if not self.has_spread:
            return _UNBOUNDED
        return Interval(*map(float, self._t_test.confidence_interval(CONFIDENCE)))

    @functools.cached_property
    def bootstrap(self) -> Interval:
        """95 % studentized bootstrap interval, the same at each call.

        An end is infinite where too many resamples have no spread, as with few runs or ties.
        """
        if not self.has_spread:
            return _UNBOUNDED
        generator = np.random.default_rng(0)
        resamples = [
            generator.choice(sample, (_RESAMPLES, len(sample))) for sample in self._samples
        ]
        deviations, errors = _mean_difference(*resamples) - self.mean, _standard_error(resamples)
        rounding = 1e-9 * self.standard_error
        with np.errstate(divide="ignore", invalid="ignore"):
            infinite = np.where(deviations > 0, np.inf, -np.inf)
            t = np.where(errors > rounding, deviations / errors, infinite)
        t[np.abs(deviations) <= rounding] = 0.0
        tails = (1 - ALPHA / 2, ALPHA / 2)
        high, low = np.quantile(t, tails, method="inverted_cdf") * self.standard_error
        return Interval(self.mean - float(high), self.mean - float(low))

    @functools.cached_property
    def permutation_p(self) -> float:
        """Two-sided p value of the permutation test.

        Permutes within pairs, or runs between groups: all ways, or 9,999 that are always the same.
        """
        test = stats.permutation_test(
            self._samples,
            _mean_difference,
            permutation_type="samples" if self.paired else "independent",
            vectorized=True,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(0),
        )
        return float(test.pvalue)

    @property
    def min_permutation_p(self) -> float:
        """The smallest p value that a permutation test of so many runs can reach."""
        a, b = len(self.reference), len(self.candidate)
        permutations = 2**a if self.paired else math.comb(a + b, a)
        return min(2 / min(permutations, _RESAMPLES + 1), 1.0)

    @property
    def effect_size(self) -> float:
        """Hedges' g, or d_z of pairs: the difference in standard deviations; NaN without spread."""
        degrees = sum(len(sample) - 1 for sample in self._samples)
        if degrees < 2 or not self.has_spread:
            return math.nan
        squares = sum(np.square(sample - sample.mean()).sum() for sample in self._samples)
        correction = special.poch((degrees - 1) / 2, 0.5) * math.sqrt(2 / degrees)
        return self.mean / math.sqrt(squares / degrees) * float(correction)

    @property
    def correlation(self) -> float:
        """Pearson correlation of the pairs; NaN without pairs or spread. Pairing pays if high."""
        if not self.paired or min(np.std(self.reference), np.std(self.candidate)) == 0:
            return math.nan
        return float(np.corrcoef(self.reference, self.candidate)[0, 1])

    def minimum_detectable_effect(self, num_comparisons: int = 1, power: float = 0.8) -> float:
        """Returns the true difference that so many runs detect with this power; NaN without spread.

        From the noncentral t distribution, with the standard error of these runs.

        Args:
          num_comparisons: comparisons of one call, which share the significance level.
          power: probability of detecting the difference.
        """
        if not self.has_spread:
            return math.nan
        degrees = self._t_test.df
        critical = stats.t.isf(ALPHA / num_comparisons / 2, degrees)
        return self.standard_error * float(special.nctdtrinc(degrees, 1 - power, critical))

    def seeds_needed(self, num_comparisons: int = 1, power: float = 0.8) -> int:
        """Returns the seeds of each group that detect the observed difference with this power.

        Args:
          num_comparisons: comparisons of one call, which share the significance level.
          power: probability of detecting the difference.

        Returns:
          At least `MIN_SEEDS`; 0 if more than `MAX_SEEDS` are needed, or without spread.
        """
        if not self.has_spread:
            return 0
        count = np.arange(MIN_SEEDS, MAX_SEEDS + 1)
        variances = np.array([np.var(sample, ddof=1) for sample in self._samples])
        degrees = variances.sum() ** 2 / np.square(variances).sum() * (count - 1)  # Welch's
        noncentrality = abs(self.mean) / np.sqrt(variances.sum() / count)
        critical = stats.t.isf(ALPHA / num_comparisons / 2, degrees)
        sufficient = count[stats.nct.sf(critical, degrees, noncentrality) >= power]
        return int(sufficient[0]) if sufficient.size else 0


class ComparisonResult(NamedTuple):
    """One of several comparisons that were made together.

    Attributes:
      comparison: the difference between the groups.
      p: p value of the t test, Holm-corrected for the number of comparisons.
      verdict: candidate relative to reference; 'none' with too few seeds or no spread.
    """

    comparison: Comparison
    p: float
    verdict: Verdict


def compare_scores(comparisons: Sequence[Comparison]) -> list[ComparisonResult]:
    """Returns the verdicts, with a family-wise error rate of `ALPHA`."""

    def verdict(comparison: Comparison, p: float) -> Verdict:
        if comparison.num_runs < MIN_SEEDS or not comparison.has_spread:
            return "none"
        if p > ALPHA:
            return "not shown"
        return "higher" if comparison.mean > 0 else "lower"

    corrected = holm([comparison.p for comparison in comparisons])
    return [
        ComparisonResult(comparison, p, verdict(comparison, p))
        for comparison, p in zip(comparisons, corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm-corrected p values, in the same order."""
    count, order = len(p_values), np.argsort(p_values, kind="stable")
    corrected = np.empty(count)
    scaled = np.asarray(p_values, float)[order] * np.arange(count, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected.tolist()


def min_permutation_pairs(num_comparisons: int = 1) -> int:
    """Returns the fewest pairs with which a permutation test can reach the significance level."""
    return math.ceil(1 + math.log2(num_comparisons / ALPHA))


def _standard_error(samples: Sequence[np.ndarray]) -> Any:
    return np.sqrt(sum(np.square(stats.sem(sample, axis=-1)) for sample in samples))


def _mean_difference(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Returns the mean of one sample, or that of the second minus that of the first."""
    first, *rest = (sample.mean(axis=axis) for sample in samples)
    return rest[0] - first if rest else first
