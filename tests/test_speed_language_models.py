"""Speed benchmarks of language models and of the softmax: all contenders do the same work."""

from importlib.util import find_spec

import numpy as np
import pytest

from case_data import draw_words, text_data
from contenders import rnnjax as rnnjax_contender
from digests import disagreement


def test_language_model_learns_its_batch_from_the_weights_of_the_case():
    sizes = {"layers": 2, "inputs": 6, "hidden": 5, "batch": 3, "time": 7, "vocabulary": 50}
    spec = {"cell": "lstm", "bidirectional": False, **sizes}
    data = text_data(spec)
    np.testing.assert_array_equal(data.inputs[:, 1:], data.targets[:, :-1])
    digest = rnnjax_contender.language_models(spec, "auto").facts["digest"]
    # The first loss in NumPy, from the state_dict of PyTorch.
    vectors = data.embedding[data.inputs]
    for layer in range(2):
        w_i, w_h, bias, _ = (
            data.weights[f"{name}_l{layer}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden, cell, outputs = np.zeros((3, 5)), np.zeros((3, 5)), []
        for step in range(7):
            gates = vectors[:, step] @ w_i.T + hidden @ w_h.T + bias
            i, f, g, o = np.split(gates, 4, axis=-1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(g)
            hidden = o * np.tanh(cell)
            outputs.append(hidden)
        vectors = np.stack(outputs, axis=1)
    logits = vectors @ data.score
    target_logits = np.take_along_axis(logits, data.targets[..., None], axis=-1)[..., 0]
    losses = np.log(np.exp(logits).sum(-1)) - target_logits
    assert digest["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert digest["fall"] > 0.01


def test_softmax_in_chunks_is_that_of_all_logits_in_less_memory():
    spec = {"tokens": 1_100, "features": 8, "vocabulary": 4_000}
    chunked, plain = (
        rnnjax_contender.softmax(spec, variant).facts for variant in ("auto", "all logits")
    )
    assert disagreement(plain["digest"], chunked["digest"], 1e-4) == ""
    assert 2 * chunked["temp_bytes"] < plain["temp_bytes"]


def test_adaptive_softmax_takes_less_memory_and_is_not_compared():
    spec = {"tokens": 1_100, "features": 16, "vocabulary": 4_000}
    adaptive, plain = (
        rnnjax_contender.softmax(spec, variant).facts for variant in ("adaptive", "all logits")
    )
    assert "digest" not in adaptive
    assert 2 * adaptive["temp_bytes"] < plain["temp_bytes"]


def test_words_are_drawn_by_their_rank():
    words = draw_words(np.random.default_rng(0), 1_000, (100_000,))
    assert (words.min(), words.max()) == (0, 999)
    shares = np.bincount(words)[:3] / len(words)
    expected = np.log([2 / 1, 3 / 2, 4 / 3]) / np.log(1_001)
    np.testing.assert_allclose(shares, expected, atol=0.01)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_language_model_and_softmax_of_pytorch_agree():
    from contenders import torch

    sizes = {"layers": 2, "inputs": 6, "hidden": 5, "batch": 3, "time": 7, "vocabulary": 50}
    spec = {"cell": "lstm", "bidirectional": False, **sizes}
    ours, theirs = (
        module.language_models(spec, "").facts["digest"] for module in (rnnjax_contender, torch)
    )
    assert disagreement(ours, theirs, 1e-4) == ""
    spec = {"tokens": 30, "features": 8, "vocabulary": 40}
    ours, theirs = (
        module.softmax(spec, "").facts["digest"] for module in (rnnjax_contender, torch)
    )
    assert disagreement(ours, theirs, 1e-4) == ""
