"""Baselines that are not recurrent: nearest neighbour by time warping, and softmax regression.

    python experiments/time_series/baseline.py

The series are those of `prepare.py`, scaled by the training part. baseline.jsonl has a record for
each classifier and data set, from which the table in README.md is rendered.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config import load_config
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import fill_pages, render_by_script, write_pages
from rnnjax.experiment.records import write_records
from rnnjax.reporting.progress import Progress, write_message
from rnnjax.tasks.time_series.data import SeriesBatches
from rnnjax.tasks.time_series.task import TimeSeriesTask

DATA = {
    "japanese_vowels": ("vowels_TRAIN.ts", "vowels_TEST.ts"),
    "mnist1d": ("mnist1d_ordered_train.npz", "mnist1d_ordered_test.npz"),
    "mnist1d_shuffled": ("mnist1d_shuffled_train.npz", "mnist1d_shuffled_test.npz"),
}
_STEPS = 30


def load(name: str) -> tuple[SeriesBatches, SeriesBatches]:
    """Returns the training and the test split of a data set, without a validation split."""
    train, test = (f"runs/time_series_data/{file}" for file in DATA[name])
    values = {"data.file": train, "data.test_file": test, "data.validation": 0.0}
    config = load_config("time_series", values)
    dataset = TimeSeriesTask.make_dataset(config, TimeSeriesTask.load_corpus(config))
    return dataset.train, dataset.test


def warping_distances(query: np.ndarray, padded: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the distances of dynamic time warping from a series to all others.

    Sakoe, Chiba, Dynamic programming algorithm optimization for spoken word recognition, 1978: the
    sum of squared differences along the cheapest alignment, here without a window.

    Args:
      query: `[steps, channels]`.
      padded: `[series, time, channels]`.
      lengths: of the series.
    """
    count, longest = padded.shape[:2]
    row = np.full((count, longest + 1), np.inf)
    row[:, 0] = 0
    for values in query:
        costs = np.sum((padded - values) ** 2, axis=-1)
        entries = np.minimum(row[:, 1:], row[:, :-1])
        row = np.full((count, longest + 1), np.inf)
        for step in range(longest):
            row[:, step + 1] = costs[:, step] + np.minimum(entries[:, step], row[:, step])
    return row[np.arange(count), lengths]


def nearest_neighbour(train: SeriesBatches, test: SeriesBatches) -> float:
    """Returns the test accuracy of the label of the nearest training series."""
    lengths = train.sequences.lengths
    padded, _ = train.sequences.pad(np.arange(len(train)), int(lengths.max()))
    hits = 0
    with Progress("nearest neighbours", len(test)) as progress:
        for number in range(len(test)):
            start, stop = test.sequences.offsets[number : number + 2]
            distances = warping_distances(test.sequences.values[start:stop], padded, lengths)
            hits += train.targets[np.argmin(distances)] == test.targets[number]
            progress.update(number + 1)
    return float(hits / len(test))


def stretch(split: SeriesBatches) -> np.ndarray:
    """Returns each series as one vector of `_STEPS` interpolated steps, channel after channel."""
    rows = []
    for values in np.split(split.sequences.values, split.sequences.offsets[1:-1]):
        places = np.linspace(0, len(values) - 1, _STEPS)
        steps = np.arange(len(values))
        rows.append(np.concatenate([np.interp(places, steps, channel) for channel in values.T]))
    return np.stack(rows)


def softmax_regression(train: SeriesBatches, test: SeriesBatches) -> float:
    """Returns the test accuracy of softmax regression on stretched series."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2_000)
    model.fit(stretch(train), train.targets)
    return float(model.score(stretch(test), test.targets))


CLASSIFIERS = {
    "nearest neighbour, time warping": nearest_neighbour,
    "softmax regression": softmax_regression,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates each classifier on each data set, and records."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args(arguments)
    page = Path(__file__).parent
    fill_pages(page, render_by_script(page))  # a page without marks fails before the work
    records: list[dict[str, Any]] = []
    for name in DATA:
        train, test = load(name)
        for classifier, evaluate in CLASSIFIERS.items():
            start = time.process_time()
            accuracy = evaluate(train, test)
            seconds = round(time.process_time() - start, 1)
            test_scores = {"accuracy": accuracy, "rows": len(test)}
            record = {"data": name, "classifier": classifier, "cpu_seconds": seconds}
            records.append({**record, "test": test_scores})
            write_message(f"{name}, {classifier}: test accuracy {accuracy:.4f}")
    write_records(page / "baseline.jsonl", records)
    write_pages(page, render_by_script(page))
    write_message(f"recorded in {page / 'baseline.jsonl'}, rendered in {page / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
