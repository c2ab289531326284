"""Linear baseline: the label of a character from the characters around it.

    python experiments/tagging/baseline.py

Softmax regression on one-hot characters at each offset within a radius, the best radius chosen by
the accuracy on the validation split of seed 0. That one is trained again on all training texts, and
alone evaluated on the test split. baseline.jsonl has a record for each training, from which the
table in README.md is rendered.
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
from rnnjax.tasks.tagging.data import TokenBatches
from rnnjax.tasks.tagging.task import TaggingTask

RADII = (1, 2, 4, 8)


def features(split: TokenBatches, radius: int, size: int) -> Any:
    """Returns a sparse matrix with a row for each character, one-hot at each offset."""
    from scipy.sparse import csr_matrix

    offsets = range(-radius, radius + 1)
    columns = []
    for tokens in np.split(split.sequences.values, split.sequences.offsets[1:-1]):
        padded = np.pad(tokens, radius)
        window = np.lib.stride_tricks.sliding_window_view(padded, len(offsets))
        columns.append(window + size * np.arange(len(offsets)))
    indices = np.concatenate(columns)
    rows = np.repeat(np.arange(len(indices)), len(offsets))
    ones = np.ones(indices.size, np.float32)
    return csr_matrix((ones, (rows, indices.ravel())), (len(indices), size * len(offsets)))


def evaluate(train: TokenBatches, name: str, split: TokenBatches, radius: int) -> dict[str, Any]:
    """Trains with a radius, and returns its accuracy on a split as a record."""
    from sklearn.linear_model import LogisticRegression

    start = time.process_time()
    size = int(train.sequences.values.max()) + 1
    model = LogisticRegression(max_iter=100)
    model.fit(features(train, radius, size), train.targets.values)
    accuracy = model.score(features(split, radius, size), split.targets.values)
    record = {
        "radius": radius,
        "characters": len(train.tokens),
        "cpu_seconds": round(time.process_time() - start, 1),
        name: {"accuracy": float(accuracy), "tokens": len(split.tokens)},
    }
    write_message(f"radius {radius}: {name} accuracy {accuracy:.4f}")
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Chooses the radius, trains, evaluates and records."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args(arguments)
    page = Path(__file__).parent
    fill_pages(page, render_by_script(page))  # a page without marks fails before the work
    config = load_config("tagging")
    corpus = TaggingTask.load_corpus(config)
    data = TaggingTask.make_dataset(config, corpus)
    assert data.validation is not None
    records = []
    with Progress("radii", len(RADII)) as progress:
        for count, radius in enumerate(RADII, start=1):
            records.append(evaluate(data.train, "validation", data.validation, radius))
            progress.update(count)
    best = max(records, key=lambda record: record["validation"]["accuracy"])["radius"]
    whole = TaggingTask.make_dataset(load_config("tagging", {"data.validation": 0.0}), corpus)
    records.append(evaluate(whole.train, "test", whole.test, best))
    write_records(page / "baseline.jsonl", records)
    write_pages(page, render_by_script(page))
    write_message(f"recorded in {page / 'baseline.jsonl'}, rendered in {page / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
