"""What the scores of two sets of runs say of the difference between them, and what they cannot.

The verdict follows from Student's t test of the mean difference: paired over seeds where both sides
have them, Welch's for two independent sides otherwise. Where both sides spread alike but for their
means, a difference of a pair is as likely to lie above its mean as below it; the test then gives a
false alarm in no more than about one case of twenty from five seeds on (2 / 2^5, one in sixteen, if
five differences take but two values). Two checks that assume no shape stand beside it:

* the studentized bootstrap. The percentile and BCa intervals of `scipy.stats.bootstrap` hold the
  true value in some 85 cases of 100, not 95, when they are made of five seeds;
* the permutation test, which is exact, but which n pairs cannot bring below 2 / 2^n: five pairs
  never reach .05, six can. So it does not give the verdict.

Where one side fails now and then and the other never does, five seeds that happen to be good all
tell against the other side far too often, by every method here: look at the seeds, not at the
verdict alone. `experiments/false_alarms` has the rates.

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
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

LEVEL = 0.05
"""False alarms that a verdict may give, over all the comparisons that are made at once."""
FEWEST = 5
"""Seeds, of each side, without which there is no verdict."""
POWER = 0.8
"""How often a difference is to be shown that is called possible to show."""
MOST_SEEDS = 1_000

_RESAMPLES = 9_999

Values = Float[np.ndarray, " runs"]
Verdict = Literal["higher", "lower", "not shown", "none"]


class Interval(NamedTuple):
    """Two ends; infinite where the runs do not tell them, as one run by itself does not."""

    low: float
    high: float


_SHARE, _PERCENT, _AMOUNT = Interval(0, 1), Interval(0, 100), Interval(0, math.inf)
RANGES = {
    **dict.fromkeys(("accuracy", "macro_f1", "exact"), _SHARE),
    **dict.fromkeys(("bleu", "chrf"), _PERCENT),
    **dict.fromkeys(("loss", "bits", "cpu_seconds", "train_seconds"), _AMOUNT),
    "perplexity": Interval(1, math.inf),
}
"""Between which values scores lie, by their names."""


class _Student(NamedTuple):
    """What a t test is made of. A side of n runs has an error of unit / sqrt(n)."""

    mean: float
    error: float
    degrees: float


def interval_of_mean(values: Sequence[float] | Values) -> Interval:
    """Returns the 95 % interval of the mean of independent runs, by Student's t."""
    return _interval(_one_sample(np.asarray(values, float)), LEVEL)


def range_of(score: str) -> Interval:
    """Returns between which values a score lies by its definition: an accuracy from 0 to 1."""
    return RANGES.get(score, Interval(-math.inf, math.inf))


def interval_of_score(values: Sequence[float] | Values, score: str) -> Interval:
    """Returns the 95 % interval of the mean by Student's t, cut to the range of the score.

    Where runs are few or near an end of the range, Student's interval reaches beyond it.
    """
    return _cut(interval_of_mean(values), range_of(score))


def prediction_interval(values: Sequence[float] | Values, runs: int, score: str) -> Interval:
    """Returns where the mean of new runs lies in 95 cases of 100, cut to the range of the score.

    By Student's t: m new runs differ from n recorded ones by s * sqrt(1 / n + 1 / m). A new run has
    another seed, or the same on another processor, whose rounding is taken to move it no further.

    Args:
      values: scores of the recorded runs.
      runs: how many new ones the mean is of.
      score: what it is called.
    """
    mean, error, degrees = _one_sample(np.asarray(values, float))
    wider = error * math.sqrt(1 + len(values) / runs)
    return _cut(_interval(_Student(mean, wider, degrees), LEVEL), range_of(score))


