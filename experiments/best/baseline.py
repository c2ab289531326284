"""A linear classifier of words and bigrams, on the rows and the tokens of the recurrent one.

    python experiments/best/baseline.py [--data FOLDER]

Softmax regression on tf-idf: each word and each pair of neighbours that occurs in the training rows
is a feature, none is hashed. fastText is linear in the same features, but averages them unweighted
through ten numbers a feature. How weak the penalty on the weights is, C, is chosen on the rows that
the recurrent one was chosen on; the chosen one is trained again on all training rows, and alone
meets the test set. baseline.jsonl has a line for each training.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from rnnjax.config import parse
from rnnjax.data.batches import Batches
from rnnjax.data.dataset import Dataset, load_corpus, make_dataset
from rnnjax.errors import InputError
from rnnjax.reporting.files import encode, write_text
from rnnjax.reporting.progress import say
from rnnjax.tasks.scores import summary

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
ALL_WORDS = 1_000_000
VALIDATION = 0.1


def features(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns the words of a text and its pairs of neighbours."""
    return [*((token,) for token in tokens), *itertools.pairwise(tokens)]


def texts(part: Batches) -> list[list[int]]:
    """Returns the numbered tokens of each text."""
    sequences = part.sequences
    return [each.tolist() for each in np.split(sequences.tokens, sequences.offsets[1:-1])]


def dataset(folder: str, validation: float) -> Dataset:
    """Returns AG News with all its words, and the validation part of seed 0."""
    vocabulary = {"size": ALL_WORDS}
    data = {"dir": folder, "fallback": "", "validation": validation, "vocabulary": vocabulary}
    config = parse({"data": data})
    return make_dataset(config, load_corpus(config))


def trained(strength: float, part: Batches) -> Pipeline:
    """Returns the classifier of a part."""
    words = TfidfVectorizer(analyzer=features, sublinear_tf=True, dtype=np.float32)
    return make_pipeline(words, LogisticRegression(C=strength, max_iter=200)).fit(
        texts(part), part.labels
    )


def judged(strength: float, train: Batches, split: str, part: Batches) -> dict[str, Any]:
    """Returns the record of a training."""
    say(f"C={strength:g} on {len(train.labels):,} rows")
    start = time.process_time()
    model = trained(strength, train)
    seconds = time.process_time() - start
    found = summary(part.labels, model.predict_log_proba(texts(part)))
    say(f"  {split} accuracy {found['accuracy']:.4f}, loss {found['loss']:.4f}, {seconds:.0f} s")
    return {
        "C": strength,
        "rows": len(train.labels),
        "features": len(model[0].vocabulary_),
        "cpu_seconds": round(seconds, 1),
        split: found,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Chooses, trains, tests and records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="../shared/data/ag_news_csv", help="folder of AG News")
    folder = parser.parse_args(arguments).data
    held_out = dataset(folder, VALIDATION)
    assert held_out.validation is not None
    records = [
        judged(each, held_out.train, "validation", held_out.validation) for each in STRENGTHS
    ]
    best = max(records, key=lambda record: record["validation"]["accuracy"])["C"]
    whole = dataset(folder, 0.0)
    records.append(judged(best, whole.train, "test", whole.test))
    path = Path(__file__).with_name("baseline.jsonl")
    write_text(path, "".join(f"{encode(record)}\n" for record in records))
    say(f"recorded in {path}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
