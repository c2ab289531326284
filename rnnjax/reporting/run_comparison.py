"""The comparison of groups of runs, as text, as numbers and as a table in HTML."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.errors import InputError
from rnnjax.reporting import comparison_plot, run_groups
from rnnjax.reporting.run_groups import RunGroup
from rnnjax.reporting.statistics import (
    ALPHA,
    MAX_SEEDS,
    MIN_SEEDS,
    Comparison,
    ComparisonResult,
    Interval,
    compare_scores,
    min_permutation_pairs,
)
from rnnjax.reporting.templates import load_macros


class RunComparison(NamedTuple):
    """A score of a first group of runs, and the differences of the other groups from it.

    Attributes:
      metric: name of the score, 'test.accuracy'.
      groups: the first one is the reference.
      scores: of each group, by seed.
      results: of each group but the first.
    """

    metric: str
    groups: Sequence[RunGroup]
    scores: Sequence[dict[int, float]]
    results: Sequence[ComparisonResult]

    @property
    def names(self) -> list[str]:
        """Names of the groups without the folders, unless these tell them apart."""
        names = [group.name for group in self.groups]
        ends = [name.replace(":", "/").rpartition("/")[2] for name in names]
        return ends if len(set(ends)) == len(ends) else names

    @property
    def better(self) -> str:
        """Whether a 'higher' or a 'lower' score is better; '' if that is not known."""
        schema = self.groups[0].runs[0].config.task_schema
        return schema.better(self.metric.split(".")[-1])

    def rows(self) -> list[list[str]]:
        """Returns the cells of a table, the header first, a row for each group."""
        test_name = "p, Holm" if len(self.results) > 1 else "p"
        heads = ["", "runs", "mean ± sd", "difference", "95 % interval", test_name, "verdict"]
        rows = [heads, [self.names[0], *_mean(self.scores[0]), "", "", "", ""]]
        for name, result, values in zip(self.names[1:], self.results, self.scores[1:], strict=True):
            comparison = result.comparison
            test = ["", ""]
            if comparison.has_spread:
                test = [_ends(comparison.interval), f"{result.p:.3g}"]
            verdict = _verdict(result, self.better)
            rows.append([name, *_mean(values), f"{comparison.mean:+.4f}", *test, verdict])
        return rows

    def details(self, index: int) -> list[str]:
        """Returns the details of a comparison, a line each.

        Args:
          index: of the result.
        """
        baseline, candidate = self.groups[0], self.groups[index + 1]
        return list(_details(baseline, candidate, self.results[index], len(self.results)))

    def __str__(self) -> str:
        rows, better = self.rows(), self.better
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        lines = [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
            ).rstrip()
            for row in rows
        ]
        head = f"{self.metric}{f', {better} is better' if better else ''}; against {self.names[0]}"
        parts = [f"{head}\n", "\n".join(lines)]
        for index, name in enumerate(self.names[1:]):
            details = "\n".join(f"  {line}" for line in self.details(index))
            parts.append(f"\n{name} against {self.names[0]}\n{details}")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        macros = load_macros("rnnjax.reporting", "comparison.html.j2", comparison=self)
        return macros.table()

    def values(self) -> dict[str, Any]:
        """Returns all numbers, ready for JSON."""
        baseline, *candidates = self.groups
        comparisons = [
            {
                "name": candidate.name,
                **_numbers(result, len(self.results)),
                "config": run_groups.config_differences(baseline, candidate),
                "environment": run_groups.environment_differences(baseline, candidate),
            }
            for candidate, result in zip(candidates, self.results, strict=True)
        ]
        return {"metric": self.metric, "first": baseline.name, "comparisons": comparisons}

    def svg(self) -> str:
        """Returns a dot plot of the runs, an SVG file."""
        pairs = [
            (name, result.comparison)
            for name, result in zip(self.names[1:], self.results, strict=True)
        ]
        return comparison_plot.draw(self.metric, self.names[0], pairs)


def compare_groups(groups: Sequence[RunGroup], metric: str) -> RunComparison:
    """Compares a score of the first group of runs with that of each other group.

    Args:
      groups: two or more.
      metric: 'test.accuracy', 'validation.loss' and so on.

    Raises:
      InputError: there are fewer than two groups, a run has no such score, or the scores are not of
        the same rows.
    """
    if len(groups) < 2:
        names = ", ".join(group.name for group in groups)
        raise InputError(f"given {names}; expected two or more different groups of runs")
    scores = [group.scores(metric) for group in groups]
    run_groups.check_comparable(groups, metric)
    results = compare_scores(
        [Comparison.from_seeds(scores[0], candidate) for candidate in scores[1:]]
    )
    return RunComparison(metric, groups, scores, results)


def _mean(scores: dict[int, float]) -> list[str]:
    """Returns the number of scores, and their mean and standard deviation."""
    values = np.array(list(scores.values()))
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return [str(len(values)), f"{values.mean():.4f}{spread}"]


def _verdict(result: ComparisonResult, better: str) -> str:
    if result.verdict == "none":
        few = result.comparison.num_runs < MIN_SEEDS
        return f"no verdict: fewer than {MIN_SEEDS} seeds" if few else "no verdict: no spread"
    if result.verdict == "not shown":
        return "no difference shown"
    quality = "better" if result.verdict == better else "worse"
    return f"{quality if better else result.verdict} (p below {ALPHA})"


def _details(
    baseline: RunGroup, candidate: RunGroup, result: ComparisonResult, num_comparisons: int
) -> Iterator[str]:
    """Yields the details of a comparison, a line each."""
    comparison = result.comparison
    yield _describe_seeds(baseline, candidate, comparison)
    if comparison.has_spread:
        yield from _describe_tests(comparison, num_comparisons)
        if result.verdict not in ("higher", "lower"):
            needed = comparison.seeds_needed(num_comparisons) or f"more than {MAX_SEEDS:,}"
            yield (
                f"a true difference of {abs(comparison.mean):.4f} would take {needed} seeds of "
                "each side to be shown as often"
            )
    else:
        yield "the runs have no spread that a test could tell a difference from"
    for subject, differences in (
        ("config", run_groups.config_differences(baseline, candidate)),
        ("environment", run_groups.environment_differences(baseline, candidate)),
    ):
        yield f"{subject}: {'; '.join(differences) if differences else 'the same'}"


def _describe_tests(comparison: Comparison, num_comparisons: int) -> Iterator[str]:
    min_p, limit = comparison.min_permutation_p, ""
    if min_p > ALPHA / num_comparisons:
        more = f", {min_permutation_pairs(num_comparisons)} pairs could show a difference"
        limit = f" (it cannot be below {min_p:.3g}{more if comparison.paired else ''})"
    interval = comparison.bootstrap
    # Ties leave one end undetermined, two seeds both.
    bounded = any(map(math.isfinite, interval))
    bootstrap = _ends(interval) if bounded else "needs more seeds"
    yield (
        f"by resampling: 95 % interval {bootstrap}, "
        f"permutation p {comparison.permutation_p:.3g}{limit}"
    )
    if not math.isnan(comparison.effect_size):
        kind = "d_z" if comparison.paired else "g"
        yield f"effect size {kind} {comparison.effect_size:+.2f}"
    yield (
        "these runs would show a true difference of "
        f"{comparison.minimum_detectable_effect(num_comparisons):.4f} in four cases of five"
    )


def _describe_seeds(baseline: RunGroup, candidate: RunGroup, comparison: Comparison) -> str:
    a, b = ({run.seed for run in group.runs} for group in (baseline, candidate))
    if not comparison.paired:
        return (
            "not paired: their seeds differ, so the two sides are taken for independent (Welch), "
            f"seeds {_seeds(a)} and {_seeds(b)}"
        )
    r = comparison.correlation
    correlation = "" if math.isnan(r) else f", correlation of the pairs {r:+.2f}"
    unpaired = f"; without a partner, and left out: seeds {_seeds(a ^ b)}" if a ^ b else ""
    return f"paired by seeds {_seeds(a & b)}{correlation}{unpaired}"


def _numbers(result: ComparisonResult, num_comparisons: int) -> dict[str, Any]:
    comparison = result.comparison
    tested = comparison.has_spread
    return {
        "verdict": result.verdict,
        "paired": comparison.paired,
        "runs": [len(comparison.reference), len(comparison.candidate)],
        "means": [float(comparison.reference.mean()), float(comparison.candidate.mean())],
        "difference": comparison.mean,
        "interval": list(comparison.interval),
        "p": comparison.p if tested else math.nan,
        "p_corrected": result.p if tested else math.nan,
        "bootstrap_interval": list(comparison.bootstrap),
        "permutation_p": comparison.permutation_p if tested else math.nan,
        "min_permutation_p": comparison.min_permutation_p,
        "effect_size": comparison.effect_size,
        "correlation": comparison.correlation,
        "minimum_detectable_effect": comparison.minimum_detectable_effect(num_comparisons),
        "seeds_needed": comparison.seeds_needed(num_comparisons),
    }


def _ends(interval: Interval) -> str:
    return f"[{interval.low:+.4f}, {interval.high:+.4f}]"


def _seeds(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
