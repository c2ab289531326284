"""Linear probes recover what the state has, and nothing that it lacks."""

import numpy as np
import pytest

from rnnjax.dynamics.probes import Features, linear_probe, probe_class, probe_words

MEMORY, WORDS, TIME = 3, 6, 20


def shift_register(rows, seed, padding=0):
    """Returns states with the last three words, one-hot, and nothing else of the text."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 2 + WORDS, (rows, TIME))
    one_hot = np.eye(WORDS)[tokens - 2]
    parts = [np.pad(one_hot, ((0, 0), (lag, 0), (0, 0)))[:, :TIME] for lag in range(MEMORY)]
    states = np.concatenate(parts, axis=2)
    labels = tokens[:, -1] % 2

    def pad(values, constant):
        widths = [(0, 0), (0, padding)] + [(0, 0)] * (values.ndim - 2)
        return np.pad(values, widths, constant_values=constant)

    is_example = np.ones((rows, TIME), bool)
    return Features(pad(states, 9.0), pad(tokens, 0), pad(is_example, False), labels)


@pytest.mark.parametrize("padding", [0, 7])
def test_words_in_memory_are_recovered_and_older_ones_are_not(padding):
    train, test = shift_register(200, 0, padding), shift_register(100, 1, padding)
    probes = probe_words(train, test)
    assert list(probes) == [0, 1, 2, 3, 4, 6, 8, 12, 16]
    for lag, probe in probes.items():
        if lag < MEMORY:
            assert probe.accuracy == 1.0
        else:
            assert probe.accuracy < probe.baseline + 0.1
        assert probe.baseline == pytest.approx(1 / WORDS, abs=0.06)
    probe = probe_class(train, test)
    assert probe is not None
    assert (probe.accuracy, probe.samples) == (1.0, 100)


def test_labels_and_tokens_may_lack():
    features = shift_register(20, 0)._replace(labels=None, tokens=None)
    assert probe_class(features, features) is None
    assert probe_words(features, features) == {}


def test_examples_without_a_token_have_no_words():
    features = shift_register(20, 0)
    features = features._replace(is_example=np.zeros_like(features.is_example))
    assert probe_words(features, features) == {}


def test_noise_does_not_fit_its_own_labels():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((2, 120, 700))
    labels = rng.integers(0, 2, (2, 120))
    probe = linear_probe(states[0], labels[0], states[1], labels[1])
    assert abs(probe.accuracy - 0.5) < 0.15
