"""Compares runs over their seeds: the first that are given with each of the others.

    python -m rnnjax.compare experiments/lesson:gru experiments/lesson:bilstm
    python -m rnnjax.compare experiments/lesson:gru experiments/lesson --metric=test.loss
    python -m rnnjax.compare 'runs/gru-seed*' runs/five-replicates --plot=difference.svg --json

It says by how much they differ, whether that could be chance, what these runs could have shown at
all, and in what their configs and environments differ. Where the seeds are the same, runs are
paired. On fewer than five seeds there is no verdict. `rnnjax.reporting.statistics` says how and
why.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from rnnjax import command, paths
from rnnjax.console import show
from rnnjax.errors import InputError
from rnnjax.reporting import contrasts, sides
from rnnjax.reporting.files import encode, write_text
from rnnjax.reporting.sides import Side
from rnnjax.reporting.statistics import (
    FEWEST,
    LEVEL,
    MOST_SEEDS,
    Contrast,
    Interval,
    Judged,
    judge,
    pairs_for_permutation,
)

_METRIC = flags.DEFINE_string(
    "metric", "test.accuracy", "test.loss, test.macro_f1, validation.accuracy and so on."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")
_PLOT = command.define_path("plot", "", "Where to draw it: a file that ends in .svg.")

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


def main(arguments: list[str]) -> None:
    """Prints how the runs named first differ from the others."""
    metric, plot = _METRIC.value, Path(_PLOT.value)
    if _PLOT.value and (plot.suffix != ".svg" or not plot.parent.is_dir()):
        raise InputError(f"--plot={plot}: expected a file that ends in .svg, in a folder that is")
    found = sides.read_sides([paths.expand(argument) for argument in arguments])
    if len(found) < 2:
        same = ", which are the same runs" if len(arguments) > 1 else ""
        raise InputError(
            f"given {arguments}{same}; expected two or more different sides; of each {sides.RUNS}"
        )
    scores = [side.scores(metric) for side in found]
    sides.check_comparable(found, metric)
    judged = judge([Contrast.of_seeds(scores[0], each) for each in scores[1:]])
    first, *others = found
    names = _short([side.name for side in found])
    if _PLOT.value:
        pairs = [(name, each.contrast) for name, each in zip(names[1:], judged, strict=True)]
        write_text(plot, contrasts.draw(metric, names[0], pairs))
    if _JSON.value:
        comparisons = [
            {
                "name": other.name,
                **_numbers(each, len(judged)),
                "config": sides.config_differences(first, other),
                "environment": sides.environment_differences(first, other),
            }
            for other, each in zip(others, judged, strict=True)
        ]
        values = {"metric": metric, "first": first.name, "comparisons": comparisons}
        show(encode(values, indent=2))
        return
    better = _BETTER.get(metric.split(".")[-1])
    show(f"{metric}{f', {better} is better' if better else ''}; against {names[0]}\n")
    show(_table(names, judged, scores, better))
    for name, other, each in zip(names[1:], others, judged, strict=True):
        show(f"\n{name} against {names[0]}")
        for line in _details(first, other, each, len(judged)):
            show(f"  {line}")


def _short(names: Sequence[str]) -> list[str]:
    """Returns names without the folders, unless these tell them apart."""
    ends = [name.replace(":", "/").rpartition("/")[2] for name in names]
    return ends if len(set(ends)) == len(ends) else list(names)


def _table(
    names: Sequence[str],
    judged: Sequence[Judged],
    scores: Sequence[dict[int, float]],
    better: str | None,
) -> str:
    several = len(judged) > 1
    heads = ["", "runs", "mean ± sd", "difference", "95 % interval", "p, Holm" if several else "p"]
    rows = [[*heads, "verdict"], [names[0], *_mean(scores[0]), "", "", "", ""]]
    for name, each, own in zip(names[1:], judged, scores[1:], strict=True):
        contrast = each.contrast
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


def _verdict(judged: Judged, better: str | None) -> str:
    if judged.verdict == "none":
        few = judged.contrast.runs < FEWEST
        return f"no verdict: fewer than {FEWEST} seeds" if few else "no verdict: no spread"
    if judged.verdict == "not shown":
        return "no difference shown"
    known = "better" if judged.verdict == better else "worse"
    return f"{known if better else judged.verdict} (p below {LEVEL})"


def _details(first: Side, other: Side, judged: Judged, comparisons: int) -> Iterator[str]:
    """Yields what the table has no room for, a line each."""
    contrast = judged.contrast
    yield _runs_compared(first, other, contrast)
    if contrast.has_spread:
        yield from _in_numbers(contrast, comparisons)
        if judged.verdict not in ("higher", "lower"):
            needed = contrast.seeds_needed(comparisons) or f"more than {MOST_SEEDS:,}"
            yield (
                f"a true difference of {abs(contrast.mean):.4f} would take {needed} seeds of each "
                "side to be shown as often"
            )
    else:
        yield "the runs have no spread that a test could tell a difference from"
    for what, differing in (
        ("config", sides.config_differences(first, other)),
        ("environment", sides.environment_differences(first, other)),
    ):
        yield f"{what}: {'; '.join(differing) if differing else 'the same'}"


def _in_numbers(contrast: Contrast, comparisons: int) -> Iterator[str]:
    least, cure = contrast.least_permutation_p, ""
    if least > LEVEL / comparisons:
        more = f", {pairs_for_permutation(comparisons)} pairs could show a difference"
        cure = f" (it cannot be below {least:.3g}{more if contrast.paired else ''})"
    interval = f"95 % interval {_ends(contrast.bootstrap)}"
    if not any(map(math.isfinite, contrast.bootstrap)):
        interval = "too few different runs for an interval"
    yield f"by resampling: {interval}, permutation p {contrast.permutation_p:.3g}{cure}"
    if not math.isnan(contrast.effect):
        kind = "d_z" if contrast.paired else "g"
        yield f"effect size {kind} {contrast.effect:+.2f}"
    yield (
        f"these runs would show a true difference of {contrast.smallest(comparisons):.4f} in four "
        "cases of five"
    )


def _runs_compared(first: Side, other: Side, contrast: Contrast) -> str:
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


def _numbers(judged: Judged, comparisons: int) -> dict[str, Any]:
    contrast = judged.contrast
    tested = contrast.has_spread
    return {
        "verdict": judged.verdict,
        "paired": contrast.paired,
        "runs": [len(contrast.first), len(contrast.other)],
        "means": [float(contrast.first.mean()), float(contrast.other.mean())],
        "difference": contrast.mean,
        "interval": list(contrast.interval),
        "p": contrast.p if tested else math.nan,
        "p_corrected": judged.p if tested else math.nan,
        "bootstrap_interval": list(contrast.bootstrap),
        "permutation_p": contrast.permutation_p if tested else math.nan,
        "least_permutation_p": contrast.least_permutation_p,
        "effect_size": contrast.effect,
        "correlation": contrast.correlation,
        "smallest_difference": contrast.smallest(comparisons),
        "seeds_needed": contrast.seeds_needed(comparisons),
    }


def _ends(interval: Interval) -> str:
    return f"[{interval.low:+.4f}, {interval.high:+.4f}]"


def _seeds(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


if __name__ == "__main__":
    command.run(main)
