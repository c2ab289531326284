"""Simulates runs that do not differ, and counts the verdicts and intervals that say they do.

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
    first, other = draw.normal(0, 0.3, (2, *shape))
    return np.stack([first, other + 5 / 7 - 5 * (draw.random(shape) < 1 / 7)])


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
    """Returns how often each method tells a difference, or its interval leaves out none."""
    draw = np.random.default_rng([seeds, paired])
    firsts, others = SCORES[scores](draw, (CASES, seeds))
    found = {"verdict": 0, "permutation": 0, "studentized bootstrap": 0}
    for first, other in zip(firsts, others, strict=True):
        contrast = Comparison(first, other, paired)
        found["verdict"] += contrast.p <= ALPHA
        found["permutation"] += contrast.permutation_p <= ALPHA
        low, high = contrast.bootstrap
        found["studentized bootstrap"] += not low <= 0 <= high
    for method in ("percentile", "BCa") if paired else ():
        missed = 0
        for chunk in np.array_split(others - firsts, 20):
            with np.errstate(all="ignore"):
                ends = stats.bootstrap(
                    (chunk,), np.mean, axis=1, method=method, n_resamples=999, rng=draw
                ).confidence_interval
            missed += int(np.sum((ends.low > 0) | (ends.high < 0)))
        found[f"{method} bootstrap"] = missed
    return {method: int(count) / CASES for method, count in found.items()}


def main() -> None:
    """Records and renders."""
    asked = [(name, seeds, True) for name in SCORES for seeds in (5, 10)]
    asked += [(name, 5, False) for name in SCORES]
    records = [
        {
            **{"scores": name, "seeds": seeds, "paired": paired, "cases": CASES},
            "rates": rates(name, seeds, paired),
        }
        for name, seeds, paired in tqdm.tqdm(asked)
    ]
    write_records(FOLDER / "rates.jsonl", records)
    write_pages(FOLDER, render_by_script(FOLDER))


if __name__ == "__main__":
    main()
