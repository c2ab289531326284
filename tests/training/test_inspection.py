"""Inspection of a trained network: gates, states, outputs and attributions of texts."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import config as schema
from rnnjax.cells import Cell, LSTMCell
from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.reporting.inspection_page import render
from rnnjax.tasks import inspection
from rnnjax.tasks.language_modeling.model import LanguageModel
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.training import TrainedRun, inspect_texts
from rnnjax.training.step import make_evaluate_step

from .small_runs import news_config, untrained_classifier

TEXTS = ["Goal, said the striker; xyzzy of profit!", "rocket"]
FEATURES = 8
NETWORKS = {
    "two layers, the greatest output": {"model__layers": 2, "model__pooling": "max"},
    "from both ends": {"model__bidirectional": True, "model__cell": "GRUCell"},
    "of padding, one-hot, two layers from both ends": {
        "model__bidirectional": True,
        "model__cell": "MinGRUCell",
        "model__embedding__features": 0,
        "model__layers": 2,
        "model__mask": False,
    },
    "regularized, the first state learned": {
        "model__learned_initial_state": True,
        "model__regularization__recurrent_dropout": 0.2,
        "model__regularization__weight_dropout": 0.2,
    },
}


@pytest.fixture(scope="module", params=NETWORKS)
def run(request, news):
    """An untrained network."""
    return untrained_classifier(news_config(news, **NETWORKS[request.param]))


def test_inspection_equals_the_outputs_and_states_of_the_network(run):
    inspections = inspect_texts(run, TEXTS)
    inspection = inspections[0]
    tokens = [inspection.text[begin:end].lower() for begin, end in inspection.spans]
    assert " ".join(tokens) == "goal said the striker xyzzy of profit"
    assert inspection.in_vocabulary.tolist() == [word != "xyzzy" for word in tokens]

    # Outputs are those of the text so far, and do not depend on padding.
    so_far = [" ".join(tokens[: count + 1]) for count in range(len(tokens))]
    np.testing.assert_allclose(inspection.probabilities, run.predict(so_far), rtol=1e-4)
    np.testing.assert_allclose(inspections[1].probabilities, run.predict(["rocket"]), rtol=1e-4)

    directions = 1 + run.config.model.bidirectional
    assert len(inspection.layers) == directions * run.config.model.layers
    for layer in inspection.layers:
        assert layer.gates
        parts = {"LSTMCell": ["hidden", "cell"]}.get(run.config.model.cell, ["state"])
        assert [state.name for state in layer.states] == parts
        for values in layer.gates.values():
            assert values.shape == (7, FEATURES)
            assert values.std(axis=0).min() > 0
        for state in layer.states:
            assert state.values.shape == (7, FEATURES)
            reverse = "backward" in layer.name
            values = state.values[::-1] if reverse else state.values
            changes = state.changes[::-1] if reverse else state.changes
            np.testing.assert_allclose(np.diff(values, axis=0), changes[1:], atol=1e-6)
            initial = values[0] - changes[0]
            assert initial.any() == run.config.model.learned_initial_state

    # A text says the same beside another one.
    (single,) = inspect_texts(run, TEXTS[:1])
    np.testing.assert_allclose(inspection.attributions, single.attributions, rtol=1e-3, atol=1e-5)
    for layer, expected in zip(inspection.layers, single.layers, strict=True):
        assert layer.name == expected.name
        for state, expected_state in zip(layer.states, expected.states, strict=True):
            np.testing.assert_allclose(state.values, expected_state.values, rtol=1e-4, atol=1e-5)


def test_attribution_is_the_slope_of_the_log_odds_by_the_word_vector(run):
    if not run.config.model.embedding.features:
        pytest.skip("one-hot vectors stand in no table that could be scaled")
    (inspection,) = inspect_texts(run, ["goal the minister of profit"])
    answer, runner_up = inspection.ranked[:2]
    table = np.array(run.params["embed"]["embedding"])
    numbers = run.vocabulary.encode(["goal the minister of profit"]).values
    advance = jax.jit(run.token_task.advance)

    def odds(number, scale):
        scaled = table.copy()
        scaled[number] *= scale
        params = {**run.params, "embed": {"embedding": scaled}}
        _, (row,) = advance(params, numbers[None], np.ones((1, len(numbers)), bool))
        return float(row[answer] - row[runner_up])

    step = 0.05
    slopes = [(odds(token, 1 + step) - odds(token, 1 - step)) / (2 * step) for token in numbers]
    np.testing.assert_allclose(inspection.attributions, slopes, rtol=0.02, atol=1e-4)
    assert np.ptp(inspection.attributions) > 1e-3


def test_text_too_long_for_a_page_is_refused(news, monkeypatch):
    run = untrained_classifier(news_config(news))
    monkeypatch.setattr(inspection, "_MAX_TOKENS", 5)
    for texts, message in (
        ([], "given 0 texts, expected 1 to 20"),
        (["goal"] * 21, "given 21 texts, expected 1 to 20"),
        (["goal", "--"], "text 2 has 0 words that count, expected 1 to 5"),
        (["goal " * 6], "text 1 has 6 words that count, expected 1 to 5"),
        (["goal", "caf\udce9"], "text 2 is not valid Unicode"),
    ):
        with pytest.raises(InputError, match=message):
            inspect_texts(run, texts)


def test_language_model_is_inspected_and_streamed():
    text = "to be or not to be"
    vocabulary = Vocabulary.fit([text], 20, "character", end_token=True)
    model = LanguageModel(vocabulary=len(vocabulary), cell=LSTMCell(5), embedding=4, layers=2)
    task = LanguageModelingTask(model)
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    run = TrainedRun(
        config=schema.parse(
            {"task": "language_modeling", "data": {"vocabulary": {"unit": "character"}}}
        ),
        task=task,
        data={"fallback": ""},
        vocabulary=vocabulary,
        boundaries=(),
        params=jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), shapes),
        step=0,
        evaluate_step=make_evaluate_step(task),
        folder=Path(),
    )
    (inspection,) = inspect_texts(run, [text])
    assert inspection.outcomes == tuple(vocabulary.words)
    assert inspection.unit == "character"
    # The network has read that a text begins.
    numbers = [END, *vocabulary.encode([text]).values]
    state_and_logits: Any = model.apply(
        {"params": run.params}, np.array([numbers]), np.ones((1, 19), bool)
    )
    expected = jax.nn.softmax(state_and_logits[1][0])
    np.testing.assert_allclose(inspection.probabilities, expected[1:], rtol=1e-4)
    assert inspection.attributions.shape == (len(text),)
    assert [layer.name for layer in inspection.layers] == ["layer 1", "layer 2"]
    initial = inspection.layers[0].states[0].values[0] - inspection.layers[0].states[0].changes[0]
    assert initial.any()
    stream = run.stream()
    np.testing.assert_allclose(stream.feed(""), expected[0], rtol=1e-4)
    outputs = [stream.feed(character) for character in text]
    np.testing.assert_allclose(outputs, inspection.probabilities, rtol=1e-4)
    np.testing.assert_array_equal(stream.feed(""), outputs[-1])


class MatrixState(NamedTuple):
    matrix: jax.Array
    steps: jax.Array


class MatrixCell(Cell):
    """A cell whose state is a matrix and a number a row."""

    def setup(self):
        self.input = self.dense(self.features)

    def initial_state(self, input_shape):
        batch = input_shape[:-1]
        matrix = jnp.zeros((*batch, self.features, self.features), self.param_dtype)
        return MatrixState(matrix, jnp.zeros(batch, jnp.int32))

    def project(self, inputs):
        return self.input(inputs)

    def step(self, state, projected):
        outer = projected[..., :, None] * projected[..., None, :]
        matrix = state.matrix + self.gate("write gate", outer)
        return MatrixState(matrix, state.steps + 1), jnp.tanh(matrix.sum(axis=-1))


def test_matrix_state_has_a_unit_for_each_entry(news):
    run = untrained_classifier(news_config(news, model__cell="training.test_inspection:MatrixCell"))
    (inspection, _) = inspect_texts(run, TEXTS)
    (layer,) = inspection.layers
    matrix, steps = layer.states
    tokens = len(inspection.spans)
    assert [state.name for state in layer.states] == ["matrix", "steps"]
    assert steps.values.tolist() == [[number] for number in range(1, tokens + 1)]
    assert steps.changes.tolist() == [[1.0]] * tokens
    outer = layer.gates["write gate"].reshape(tokens, FEATURES, FEATURES)
    np.testing.assert_allclose(outer, outer.swapaxes(1, 2))
    np.testing.assert_allclose(matrix.values, outer.cumsum(0).reshape(tokens, -1), rtol=1e-5)
    assert "write gate" in render([inspection], name="run", cell="MatrixCell", fallback="")
