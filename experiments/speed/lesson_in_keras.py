"""The four networks of the lesson in Keras on TensorFlow, to be compared with rnnjax.

    pip install -c .ci/constraints.txt -e ".[peers]"
    KERAS_BACKEND=tensorflow python experiments/speed/lesson_in_keras.py ../shared/data/ag_news_csv

One epoch in file order, the vocabulary of the titles of the first 2,000 rows, Adam at 1e-3, as in
the lesson. Prints a JSON object a line: name, seed, parameters, test accuracy, and the wall time
of `fit` in seconds.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # pyright: ignore[reportMissingImports]
import tensorflow as tf  # pyright: ignore[reportMissingImports]
from keras import layers  # pyright: ignore[reportMissingImports]


def read(path: Path) -> tuple[list[str], list[str], list[int]]:
    """Returns titles, titles with descriptions, and labels counted from 0."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    titles = [title for _, title, _ in rows]
    texts = [f"{title} {description}" for _, title, description in rows]
    return titles, texts, [int(label) - 1 for label, _, _ in rows]


def recurrent(name: str) -> list[layers.Layer]:
    """Returns embedding and recurrent layers of a network."""
    if name == "simple_rnn":
        return [layers.Embedding(20_000, 64), layers.SimpleRNN(16)]
    if name == "masked_rnn":
        return [layers.Embedding(20_000, 64, mask_zero=True), layers.SimpleRNN(16)]
    if name == "lstm":
        return [layers.Embedding(20_000, 64), layers.LSTM(8)]
    return [
        layers.Embedding(20_000, 128, mask_zero=True),
        layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(64)),
    ]


def main() -> None:
    """Trains and times the networks named on the command line, or all four."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="holds train.csv and test.csv")
    parser.add_argument("names", nargs="*", help="networks; all four if none is named")
    parser.add_argument("--seed", type=int, default=0, help="of Keras, set for each network")
    arguments = parser.parse_args()
    folder = arguments.folder
    train_titles, train_texts, train_labels = read(folder / "train.csv")
    test_titles, test_texts, test_labels = read(folder / "test.csv")
    vectorizer = layers.TextVectorization(max_tokens=20_000)
    vectorizer.adapt(train_titles[:2_000])
    for name in arguments.names or ["simple_rnn", "masked_rnn", "lstm", "bilstm"]:
        keras.utils.set_random_seed(arguments.seed)
        batch_size = 8 if name == "lstm" else 16
        inputs = keras.Input((1,), dtype="string")
        outputs = vectorizer(inputs)
        for layer in [*recurrent(name), layers.Dense(4, activation="softmax")]:
            outputs = layer(outputs)
        model = keras.Model(inputs, outputs)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        title = name == "simple_rnn"
        train, test = (
            tf.data.Dataset.from_tensor_slices((tf.constant(texts)[:, None], labels)).batch(
                batch_size
            )
            for texts, labels in (
                (train_titles if title else train_texts, train_labels),
                (test_titles if title else test_texts, test_labels),
            )
        )
        start = time.monotonic()
        model.fit(train, epochs=1, verbose=0)
        seconds = time.monotonic() - start
        _, accuracy = model.evaluate(test, verbose=0)
        figures = {
            "name": name,
            "seed": arguments.seed,
            "parameters": model.count_params(),
            "test_accuracy": round(float(accuracy), 4),
            "train_seconds": round(seconds, 1),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
