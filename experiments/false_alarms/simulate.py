"""Simulates runs without a difference, and measures the false positive rates of each method.

    python experiments/false_alarms/simulate.py

records the rates in `rates.jsonl` and renders `README.md`. It takes some minutes on one core.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tqdm
from scipy import stats

from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.experiment.records import write_records
from rnnjax.reporting.statistics import ALPHA, Comparison

FOLDER = Path(__file__).parent
CASES = 1_000


def normal(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.normal(0, 1, (2, *shape))


def heavy(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.standard_t(3, (2, *shape))


def two_values(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.choice([-1, 1], (2, *shape)) + draw.normal(0, 0.01, (2, *shape))


def collapsing(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.normal(0, 0.3, (2, *shape)) - 5 * (draw.random((2, *shape)) < 1 / 7)


def one_collapsing(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    first, second = draw.normal(0, 0.3, (2, *shape))
    return np.stack([first, second + 5 / 7 - 5 * (draw.random(shape) < 1 / 7)])


def unequal(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return draw.normal(0, 1, (2, *shape)) * np.array([1, 4])[:, None, None]


SCORES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": normal,
    "heavy tails (t, 3 degrees)": heavy,
    "two values": two_values,
    "one seed in seven collapses, of both": collapsing,
    "one side spreads four times as far": unequal,
    "one seed in seven collapses, of one side; equal means": one_collapsing,
}


def rates(scores: str, seeds: int, paired: bool) -> dict[str, float]:
    """Returns the share of cases in which each method reports a difference."""
    draw = np.random.default_rng([seeds, paired])
    firsts, seconds = SCORES[scores](draw, (CASES, seeds))
    counts = {"verdict": 0, "permutation": 0, "studentized bootstrap": 0}
    for first, second in zip(firsts, seconds, strict=True):
        comparison = Comparison(first, second, paired)
        counts["verdict"] += comparison.p <= ALPHA
        counts["permutation"] += comparison.permutation_p <= ALPHA
        low, high = comparison.bootstrap
        counts["studentized bootstrap"] += not low <= 0 <= high
    for method in ("percentile", "BCa") if paired else ():
        misses = 0
        for chunk in np.array_split(seconds - firsts, 20):
            with np.errstate(all="ignore"):
                ends = stats.bootstrap(
                    (chunk,), np.mean, axis=1, method=method, n_resamples=999, rng=draw
                ).confidence_interval
            misses += int(np.sum((ends.low > 0) | (ends.high < 0)))
        counts[f"{method} bootstrap"] = misses
    return {method: int(count) / CASES for method, count in counts.items()}


def main() -> None:
    """Records the rates and renders the page."""
    settings = [(name, seeds, True) for name in SCORES for seeds in (5, 10)]
    settings += [(name, 5, False) for name in SCORES]
    records = [
        {
            **{"scores": name, "seeds": seeds, "paired": paired, "cases": CASES},
            "rates": rates(name, seeds, paired),
        }
        for name, seeds, paired in tqdm.tqdm(settings)
    ]
    write_records(FOLDER / "rates.jsonl", records)
    write_pages(FOLDER, render_by_script(FOLDER))


if __name__ == "__main__":
    main()
