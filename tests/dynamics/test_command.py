"""The command `rnnjax dynamics` on a run without a mask: page, numbers, and mistakes."""

import dataclasses
import json
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.small_runs import initial_state, news_config, read_files, train

import rnnjax
from rnnjax.cli import launcher
from rnnjax.dynamics import (
    analyze,
    gradient_reach,
    initial_params,
    padding_decay,
    trace_module,
    trace_run,
)
from rnnjax.dynamics.padding import token_padding_decay
from rnnjax.dynamics.runs import load_dataset, take_examples, trace_batch
from rnnjax.errors import InputError
from rnnjax.reporting.dynamics_page import render

TEXTS = ["Goal, said the striker", "profit of the merger", "rocket"]


@pytest.fixture(scope="module")
def unmasked(news, tmp_path_factory):
    """The folder of a run without a mask, analyzed."""
    workdir = tmp_path_factory.mktemp("runs") / "unmasked"
    overrides = {"model__mask": False, "epochs": 1, "model__features": 3}
    train(news_config(news, **overrides), workdir)
    assert launcher.run_command("dynamics", [f"--workdir={workdir}"]) == 0
    return workdir


@pytest.fixture(scope="module")
def values(unmasked):
    """The numbers of the analysis."""
    return json.loads((unmasked / "dynamics.json").read_text(encoding="utf-8"))


def test_numbers_are_those_of_the_run(unmasked, values):
    run = rnnjax.load(unmasked)
    (layer,) = values["layers"]
    assert (values["name"], layer["name"], layer["size"]) == ("unmasked", "layer 1", 6)
    assert values["classes"] == list(run.data["classes"])
    examples = take_examples(run, load_dataset(run).test, 512)
    rows = np.linspace(0, len(examples.is_example) - 1, values["sequences"]).astype(int)
    batch = jax.tree.map(lambda leaf: leaf[rows], examples.batch)
    for key, params in (
        ("gradient_reach", run.params),
        ("initial_gradient_reach", initial_state(run.config).params),
    ):
        (trajectory,) = trace_batch(run, batch, params)
        expected = gradient_reach(trajectory)
        np.testing.assert_allclose(layer[key]["median"], expected.median, rtol=1e-4)
    assert len(layer["lyapunov"]["exponents"]) == 6
    assert list(layer["points"])[:3] == ["no input", "mean input", "padding"]
    assert layer["probes"]["class"]["samples"] == 61
    assert len(layer["units"]["time_constants"]) == 3


def test_padding_is_read_as_steps(unmasked, values):
    padding = values["padding"]
    assert padding["gain"][0] == 1
    assert padding["gain"][-1] < padding["gain"][1] < 1
    run = rnnjax.load(unmasked)
    test = load_dataset(run).test
    # The accuracy at the end of the text is that of texts without padding.
    texts = list(run.task.load_corpus(run.config).splits["test"].joined_texts("title+description"))
    right = np.argmax(run.predict(texts), axis=1) == test.targets
    assert padding["accuracy"][0] == pytest.approx(right.mean())
    decay = padding_decay(run, TEXTS, max_steps=2)
    np.testing.assert_array_equal(decay.steps, [0, 1, 2])
    assert decay.accuracy is None


def test_texts_without_a_token_do_not_decay(unmasked):
    run = rnnjax.load(unmasked)
    tokens, lengths = np.array([[0, 0, 0], [2, 3, 0], [4, 2, 3]]), np.array([0, 2, 3])
    labels = np.array([0, 1, 2])
    actual = token_padding_decay(run, tokens, lengths, labels, max_steps=1)
    expected = token_padding_decay(run, tokens[1:], lengths[1:], labels[1:], max_steps=1)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_page_has_every_section_and_its_plots(unmasked):
    page = (unmasked / "dynamics.html").read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        "Why padding hurts",
        "How far gradients reach",
        "Lyapunov exponents",
        "Where the state comes to rest",
        "Gates and units",
        "What the state remembers",
    ]
    assert page.count("<svg") >= 6
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert "#00000" not in page  # every colour is a variable of the style sheet


