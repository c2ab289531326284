"""A language model with an adaptive softmax: trained, evaluated, scored, generated, exported."""

import math

import numpy as np
import pytest

from rnnjax import training
from rnnjax.data.vocabulary import END
from rnnjax.errors import InputError
from rnnjax.exporting.folder import write_folder
from rnnjax.tasks.language_modeling.trained_run import TrainedLanguageModel
from rnnjax.tasks.sampling import GenerationOptions

from .small_runs import make_config, read_json, train

CONFIG = {
    "task": "language_modeling",
    "epochs": 12,
    "batch_size": 4,
    "learning_rate": 0.05,
    "data": {"sequence_length": 9, "vocabulary": {"unit": "word", "size": 40}},
    "model": {
        "cell": "LSTMCell",
        "features": 16,
        "embedding": {"features": 6},
        "output": {"cutoffs": "5, 9"},
    },
    "checkpoint": {"every": 0},
}


def test_one_model_answers_everywhere(play, tmp_path):
    config = make_config(CONFIG, data__file=str(play))
    train(config, tmp_path / "run")
    run = training.load_run(tmp_path / "run")
    assert isinstance(run, TrainedLanguageModel)
    size = len(run.vocabulary)
    shapes = {name: leaf.shape for name, leaf in run.params["score"].items()}
    assert shapes == {
        "head": (16, 7),
        **{"projection_1": (16, 4), "kernel_1": (4, 4)},
        **{"projection_2": (16, 1), "kernel_2": (1, size - 9)},
    }
    assert run.evaluate(play)["loss"] < math.log(size) - 0.15

    text = "the king is here\n"
    (tmp_path / "text.txt").write_text(text)
    ids = run.vocabulary.encode([text]).values
    inputs, targets = np.array([[END, *ids]], np.int32), np.array([*ids, END])
    _, logits = run.task.model.apply({"params": run.params}, inputs, np.ones_like(inputs, bool))
    log_probabilities = np.asarray(logits)[0]
    np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=-1), 1, rtol=1e-5)
    losses = -log_probabilities[np.arange(len(targets)), targets]
    (score,) = run.score([text])
    bits = [*(token.bits for token in score.tokens), score.end_bits]
    np.testing.assert_allclose(bits, losses / math.log(2), rtol=1e-4)
    evaluated = run.evaluate(tmp_path / "text.txt")
    assert evaluated["rows"] == len(targets)
    assert evaluated["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    hits = log_probabilities.argmax(axis=-1) == targets
    assert evaluated["accuracy"] == pytest.approx(hits.mean())

    # The next word where the text is most likely to go on with one.
    step = int(np.argmax(log_probabilities[:4, END + 1 :].max(axis=-1)))
    best = run.vocabulary.words[int(log_probabilities[step].argmax())]
    prompt = " ".join(text.split()[:step])
    greedy = "".join(run.generate(prompt, 1, GenerationOptions(temperature=0.0)))
    assert greedy.strip() == best

    # The self-check of an export compares the answers of NumPy.
    output = write_folder(run, tmp_path / "export", [text, "so art thou", "my lord"])
    assert len(read_json(output / "examples.json")["answers"]) == 3

    other = make_config(
        CONFIG, data__file=str(play), data__vocabulary__size=12, init_from=str(run.folder)
    )
    with pytest.raises(InputError, match=r"clusters of token ids .*their vocabularies differ"):
        train(other, tmp_path / "other")


def test_cutoffs_beyond_the_fitted_vocabulary_are_refused(play, tmp_path):
    config = make_config(CONFIG, data__file=str(play), model__output__cutoffs="5, 39")
    with pytest.raises(InputError, match=r"cutoffs: given 5, 39 of a vocabulary of \d\d tokens"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
