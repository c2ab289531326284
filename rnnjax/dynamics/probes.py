"""Linear probes: how well a ridge regression on the state recovers a class, or an earlier word."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from rnnjax.data.vocabulary import PADDING, UNKNOWN

_PENALTIES = 10.0 ** np.arange(-2, 5)
"""Ridge penalties; the best by the error of leaving one out is taken."""
_MAX_FEATURES = 512
_MAX_SAMPLES = 2000
_MIN_SAMPLES = 50
_WORDS = 32
LAGS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class Probe(NamedTuple):
    """The score of a linear probe.

    Attributes:
      accuracy: share of held-out samples whose label is recovered.
      baseline: accuracy of the most frequent label of the training samples.
      samples: held-out ones.
    """

    accuracy: float
    baseline: float
    samples: int


class Features(NamedTuple):
    """States of sequences, with what a probe may recover from them.

    The axis of time has the order of reading.

    Attributes:
      states: `[rows, time, size]`, after each step.
      tokens: `[rows, time]`, read at each step; None where the network reads none.
      is_example: `[rows, time]`, False on padding.
      labels: class of each row; None without.
    """

    states: Float[np.ndarray, "rows time size"]
    tokens: Int[np.ndarray, "rows time"] | None
    is_example: Bool[np.ndarray, "rows time"]
    labels: Int[np.ndarray, " rows"] | None

    @property
    def final_states(self) -> Float[np.ndarray, "rows size"]:
        """The states at the end of the examples."""
        time = self.is_example.shape[1]
        last = time - 1 - self.is_example[:, ::-1].argmax(axis=1)
        return self.states[np.arange(len(last)), last]


def probe_class(train: Features, test: Features) -> Probe | None:
    """Scores the recovery of the class from the state at the end of each example.

    Args:
      train: that the probe is fitted on.
      test: held out.

    Returns:
      None without classes.
    """
    if train.labels is None or test.labels is None:
        return None
    return linear_probe(train.final_states, train.labels, test.final_states, test.labels)


def probe_words(train: Features, test: Features, seed: int = 0) -> dict[int, Probe]:
    """Scores the recovery of the k-th last word, by k: 0 is the word that was read last.

    Words are the 32 most frequent tokens; samples are steps with one of them k steps before.

    Args:
      train: that the probes are fitted on.
      test: held out.
      seed: of the choice of the samples.
    """
    if train.tokens is None or test.tokens is None:
        return {}
    counts = np.bincount(train.tokens[train.is_example], minlength=UNKNOWN + 1)
    counts[[PADDING, UNKNOWN]] = 0
    words = np.argsort(-counts, kind="stable")[:_WORDS]
    words = words[counts[words] > 0]
    probes = {}
    for lag in LAGS:
        fitted = _word_samples(train, words, lag, seed)
        held_out = _word_samples(test, words, lag, seed)
        if min(len(fitted[1]), len(held_out[1])) >= _MIN_SAMPLES:
            probes[lag] = linear_probe(*fitted, *held_out)
    return probes


def _word_samples(
    features: Features, words: np.ndarray, lag: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns states, and the words that were read `lag` steps before."""
    assert features.tokens is not None
    time = features.tokens.shape[1]
    if lag >= time:
        return np.zeros((0, features.states.shape[2])), np.zeros(0, np.int64)
    is_example = features.is_example
    is_sample = is_example[:, lag:] & is_example[:, : time - lag]
    is_sample = is_sample & np.isin(features.tokens[:, : time - lag], words)
    rows, steps = np.nonzero(is_sample)
    if len(rows) > _MAX_SAMPLES:
        chosen = np.random.default_rng(seed).choice(len(rows), _MAX_SAMPLES, replace=False)
        rows, steps = rows[chosen], steps[chosen]
    return features.states[rows, steps + lag], features.tokens[rows, steps]


def linear_probe(
    train_states: Float[np.ndarray, "train size"],
    train_labels: Int[np.ndarray, " train"],
    test_states: Float[np.ndarray, "test size"],
    test_labels: Int[np.ndarray, " test"],
) -> Probe:
    """Fits a ridge regression from states to labels, one-hot, and scores it on held-out states.

    States of more than 512 numbers are projected at random. The penalty is that of the least error
    of leaving one out, in closed form: Golub, Heath, Wahba, Technometrics 21 (1979).

    Args:
      train_states: that it is fitted on.
      train_labels: of these.
      test_states: held out.
      test_labels: of these.
    """
    size = train_states.shape[1]
    train_states, test_states = train_states.astype(np.float64), test_states.astype(np.float64)
    if size > _MAX_FEATURES:
        projection = np.random.default_rng(0).standard_normal((size, _MAX_FEATURES))
        train_states, test_states = train_states @ projection, test_states @ projection
    mean, deviation = train_states.mean(axis=0), train_states.std(axis=0)
    deviation = np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, np.inf)
    labels, codes = np.unique(train_labels, return_inverse=True)
    targets = np.eye(len(labels))[codes]
    offset = targets.mean(axis=0)
    normalized = (train_states - mean) / deviation
    # The principal axes are those of a small matrix, where there are more samples than numbers.
    variances, axes = np.linalg.eigh(normalized.T @ normalized)
    components = normalized @ axes
    loadings = components.T @ (targets - offset)
    squares = components**2

    def squared_error(penalty: float) -> float:
        scale = 1 / (np.maximum(variances, 0) + penalty)
        leverage = squares @ scale + 1 / len(squares)
        residuals = targets - offset - components @ (scale[:, None] * loadings)
        return float(((residuals / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).sum())

    penalty = min(_PENALTIES, key=squared_error)
    weights = axes @ (loadings / (np.maximum(variances, 0) + penalty)[:, None])
    scores = (test_states - mean) / deviation @ weights + offset
    return Probe(
        accuracy=float(np.mean(labels[scores.argmax(axis=1)] == test_labels)),
        baseline=float(np.mean(labels[np.bincount(codes).argmax()] == test_labels)),
        samples=len(test_labels),
    )