def _cut(interval: Interval, bounds: Interval) -> Interval:
    return Interval(*(min(max(end, bounds.low), bounds.high) for end in interval))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The difference of the means of two sides, `other` minus `first`.

    Attributes:
      first: scores, one a run.
      other: scores; of pairs, in the order of their partners.
      paired: both have the same seeds.
    """

    first: Values
    other: Values
    paired: bool

    @classmethod
    def summarize_seeds(
        cls, first: Mapping[int, float], other: Mapping[int, float]
    ) -> "Comparison":
        """Returns the difference between scores by seed.

        They are paired if the sides share five seeds, or all those of the smaller side; what has no
        partner is then left out. Otherwise no seed is told from another.
        """
        shared = sorted(first.keys() & other.keys())
        paired = len(shared) >= min(FEWEST, len(first), len(other))
        one, two = (shared, shared) if paired else (sorted(first), sorted(other))
        a, b = np.array([first[seed] for seed in one]), np.array([other[seed] for seed in two])
        return cls(a, b, paired)

    @property
    def runs(self) -> int:
        """Pairs, or runs of the smaller side."""
        return min(len(self.first), len(self.other))

    @property
    def mean(self) -> float:
        """The difference of the means."""
        return float(self.other.mean() - self.first.mean())

    @functools.cached_property
    def _student(self) -> _Student:
        if self.paired:
            return _one_sample(self.other - self.first)
        return _welch(self.first, self.other)

    @property
    def has_spread(self) -> bool:
        """Whether the runs differ by more than rounding, without which nothing can be tested."""
        largest = max(np.abs(self.first).max(), np.abs(self.other).max())
        return self.runs > 1 and self._student.error > 1e-12 * largest

    @property
    def p(self) -> float:
        """How often a t test calls a difference at least so large if there is none; 1 without any.

        Not corrected for other comparisons.
        """
        if not self.has_spread:
            return 1.0
        mean, error, degrees = self._student
        return float(2 * stats.t.sf(abs(mean) / error, degrees))

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference, by the same test."""
        return _interval(self._student, LEVEL)

    @functools.cached_property
    def bootstrap(self) -> Interval:
        """The 95 % interval by the studentized bootstrap, of resamples that are always the same.

        An end is infinite where so many resamples have no spread that they do not tell it, as when
        several runs of five ended at the same score.
        """
        if not self.has_spread:
            return Interval(-math.inf, math.inf)
        draw = np.random.default_rng(0)

        def resampled(values: Values) -> Float[np.ndarray, "resamples runs"]:
            return draw.choice(values, (_RESAMPLES, len(values)))

        if self.paired:
            means, errors, _ = _one_sample(resampled(self.other - self.first))
        else:
            means, errors, _ = _welch(resampled(self.first), resampled(self.other))
        mean, error, _ = map(float, self._student)
        off, nothing = means - mean, 1e-9 * error
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(errors > nothing, off / errors, np.where(off > 0, np.inf, -np.inf))
        t[np.abs(off) <= nothing] = 0.0
        low, high = np.quantile(t, [LEVEL / 2, 1 - LEVEL / 2], method="inverted_cdf")
        return Interval(mean - float(high) * error, mean - float(low) * error)

    @functools.cached_property
    def permutation_p(self) -> float:
        """How often chance alone gives a difference of means at least so large.

        Of pairs, the partners change places; otherwise the runs change sides. All the ways are
        counted, or 9,999 of them that are always the same.
        """
        if self.paired:
            data, kind, statistic = (self.other - self.first,), "samples", np.mean
        else:
            data, kind, statistic = (self.other, self.first), "independent", _difference
        found = stats.permutation_test(
            data,
            statistic,
            permutation_type=kind,
            vectorized=True,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(0),
        )
        return float(found.pvalue)

    @property
    def least_permutation_p(self) -> float:
        """The smallest that so many runs can reach."""
        a, b = len(self.first), len(self.other)
        ways = 2**a if self.paired else math.comb(a + b, a)
        return min(2 / min(ways, _RESAMPLES + 1), 1.0)

    @property
    def effect(self) -> float:
        """The difference in standard deviations, corrected for few runs (Hedges); NaN without any.

        Of pairs, d_z: those of the differences. Otherwise g: those of the two sides together.
        """
        a, b = self.first, self.other
        if self.paired:
            degrees, spread = len(a) - 1, float(np.std(b - a, ddof=1)) if len(a) > 1 else 0.0
        else:
            degrees = len(a) + len(b) - 2
            squares = np.square(a - a.mean()).sum() + np.square(b - b.mean()).sum()
            spread = math.sqrt(squares / degrees) if degrees else 0.0
        if degrees < 2 or not self.has_spread:
            return math.nan
        log = math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)
        return self.mean / spread * math.exp(log) / math.sqrt(degrees / 2)

    @property
    def correlation(self) -> float:
        """Of the pairs; NaN if there are none, or no spread. Pairing pays where it is high."""
        if not self.paired or min(np.std(self.first), np.std(self.other)) == 0:
            return math.nan
        return float(np.corrcoef(self.first, self.other)[0, 1])

    def smallest(self, comparisons: int = 1) -> float:
        """Returns the true difference that these runs would have shown in four cases of five.

        By the noncentral t distribution, for runs that spread as these did; NaN without spread.

        Args:
          comparisons: made at once; each may then give so much fewer false alarms.
        """
        _, error, degrees = self._student
        if not self.has_spread:
            return math.nan
        level, most = LEVEL / comparisons, 1.0
        while _power(most, degrees, level) < POWER:
            most *= 2
        away = optimize.brentq(lambda away: _power(away, degrees, level) - POWER, 0, most)
        return error * cast(float, away)  # its stub knows of more results than it returns

    def seeds_needed(self, comparisons: int = 1) -> int:
        """Returns the seeds that would show the difference found in four cases of five, if true.

        Args:
          comparisons: made at once.

        Returns:
          At least `FEWEST`; 0 if more than `MOST_SEEDS` would be needed, or there is no spread.
        """
        if not self.has_spread:
            return 0
        count = np.arange(FEWEST, MOST_SEEDS + 1)
        if self.paired:
            variance, share = float(np.var(self.other - self.first, ddof=1)), 1.0
        else:
            variances = [float(np.var(side, ddof=1)) for side in (self.first, self.other)]
            variance = sum(variances)
            share = variance**2 / sum(each**2 for each in variances)
        away = abs(self.mean) / np.sqrt(variance / count)
        enough = _power(away, share * (count - 1), LEVEL / comparisons) >= POWER
        return int(count[enough][0]) if enough.any() else 0


