"""A linear classifier of words and bigrams, on the rows of the recurrent one.

    python experiments/best/baseline.py [--data FOLDER]

Softmax regression on tf-idf: each word and each pair of neighbours that occurs in the training rows
is a feature, none is hashed. fastText is linear in the same features, but averages them unweighted
through ten numbers a feature. How weak the penalty on the weights is, C, is chosen by the mean
accuracy on the validation parts of three seeds, of which the first is that on which the recurrent
one was chosen; the chosen one is trained again on all training rows, and alone meets the test set.
baseline.jsonl has a line for each training, from which the table in README.md is rendered.
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
from rnnjax.data.labelled_text import load_corpus, make_dataset
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import fill_pages, render_by_script, write_pages
from rnnjax.experiment.records import write_records
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.classification_metrics import summary

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)
SEEDS = (0, 1, 2)
ALL_WORDS = 1_000_000
VALIDATION = 0.1


def features(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns the words of a text and its pairs of neighbours."""
    return [*((token,) for token in tokens), *itertools.pairwise(tokens)]


def texts(part: Batches) -> list[list[int]]:
    """Returns the numbered tokens of each text."""
    sequences = part.sequences
    return [each.tolist() for each in np.split(sequences.tokens, sequences.offsets[1:-1])]


def dataset(folder: str, validation: float, seed: int = 0) -> Dataset:
    """Returns AG News with all its words, and the validation part of a seed."""
    vocabulary = {"size": ALL_WORDS}
    data = {"dir": folder, "fallback": "", "validation": validation, "vocabulary": vocabulary}
    config = parse({"seed": seed, "data": data})
    return make_dataset(config, load_corpus(config.data))


def judged(
    train: Batches, split: str, part: Batches, strengths: Sequence[float]
) -> list[dict[str, Any]]:
    """Returns the record of a training for each C."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    start = time.process_time()
    words = TfidfVectorizer(analyzer=features, sublinear_tf=True, dtype=np.float32)
    seen, unseen = words.fit_transform(texts(train)), words.transform(texts(part))
    counting = time.process_time() - start
    write_message(f"{seen.shape[1]:,} features of {len(train.labels):,} rows, {counting:.0f} s")
    records = []
    for strength in strengths:
        start = time.process_time()
        model = LogisticRegression(C=strength, max_iter=200).fit(seen, train.labels)
        seconds = counting + time.process_time() - start
        found = summary(part.labels, model.predict_log_proba(unseen))
        write_message(
            f"C={strength:g}: {split} accuracy {found['accuracy']:.4f}, loss {found['loss']:.4f}"
        )
        records.append(
            {
                "C": strength,
                "rows": len(train.labels),
                "features": seen.shape[1],
                "cpu_seconds": round(seconds, 1),
                split: found,
            }
        )
    return records


def mean_accuracy(records: Sequence[dict[str, Any]], strength: float) -> float:
    """Returns the mean accuracy of a C on the validation parts."""
    own = (record for record in records if record["C"] == strength)
    return statistics.mean(record["validation"]["accuracy"] for record in own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Chooses, trains, tests and records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="../shared/data/ag_news_csv", help="folder of AG News")
    folder = parser.parse_args(arguments).data
    here = Path(__file__).parent
    fill_pages(here, render_by_script(here))  # a page without marks is found before the work
    records = []
    for seed in SEEDS:
        held_out = dataset(folder, VALIDATION, seed)
        assert held_out.validation is not None
        found = judged(held_out.train, "validation", held_out.validation, STRENGTHS)
        records += [{"seed": seed, **record} for record in found]
    best = max(STRENGTHS, key=lambda strength: mean_accuracy(records, strength))
    whole = dataset(folder, 0.0)
    records += judged(whole.train, "test", whole.test, [best])
    write_records(here / "baseline.jsonl", records)
    write_pages(here, render_by_script(here))
    write_message(f"recorded in {here / 'baseline.jsonl'}, rendered in {here / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