def test_page_escapes_names(values):
    page = render(values | {"name": "<b>mine</b>", "padding": None, "classes": ["<i>a</i>"] * 4})
    assert "<b>mine" not in page
    assert "<i>a" not in page
    assert "Why padding hurts" not in page


def test_page_names_the_gate_of_the_time_constants(values):
    (layer,) = values["layers"]
    assert layer["units"]["retention_gate"] == "forget gate"
    units = layer["units"] | {"time_constants": [1.0, 2.0, 4.0]}
    for name, gate in (("forget gate", "forget gate"), ("update gate (1 keeps)", "update gate")):
        layers = [layer | {"units": units | {"retention_gate": name}}]
        sentence = "The median unit keeps 1/e of its memory after 2.0 steps (1.0 to 4.0), judged by"
        assert f"{sentence} its {gate} alone." in render(values | {"layers": layers})


def test_layers_that_lack_are_refused_before_the_data_is_read(unmasked, monkeypatch):
    from rnnjax.dynamics import analysis

    monkeypatch.setattr(analysis, "load_dataset", lambda run: pytest.fail("the data is read"))
    with pytest.raises(InputError, match=r"^--layer=2: "):
        analyze(rnnjax.load(unmasked), 2)


def test_one_layer_is_analyzed_at_another_path(unmasked, tmp_path, monkeypatch, run_in_process):
    from rnnjax.dynamics import analysis

    chosen = []
    monkeypatch.setattr(analysis, "analyze", lambda run, layer: chosen.append(layer) or Empty())
    monkeypatch.chdir(tmp_path)
    result = run_in_process("dynamics", f"--workdir={unmasked}", "--layer=1", "--output=a.html")
    assert (result.status, result.out) == (0, "a.html\na.json\n")
    assert chosen == [1]
    assert set(read_files(tmp_path)) == {"a.html", "a.json"}


class Empty:
    """An analysis without a number."""

    def __init__(self):
        self.values = {}

    def html(self):
        """Returns an empty page."""
        return ""


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--layer=3", "error: --layer=3: the config of the run has model.layers=1; expected"),
        ("--layer=-1", "given -1, expected 0 or more"),
        ("--output=none/a.html", "there is no folder none; make it"),
        ("--output=a.json", "expected that of a page, .html"),
    ],
)
def test_mistakes_are_named(unmasked, tmp_path, monkeypatch, run_in_process, argument, message):
    monkeypatch.chdir(tmp_path)
    result = run_in_process("dynamics", f"--workdir={unmasked}", argument)
    assert result.status == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_other_data_than_that_of_the_run_is_refused(unmasked):
    run = rnnjax.load(unmasked)
    run = dataclasses.replace(run, data={**run.data, "fingerprint": "0" * 64})
    with pytest.raises(InputError, match="was trained on data of the fingerprint 000000000000"):
        trace_run(run)


def test_texts_are_traced_whatever_the_padding_of_a_masked_network(finished):
    run = rnnjax.load(finished)
    reaches = [gradient_reach(trace_run(run, texts)[0]) for texts in (TEXTS[:1], TEXTS[:1] * 2)]
    padded = trace_run(run, [TEXTS[0], "of " * 15])[0]
    row = padded.replace(
        inputs=padded.inputs[:1],
        mask=padded.mask[:1],
        initial_state=jax.tree.map(lambda leaf: leaf[:1], padded.initial_state),
    )
    for reach in (reaches[1], gradient_reach(row)):
        np.testing.assert_allclose(reach.median, reaches[0].median, rtol=1e-5)
    with pytest.raises(InputError, match="a masked step keeps the state"):
        padding_decay(run, TEXTS)
    with pytest.raises(InputError, match="given a text without a token"):
        trace_run(run, ["", "goal"])
    assert jax.tree.structure(initial_params(run)) == jax.tree.structure(run.params)


def test_networks_without_a_recurrent_layer_are_refused():
    class Readout(nn.Module):
        @nn.compact
        def __call__(self, inputs, mask):
            return nn.Dense(2)(inputs)

    inputs = jnp.ones((2, 3, 4))
    variables = Readout().init(jax.random.key(0), inputs, None)
    with pytest.raises(InputError, match="no recurrent layer that is run over whole sequences"):
        trace_module(Readout(), variables, inputs)