class ComparisonResult(NamedTuple):
    """A comparison among all that were made at once.

    Attributes:
      contrast: it.
      p: corrected for how many there are (Holm).
      verdict: of the other side against the first; 'none' of too few seeds or no spread.
    """

    contrast: Comparison
    p: float
    verdict: Verdict


def compare_scores(contrasts: Sequence[Comparison]) -> list[ComparisonResult]:
    """Returns a verdict of each; where no side differs, one or more are wrong in 5 cases of 100."""

    def verdict(contrast: Comparison, p: float) -> Verdict:
        if contrast.runs < FEWEST or not contrast.has_spread:
            return "none"
        if p > LEVEL:
            return "not shown"
        return "higher" if contrast.mean > 0 else "lower"

    corrected = holm([contrast.p for contrast in contrasts])
    return [
        ComparisonResult(contrast, p, verdict(contrast, p))
        for contrast, p in zip(contrasts, corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p values corrected for being several, by Holm's method, in the order given."""
    corrected, largest = [1.0] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def pairs_for_permutation(comparisons: int = 1) -> int:
    """Returns the fewest pairs that a permutation test can reach the level with."""
    return math.ceil(1 + math.log2(comparisons / LEVEL))


def _one_sample(values: np.ndarray) -> _Student:
    """Returns mean, its error and degrees of freedom over the last axis; NaN of a single value."""
    count = values.shape[-1]
    if count < 2:
        return _Student(values.mean(-1), math.nan, 0)
    return _Student(values.mean(-1), values.std(-1, ddof=1) / math.sqrt(count), count - 1)


def _welch(first: np.ndarray, other: np.ndarray) -> _Student:
    one, two = _one_sample(first), _one_sample(other)
    a, b = np.square(one.error), np.square(two.error)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.square(a + b) / (np.square(a) / one.degrees + np.square(b) / two.degrees)
    return _Student(two.mean - one.mean, np.sqrt(a + b), degrees)


def _interval(student: _Student, level: float) -> Interval:
    mean, error, degrees = student
    half = float(stats.t.isf(level / 2, degrees) * error) if degrees > 0 else math.inf
    return Interval(float(mean) - half, float(mean) + half)


def _difference(one: np.ndarray, two: np.ndarray, axis: int) -> np.ndarray:
    return one.mean(axis=axis) - two.mean(axis=axis)


def _power(away: Any, degrees: Any, level: float) -> Any:
    """Returns how often a t test shows a difference of so many standard errors, with its sign."""
    return stats.nct.sf(stats.t.isf(level / 2, degrees), degrees, away)
