"""Linear baseline: a classifier of words and bigrams on the rows of the recurrent one.

    python experiments/best/baseline.py [--data FOLDER]

Softmax regression on tf-idf: the features are all words and bigrams of the training rows, without
hashing. fastText is linear in the same features, but averages them unweighted through ten numbers a
feature. C, the inverse strength of the penalty on the weights, is chosen by the mean accuracy on
the validation splits of three seeds; the first is the seed that chose the recurrent classifier.
The best C is trained again on all training rows, and alone evaluated on the test split.
baseline.jsonl has a record for each training, from which the table in README.md is rendered.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config import parse
from rnnjax.data.batches import Batches
from rnnjax.data.dataset import Dataset
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import fill_pages, render_by_script, write_pages
from rnnjax.experiment.records import write_records
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.classification.data import load_corpus, make_dataset
from rnnjax.tasks.classification.metrics import compute_metrics

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)
SEEDS = (0, 1, 2)
ALL_WORDS = 1_000_000
VALIDATION = 0.1


def features(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns the words and bigrams of a text."""
    return [*((token,) for token in tokens), *itertools.pairwise(tokens)]


def texts(split: Batches) -> list[list[int]]:
    """Returns the token ids of each text."""
    sequences = split.sequences
    return [tokens.tolist() for tokens in np.split(sequences.values, sequences.offsets[1:-1])]


def dataset(folder: str, validation: float, seed: int = 0) -> Dataset:
    """Returns AG News with all its words, and the validation split of a seed."""
    vocabulary = {"size": ALL_WORDS}
    data = {"dir": folder, "fallback": "", "validation": validation, "vocabulary": vocabulary}
    config = parse({"seed": seed, "data": data})
    return make_dataset(config, load_corpus(config.data))


def evaluate(
    train: Batches, name: str, split: Batches, strengths: Sequence[float]
) -> list[dict[str, Any]]:
    """Trains with each C, and returns the scores on a split as records."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    start = time.process_time()
    words = TfidfVectorizer(analyzer=features, sublinear_tf=True, dtype=np.float32)
    inputs, test_inputs = words.fit_transform(texts(train)), words.transform(texts(split))
    counting = time.process_time() - start
    write_message(f"{inputs.shape[1]:,} features of {len(train.targets):,} rows, {counting:.0f} s")
    records = []
    for strength in strengths:
        start = time.process_time()
        model = LogisticRegression(C=strength, max_iter=200).fit(inputs, train.targets)
        seconds = counting + time.process_time() - start
        scores = compute_metrics(split.targets, model.predict_log_proba(test_inputs))
        write_message(
            f"C={strength:g}: {name} accuracy {scores['accuracy']:.4f}, loss {scores['loss']:.4f}"
        )
        records.append(
            {
                "C": strength,
                "rows": len(train.targets),
                "features": inputs.shape[1],
                "cpu_seconds": round(seconds, 1),
                name: scores,
            }
        )
    return records


def mean_accuracy(records: Sequence[dict[str, Any]], strength: float) -> float:
    """Returns the mean accuracy of a C on the validation splits."""
    return statistics.mean(
        record["validation"]["accuracy"] for record in records if record["C"] == strength
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Chooses C, trains, evaluates and records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="../shared/data/ag_news_csv", help="folder of AG News")
    folder = parser.parse_args(arguments).data
    page = Path(__file__).parent
    fill_pages(page, render_by_script(page))  # a page without marks fails before the work
    records = []
    for seed in SEEDS:
        data = dataset(folder, VALIDATION, seed)
        assert data.validation is not None
        scores = evaluate(data.train, "validation", data.validation, STRENGTHS)
        records += [{"seed": seed, **record} for record in scores]
    best = max(STRENGTHS, key=lambda strength: mean_accuracy(records, strength))
    data = dataset(folder, 0.0)
    records += evaluate(data.train, "test", data.test, [best])
    write_records(page / "baseline.jsonl", records)
    write_pages(page, render_by_script(page))
    write_message(f"recorded in {page / 'baseline.jsonl'}, rendered in {page / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
