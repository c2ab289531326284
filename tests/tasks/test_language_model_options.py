"""Options of the AWD-LSTM reached by the config: widths, dropouts, penalties of the outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.streams import StreamBatch
from rnnjax.errors import InputError
from rnnjax.layers import activation_regularization, temporal_activation_regularization
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.tasks.token_metrics import token_sums

VOCABULARY, BATCH, TIME = 11, 4, 6
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(2, VOCABULARY, (BATCH, TIME)).astype(np.int32)
BATCH_OF_TEXT = StreamBatch(
    inputs=TOKENS,
    targets=RNG.integers(2, VOCABULARY, (BATCH, TIME)).astype(np.int32),
    mask=np.arange(TIME) < np.array([6, 6, 4, 1])[:, None],
    weights=(np.arange(TIME) < np.array([6, 6, 4, 1])[:, None]).astype(np.float32),
    first=np.ones(BATCH, bool),
)
SMALL = {"features": 8, "layers": 2, "embedding": {"features": 5}}


def make_task(connected=True, **model) -> LanguageModelingTask:
    """Returns the task of a config."""
    config = parse({"task": "language_modeling", "model": {**SMALL, **model}})
    return LanguageModelingTask.from_config(config, VOCABULARY, {"connected": connected})


def test_layers_have_the_listed_features():
    task = make_task(layers=3, layer_features="8, 6,5", embedding={"features": 5, "tied": True})
    params = task.init(jax.random.key(0))
    shapes = [
        params["recurrent"][f"layers_{index}"]["cell"]["recurrent_kernel"].shape
        for index in range(3)
    ]
    assert shapes == [(8, 32), (6, 24), (5, 20)]
    assert "narrow" not in params  # the topmost has the features of the embedding
    carry = task.initial_carry(BATCH)
    assert [state.hidden.shape[1] for state in carry] == [8, 6, 5]
    wide = make_task(layers=2, layer_features="5,8", embedding={"features": 5, "tied": True})
    assert wide.init(jax.random.key(0))["narrow"]["kernel"].shape == (8, 5)


def test_blocks_stand_around_the_cells_and_a_norm_above_them():
    block = {"features": 6, "inner": 7, "convolution": 3, "groups": 2, "feed_forward": 4}
    task = make_task(cell="MinGRUCell", block=block, dropout=0.25)
    params = task.init(jax.random.key(0))
    layer = params["recurrent"]["layers_1"]
    assert layer["forward_convolution"]["kernel"].shape == (3, 7)
    assert layer["output_projection"]["kernel"].shape == (8, 6)
    assert layer["feed_forward_gate"]["kernel"].shape == (6, 4)
    assert "gate_projection" not in layer
    assert params["output_norm"]["scale"].shape == (6,)
    assert params["score"]["kernel"].shape == (6, VOCABULARY)
    carry = task.initial_carry(BATCH)
    assert [history.shape for ((history, _),) in carry] == [(BATCH, 2, 7)] * 2
    losses, evaluated = draws(task, params)
    assert len(losses) == 2
    assert len(evaluated) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"layer_features": "8,6,5"}, "of 3 layers, and model.layers is 2"),
        ({"layer_features": "8,x"}, "model.layer_features: given '8,x'"),
        ({"layer_features": "8,0"}, "model.layer_features: given '8,0'"),
        ({"connection": "highway", "layer_features": "8,6"}, "no layer has the features"),
        ({"connection": "residual", "layers": 1}, "model.layers is 1"),
        ({"layer_norm": True, "layers": 1}, "model.layer_norm is set and model.layers is 1"),
        ({"block": {"gate": True}}, "model.block.gate is set and model.block.features is 0"),
        ({"block": {"features": 4}, "connection": "residual"}, "model.connection and model.block"),
        ({"output": {"cutoffs": "8,x"}}, "model.output.cutoffs: given '8,x'"),
        ({"output": {"cutoffs": "0,8"}}, "model.output.cutoffs: given '0,8'"),
        ({"output": {"cutoffs": "8,8"}}, "cutoffs is '8,8' .* increasing numbers below"),
        ({"output": {"cutoffs": "8,20000"}}, "data.vocabulary.size 20000: .* below the size"),
        ({"output": {"cutoffs": "4,11"}}, "cutoffs: given 4, 11 of a vocabulary of 11 tokens"),
        ({"output": {"cutoffs": "8", "samples": 3}}, "cutoffs and model.output.samples are set"),
        ({"output": {"cutoffs": "8", "soft_cap": 3.0}}, "cutoffs and model.output.soft_cap are"),
        (
            {"output": {"cutoffs": "8"}, "embedding": {"features": 5, "tied": True}},
            "cutoffs and model.embedding.tied are set",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        make_task(**model)


def test_other_tasks_have_no_clusters_of_words():
    with pytest.raises(InputError, match=r"model\.output\.cutoffs"):
        parse({"task": "translation", "model": {"output": {"cutoffs": "8"}}})


def test_clusters_have_initial_values_by_their_inputs():
    model = {"features": 64, "initialization": "torch", "output": {"cutoffs": "4, 7"}}
    score: Any = make_task(**model).init(jax.random.key(0))["score"]
    shapes = {name: leaf.shape for name, leaf in score.items()}
    assert shapes == {
        "head": (64, 6),
        **{"projection_1": (64, 16), "kernel_1": (16, 3)},
        **{"projection_2": (64, 4), "kernel_2": (4, 4)},
    }
    for leaf in jax.tree.leaves(score):
        assert 0.7 < np.abs(leaf).max() * len(leaf) ** 0.5 <= 1  # uniform within 1 / sqrt(inputs)


def test_training_and_evaluation_of_clusters_have_one_loss():
    task = make_task(output={"cutoffs": "4, 7"})
    params = task.init(jax.random.key(0))
    loss, (sums, _) = loss_of(task, params)
    carry = task.initial_carry(BATCH)
    evaluated = task.evaluate_batch(params, BATCH_OF_TEXT, carry)[0]
    assert float(sums["loss"]) == pytest.approx(float(evaluated["loss"]), rel=1e-5)
    assert float(loss) == pytest.approx(float(sums["loss"] / sums["weight"]), rel=1e-6)


def test_directions_of_a_block_are_not_merged():
    with pytest.raises(InputError, match=r"model\.merge is 'sum' and model\.block"):
        parse({"model": {"block": {"features": 4}, "merge": "sum"}})


def loss_of(task, params, key=0) -> Any:
    carry = task.initial_carry(BATCH)
    return jax.jit(task.loss)(params, BATCH_OF_TEXT, carry, jax.random.key(key))


def draws(task, params) -> tuple[set[float], set[float]]:
    """Returns the logged losses of two keys, and those of evaluations."""
    losses = {float(loss_of(task, params, key)[1][0]["loss"]) for key in (0, 1)}
    carry = task.initial_carry(BATCH)
    evaluated = {
        float(task.evaluate_batch(params, BATCH_OF_TEXT, carry)[0]["loss"]) for _ in range(2)
    }
    return losses, evaluated


RATES = ["input_dropout", "hidden_dropout", "output_dropout", "weight_dropout", "embedding_dropout"]


@pytest.mark.parametrize("name", RATES)
def test_each_dropout_has_a_rate_of_its_own(name):
    params = make_task().init(jax.random.key(0))
    task = make_task(regularization={name: 0.5})
    if name == "weight_dropout":  # a layer within a layer
        recurrent = {layer: {"layer": part} for layer, part in params["recurrent"].items()}
        params = {**params, "recurrent": recurrent}
    losses, evaluated = draws(task, params)
    assert len(losses) == 2
    assert len(evaluated) == 1
    assert not losses & evaluated


@pytest.mark.parametrize("name", RATES[:3])
def test_locked_dropout_has_one_mask_for_all_steps(name):
    """Two equal steps of a text stay equal under one mask, and not under a new one each."""
    place = {"input_dropout": "drop_inputs", "output_dropout": "drop"}.get(name)
    for is_locked in (True, False):
        task = make_task(regularization={name: 0.5, "variational_dropout": is_locked})
        values = jnp.ones((1, 40, 8))

        def drop(model, values=values):
            module = getattr(model, place) if place else None
            if module is None:
                return model.recurrent.dropout, model.recurrent.variational
            return module(values, deterministic=False)

        rngs = {"dropout": jax.random.key(0)}
        params = task.init(jax.random.key(0))
        result: Any = task.model.apply({"params": params}, method=drop, rngs=rngs)
        if place:
            assert bool(jnp.all(result[:, :1] == result)) == is_locked
            assert set(np.unique(result)) == {0, 2}
        else:
            assert result == (0.5, is_locked)


def test_rates_replace_the_common_one():
    task = make_task(dropout=0.25, regularization={"hidden_dropout": 0.5})

    def rates(model):
        return model.drop_inputs.rate, model.recurrent.dropout, model.drop.rate

    params = task.init(jax.random.key(0))
    assert task.model.apply({"params": params}, method=rates) == (0.25, 0.5, 0.25)


@pytest.mark.parametrize("connected", [True, False])
def test_penalties_of_the_outputs_are_part_of_the_loss(connected):
    penalties = {"activation": 2.0, "temporal_activation": 3.0}
    regularization = {"output_dropout": 0.5, "variational_dropout": True}
    task = make_task(connected, regularization={**regularization, **penalties})
    plain = make_task(connected, regularization=regularization)
    params = task.init(jax.random.key(0))
    loss, (sums, carry) = loss_of(task, params)
    plain_loss, (plain_sums, plain_carry) = loss_of(plain, params)
    for value, plain_value in zip(
        jax.tree.leaves((sums, carry)), jax.tree.leaves((plain_sums, plain_carry)), strict=True
    ):
        np.testing.assert_allclose(value, plain_value, rtol=1e-6)
    batch = BATCH_OF_TEXT
    resets = None if connected else batch.inputs == 2
    result: Any = task.model.apply(
        {"params": params},
        batch.inputs,
        batch.mask,
        task.start_state(params, batch, task.initial_carry(BATCH)),
        resets,
        rngs={"dropout": jax.random.key(0)},
        mutable=["activations"],
    )
    (_, logits), variables = result
    (dropped,), (outputs,) = (variables["activations"][name] for name in ("dropped", "outputs"))
    assert token_sums(logits, batch.targets, batch.weights)["loss"] == pytest.approx(
        float(sums["loss"]), rel=1e-5
    )
    expected = 2 * activation_regularization(dropped, jnp.asarray(batch.mask))
    expected += 3 * temporal_activation_regularization(outputs, jnp.asarray(batch.mask), resets)
    assert float(expected) > 0.01
    assert float(loss - plain_loss) == pytest.approx(float(expected), rel=1e-4)
