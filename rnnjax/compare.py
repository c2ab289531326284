"""Compares runs over their seeds: the first that are given with each of the others.

    python -m rnnjax.compare experiments/lesson:gru experiments/lesson:bilstm
    python -m rnnjax.compare experiments/lesson:gru experiments/lesson --metric=test.loss
    python -m rnnjax.compare 'runs/gru-seed*' runs/five-replicates --plot=difference.svg --json

It says by how much they differ, whether that could be chance, what these runs could have shown at
all, and in what their configs and environments differ. Where the seeds are the same, runs are
paired. On fewer than five seeds there is no verdict. `rnnjax.reporting.statistics` says how and
why.
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
_BETTER = {
    "accuracy": "higher",
    "macro_f1": "higher",
    "loss": "lower",
    "bits": "lower",
    "perplexity": "lower",
    "bleu": "higher",
    "chrf": "higher",
    "exact": "higher",
}


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
    better = _BETTER.get(metric.split(".")[-1])
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
    judged: Sequence[ComparisonResult],
    scores: Sequence[dict[int, float]],
    better: str | None,
) -> str:
    several = len(judged) > 1
    heads = ["", "runs", "mean ± sd", "difference", "95 % interval", "p, Holm" if several else "p"]
    rows = [[*heads, "verdict"], [names[0], *_mean(scores[0]), "", "", "", ""]]
    for name, each, own in zip(names[1:], judged, scores[1:], strict=True):
        contrast = each.comparison
        tested = [_ends(contrast.interval), f"{each.p:.3g}"] if contrast.has_spread else ["", ""]
        verdict = _verdict(each, better)
        rows.append([name, *_mean(own), f"{contrast.mean:+.4f}", *tested, verdict])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _mean(scores: dict[int, float]) -> list[str]:
    """Returns how many scores there are, and their mean and standard deviation."""
    values = np.array(list(scores.values()))
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return [str(len(values)), f"{values.mean():.4f}{spread}"]


def _verdict(judged: ComparisonResult, better: str | None) -> str:
    if judged.verdict == "none":
        few = judged.comparison.num_runs < MIN_SEEDS
        return f"no verdict: fewer than {MIN_SEEDS} seeds" if few else "no verdict: no spread"
    if judged.verdict == "not shown":
        return "no difference shown"
    known = "better" if judged.verdict == better else "worse"
    return f"{known if better else judged.verdict} (p below {ALPHA})"


def _details(
    first: RunGroup, other: RunGroup, judged: ComparisonResult, comparisons: int
) -> Iterator[str]:
    """Yields what the table has no room for, a line each."""
    contrast = judged.comparison
    yield _runs_compared(first, other, contrast)
    if contrast.has_spread:
        yield from _in_numbers(contrast, comparisons)
        if judged.verdict not in ("higher", "lower"):
            needed = contrast.seeds_needed(comparisons) or f"more than {MAX_SEEDS:,}"
            yield (
                f"a true difference of {abs(contrast.mean):.4f} would take {needed} seeds of each "
                "side to be shown as often"
            )
    else:
        yield "the runs have no spread that a test could tell a difference from"
    for what, differing in (
        ("config", run_groups.config_differences(first, other)),
        ("environment", run_groups.environment_differences(first, other)),
    ):
        yield f"{what}: {'; '.join(differing) if differing else 'the same'}"


def _in_numbers(contrast: Comparison, comparisons: int) -> Iterator[str]:
    least, cure = contrast.min_permutation_p, ""
    if least > ALPHA / comparisons:
        more = f", {min_permutation_pairs(comparisons)} pairs could show a difference"
        cure = f" (it cannot be below {least:.3g}{more if contrast.paired else ''})"
    interval = contrast.bootstrap
    # Ties leave one end undetermined, two seeds both.
    bounded = any(map(math.isfinite, interval))
    bootstrap = _ends(interval) if bounded else "needs more seeds"
    yield (
        f"by resampling: 95 % interval {bootstrap}, "
        f"permutation p {contrast.permutation_p:.3g}{cure}"
    )
    if not math.isnan(contrast.effect_size):
        kind = "d_z" if contrast.paired else "g"
        yield f"effect size {kind} {contrast.effect_size:+.2f}"
    yield (
        "these runs would show a true difference of "
        f"{contrast.minimum_detectable_effect(comparisons):.4f} in four cases of five"
    )


def _runs_compared(first: RunGroup, other: RunGroup, contrast: Comparison) -> str:
    a, b = ({run.seed for run in side.runs} for side in (first, other))
    if not contrast.paired:
        return (
            "not paired: their seeds differ, so the two sides are taken for independent (Welch), "
            f"seeds {_seeds(a)} and {_seeds(b)}"
        )
    linked = contrast.correlation
    alike = "" if math.isnan(linked) else f", correlation of the pairs {linked:+.2f}"
    left = f"; without a partner, and left out: seeds {_seeds(a ^ b)}" if a ^ b else ""
    return f"paired by seeds {_seeds(a & b)}{alike}{left}"


def _numbers(judged: ComparisonResult, comparisons: int) -> dict[str, Any]:
    contrast = judged.comparison
    tested = contrast.has_spread
    return {
        "verdict": judged.verdict,
        "paired": contrast.paired,
        "runs": [len(contrast.reference), len(contrast.candidate)],
        "means": [float(contrast.reference.mean()), float(contrast.candidate.mean())],
        "difference": contrast.mean,
        "interval": list(contrast.interval),
        "p": contrast.p if tested else math.nan,
        "p_corrected": judged.p if tested else math.nan,
        "bootstrap_interval": list(contrast.bootstrap),
        "permutation_p": contrast.permutation_p if tested else math.nan,
        "min_permutation_p": contrast.min_permutation_p,
        "effect_size": contrast.effect_size,
        "correlation": contrast.correlation,
        "minimum_detectable_effect": contrast.minimum_detectable_effect(comparisons),
        "seeds_needed": contrast.seeds_needed(comparisons),
    }


def _ends(interval: Interval) -> str:
    return f"[{interval.low:+.4f}, {interval.high:+.4f}]"


def _seeds(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


if __name__ == "__main__":
    launch("compare")
