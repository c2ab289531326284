"""Compares runs over their seeds: the first group of runs with each of the others.

    rnnjax compare experiments/lesson:gru experiments/lesson:bilstm
    rnnjax compare experiments/lesson:gru experiments/lesson --metric=test.loss
    rnnjax compare 'runs/gru-seed*' runs/five-replicates --plot=difference.svg --json

Prints the difference, its significance, the minimum detectable effect of these runs, and the
differences of their configs and environments. Runs of the same seeds are paired. On fewer than five
seeds there is no verdict. `rnnjax.reporting.statistics` explains the tests.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnnjax import paths
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, path
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.reporting import comparison_plot, run_groups
from rnnjax.reporting.atomic_files import encode_json, write_text
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

POSITIONAL = "RUNS RUNS [RUNS ...]"


def add_flags(parser: Parser) -> None:
    """Adds --metric, --json and --plot."""
    parser.add_argument(
        "--metric",
        default="test.accuracy",
        help="The score to compare: test.loss, test.macro_f1, validation.accuracy and so on. "
        "Default: test.accuracy.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--plot", type=path, metavar="FILE", help="Draw it in this .svg file.")


def main(args: argparse.Namespace) -> None:
    """Prints the differences between the first runs and each of the others."""
    metric, plot = args.metric, args.plot
    if plot and (plot.suffix != ".svg" or not plot.parent.is_dir()):
        raise InputError(f"--plot={plot}: expected a file that ends in .svg, in a folder that is")
    groups = run_groups.read_run_groups([paths.expand(name) for name in args.positional])
    if len(groups) < 2:
        same = ", which are the same runs" if len(args.positional) > 1 else ""
        raise InputError(
            f"given {args.positional}{same}; expected two or more different groups; of each "
            f"{run_groups.RUNS}"
        )
    scores = [group.scores(metric) for group in groups]
    run_groups.check_comparable(groups, metric)
    baseline, *candidates = groups
    results = compare_scores(
        [Comparison.from_seeds(scores[0], candidate) for candidate in scores[1:]]
    )
    names = _short([group.name for group in groups])
    if plot:
        pairs = [(name, result.comparison) for name, result in zip(names[1:], results, strict=True)]
        write_text(plot, comparison_plot.draw(metric, names[0], pairs))
    if args.json:
        comparisons = [
            {
                "name": candidate.name,
                **_numbers(result, len(results)),
                "config": run_groups.config_differences(baseline, candidate),
                "environment": run_groups.environment_differences(baseline, candidate),
            }
            for candidate, result in zip(candidates, results, strict=True)
        ]
        values = {"metric": metric, "first": baseline.name, "comparisons": comparisons}
        write_output(encode_json(values, indent=2))
        return
    schema = baseline.runs[0].config.task_schema
    better = schema.better(metric.split(".")[-1])
    write_output(f"{metric}{f', {better} is better' if better else ''}; against {names[0]}\n")
    write_output(_table(names, results, scores, better))
    for name, candidate, result in zip(names[1:], candidates, results, strict=True):
        write_output(f"\n{name} against {names[0]}")
        for line in _details(baseline, candidate, result, len(results)):
            write_output(f"  {line}")


def _short(names: Sequence[str]) -> list[str]:
    """Returns names without the folders, unless these tell them apart."""
    ends = [name.replace(":", "/").rpartition("/")[2] for name in names]
    return ends if len(set(ends)) == len(ends) else list(names)


def _table(
    names: Sequence[str],
    results: Sequence[ComparisonResult],
    scores: Sequence[dict[int, float]],
    better: str,
) -> str:
    several = len(results) > 1
    heads = ["", "runs", "mean ± sd", "difference", "95 % interval", "p, Holm" if several else "p"]
    rows = [[*heads, "verdict"], [names[0], *_mean(scores[0]), "", "", "", ""]]
    for name, result, values in zip(names[1:], results, scores[1:], strict=True):
        comparison = result.comparison
        test = ["", ""]
        if comparison.has_spread:
            test = [_ends(comparison.interval), f"{result.p:.3g}"]
        verdict = _verdict(result, better)
        rows.append([name, *_mean(values), f"{comparison.mean:+.4f}", *test, verdict])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


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


if __name__ == "__main__":
    launch("compare")
