"""The classification task: loss, adversarial training, trainable rows and metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.cells import EchoStateCell, GRUCell, LSTMCell, SimpleCell
from rnnjax.config import parse
from rnnjax.data.batches import Batch, BatchGroup
from rnnjax.errors import InputError
from rnnjax.tasks.classification.model import Classifier
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.state import init_state
from rnnjax.training.step import make_train_step

NUM_ROWS, VOCAB_SIZE, CLASSES = 23, 9, 3
METADATA = {"classes": ["a", "b", "c"]}
KEY = jax.random.key(0)


def make_batch(seed, lengths=(5, 2, 0, 4), weights=(1, 1, 1, 1)):
    """Returns a batch of random tokens of the vocabulary."""
    rng = np.random.default_rng(seed)
    mask = np.arange(6) < np.array(lengths)[:, None]
    tokens = np.where(mask, rng.integers(1, VOCAB_SIZE, mask.shape), 0)
    return Batch(
        tokens.astype(np.int32),
        mask,
        rng.integers(0, CLASSES, len(mask)).astype(np.int32),
        np.array(weights, np.float32),
    )


def make_group(*batches):
    """Returns batches as one group."""
    return BatchGroup(Batch(*map(np.stack, zip(*batches, strict=True))), np.int32(len(batches)))


def make_model(**options):
    """Returns a small network."""
    defaults = {"vocabulary": NUM_ROWS, "classes": CLASSES, "cell": GRUCell(4), "embedding": 3}
    return Classifier(**{**defaults, **options})


def make_task(num_rows: int = VOCAB_SIZE, *, adversarial=0.0, **options: Any):
    """Returns a task of which the embedding has some trainable rows."""
    rows = {"embed/embedding": num_rows}
    return ClassificationTask(make_model(**options), adversarial=adversarial, trainable_rows=rows)


def train(task, config, *groups):
    """Returns the parameters before and after a step on each batch of the groups."""
    schedule = optax.constant_schedule(config.learning_rate)
    optimizer = make_optimizer(config.optimizer, schedule, task.trainable_mask)
    state = init_state(task, optimizer, [3], batch_size=4).create()
    initial = jax.tree.map(np.array, state.params)
    step = make_train_step(task, optimizer, [3])
    for group in groups:
        state = step(state, group)
    return initial, jax.tree.map(np.array, state.params), state


def assert_all_changed(new, old):
    for new_leaf, old_leaf in zip(*map(jax.tree.leaves, (new, old)), strict=True):
        assert not np.array_equal(new_leaf, old_leaf)


GROUPS = [make_group(make_batch(seed)) for seed in range(4)]
GROUPS.append(make_group(make_batch(4), make_batch(5)))


@pytest.mark.parametrize(
    "overrides",
    [{}, {"optimizer": {"clip_norm": 0.05}}, {"model": {"dropout": 0.3}}],
    ids=["plain", "clipped", "dropout"],
)
def test_unused_embedding_rows_do_not_affect_training(overrides):
    config = parse({"learning_rate": 0.05, **overrides})
    options: dict[str, Any] = {"dropout": config.model.dropout}
    initial, trimmed, state = train(make_task(**options), config, *GROUPS)
    _, untrimmed, _ = train(make_task(NUM_ROWS, **options), config, *GROUPS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), trimmed, untrimmed
    )
    table, initial_table = trimmed["embed"]["embedding"], initial["embed"]["embedding"]
    assert table.shape == (NUM_ROWS, 3)
    np.testing.assert_array_equal(table[VOCAB_SIZE:], initial_table[VOCAB_SIZE:])
    assert (table[1:VOCAB_SIZE] != initial_table[1:VOCAB_SIZE]).any(axis=1).all()
    assert_all_changed(trimmed["score"], initial["score"])
    # The optimizer has no moments for them.
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert shapes.count((VOCAB_SIZE, 3)) == 2
    assert (NUM_ROWS, 3) not in shapes


def test_clipping_changes_the_compared_training():
    values = {"learning_rate": 0.5, "optimizer": {"arguments": {"epsilon": 0.1}}}
    _, unclipped, _ = train(make_task(), parse(values), *GROUPS)
    values["optimizer"]["clip_norm"] = 0.05
    _, clipped, _ = train(make_task(), parse(values), *GROUPS)
    kernels = unclipped["score"]["kernel"], clipped["score"]["kernel"]
    assert not np.allclose(*kernels, atol=1e-3)


def test_weight_decay_skips_a_reservoir_and_unused_rows():
    config = parse({"learning_rate": 0.05, "optimizer": {"weight_decay": 0.1}})
    initial, params, _ = train(make_task(cell=EchoStateCell(4)), config, GROUPS[0])
    jax.tree.map(np.testing.assert_array_equal, params["recurrent"], initial["recurrent"])
    assert_all_changed(params["score"], initial["score"])
    table, initial_table = params["embed"]["embedding"], initial["embed"]["embedding"]
    assert (table[:VOCAB_SIZE] != initial_table[:VOCAB_SIZE]).all()
    np.testing.assert_array_equal(table[VOCAB_SIZE:], initial_table[VOCAB_SIZE:])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_fixed_embedding_keeps_its_initial_values(decay):
    config = parse(
        {
            "learning_rate": 0.05,
            "data": {"vocabulary": {"size": NUM_ROWS}},
            "model": {"embedding": {"features": 3, "trainable": False}, "features": 4},
            "optimizer": {"weight_decay": decay, "clip_norm": 0.5},
        }
    )
    task = ClassificationTask.from_config(config, VOCAB_SIZE, METADATA)
    initial, params, state = train(task, config, GROUPS[-1])
    moments = jax.tree_util.tree_leaves_with_path(state.opt_state)
    assert "embed" not in "".join(jax.tree_util.keystr(path) for path, _ in moments)
    np.testing.assert_array_equal(params["embed"]["embedding"], initial["embed"]["embedding"])
    for name in ("recurrent", "score"):
        assert_all_changed(params[name], initial[name])
    # Its gradient does not count when gradients are clipped either.
    gradient = jax.grad(lambda params: task.loss(params, make_batch(0), None, KEY)[0])
    assert not gradient(initial)["embed"]["embedding"].any()


def test_trainable_rows_are_those_of_the_vocabulary():
    values = {"data": {"vocabulary": {"size": NUM_ROWS}}, "model": {"embedding": {"features": 3}}}
    task = ClassificationTask.from_config(parse(values), VOCAB_SIZE, METADATA)
    assert task.trainable_rows == {"embed/embedding": VOCAB_SIZE}
    assert task.init(KEY)["embed"]["embedding"].shape == (NUM_ROWS, 3)


def test_one_hot_input_has_the_size_of_the_vocabulary():
    values = {"data": {"vocabulary": {"size": NUM_ROWS}}, "model": {"embedding": {"features": 0}}}
    task = ClassificationTask.from_config(parse(values), VOCAB_SIZE, METADATA)
    assert (task.model.vocabulary, task.trainable_rows) == (VOCAB_SIZE, {})
    task = ClassificationTask(make_model(cell=SimpleCell(4), embedding=0))
    assert np.isfinite(task.loss(task.init(KEY), make_batch(0), None, KEY)[0])


def test_config_sets_the_attributes_of_the_network():
    model = {
        "cell": "GRUCell",
        "features": 7,
        "layers": 2,
        "bidirectional": True,
        "merge": "ave",
        "pooling": "max",
        "dropout": 0.25,
        "embedding": {"features": 5},
    }
    config = parse({"dtype": "bfloat16", "model": model, "data": {"vocabulary": {"size": 50}}})
    network = ClassificationTask.from_config(config, 10, METADATA).model
    half = jnp.dtype("bfloat16")
    assert network == Classifier(
        vocabulary=50,
        classes=CLASSES,
        cell=GRUCell(7, dtype=half),
        layers=2,
        embedding=5,
        bidirectional=True,
        merge="ave",
        pooling="max",
        dropout=0.25,
        dtype=half,
    )
    with pytest.raises(InputError, match=r"config\.model\.cell: given 'RNN'"):
        ClassificationTask.from_config(parse({"model": {"cell": "RNN"}}), 10, METADATA)


def numpy_losses(task, params, batch):
    """Returns loss and hit of each row, computed in NumPy from the logits."""
    logits = np.asarray(task.model.apply({"params": params}, batch.inputs, batch.mask), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(4), batch.targets]), logits.argmax(
        axis=1
    ) == batch.targets


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 0, 0, 1), (0, 0, 0, 1), (0.5, 2, 0, 1)])
def test_loss_is_a_weighted_mean(weights):
    task = make_task()
    params = jax.tree.map(lambda leaf: 3 * leaf + 0.1, task.init(jax.random.key(1)))
    batch = make_batch(4, weights=weights)
    losses, hits = numpy_losses(task, params, batch)
    value, (sums, _) = task.loss(params, batch, None, KEY)
    np.testing.assert_allclose(value, np.dot(losses, weights) / sum(weights), rtol=1e-5)
    np.testing.assert_allclose(sums["loss"], np.dot(losses, weights), rtol=1e-5)
    np.testing.assert_allclose(sums["accuracy"], np.dot(hits, weights))
    np.testing.assert_allclose(sums["weight"], sum(weights))


def test_gradient_ignores_rows_of_weight_zero():
    task = make_task(cell=LSTMCell(4))
    params = task.init(jax.random.key(1))
    gradient = jax.jit(jax.grad(lambda params, batch: task.loss(params, batch, None, KEY)[0]))
    batch = make_batch(1, lengths=(4, 0, 0, 0), weights=(1, 0, 0, 0))
    filler = make_batch(2, lengths=(4, 5, 1, 3), weights=(1, 0, 0, 0))
    filled = Batch(*(np.concatenate([a[:1], b[1:]]) for a, b in zip(batch, filler, strict=True)))
    gradients = gradient(params, batch), gradient(params, filled)
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        assert np.isfinite(a).all()
        assert a.any()
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_outputs_are_log_probabilities_without_dropout():
    task = make_task(dropout=0.5)
    params = task.init(jax.random.key(1))
    batch = make_batch(4)
    outputs, _ = task.evaluate_batch(params, batch, None)
    losses, _ = numpy_losses(task, params, batch)
    np.testing.assert_allclose(-outputs[np.arange(4), batch.targets], losses, rtol=1e-5)
    np.testing.assert_allclose(np.exp(outputs).sum(axis=1), np.ones(4), rtol=1e-5)


def test_network_has_parameters_only():
    batch = make_batch(4)
    for options in ({}, {"learned_initial_state": True}, {"zoneout": 0.2}):
        variables = make_model(**options).init(KEY, batch.inputs, batch.mask)
        assert set(variables) == {"params"}


def test_adversarial_perturbation_follows_the_gradient_of_each_text():
    # Each token occurs once: a change of its row changes one embedding of one text.
    plain = make_task(vocabulary=24)
    batch = make_batch(5, weights=(1, 0.5, 1, 0))._replace(
        inputs=np.arange(24, dtype=np.int32).reshape(4, 6)
    )
    params = jax.tree.map(lambda leaf: 4 * leaf + 0.1, plain.init(jax.random.key(1)))

    def value_and_grad(task, params):
        return jax.value_and_grad(task.loss, has_aux=True)(params, batch, None, KEY)

    (clean, (sums, _)), gradient = value_and_grad(plain, params)

    share = 0.3
    table = np.asarray(params["embed"]["embedding"])
    vectors = table.reshape(4, 6, 3) * batch.mask[..., None]
    directions = np.asarray(gradient["embed"]["embedding"]).reshape(4, 6, 3)
    perturbation = np.zeros_like(vectors)
    for row in (0, 1):  # rows 2 and 3 have no token or no weight
        norm = share * np.linalg.norm(vectors[row])
        perturbation[row] = norm * directions[row] / np.linalg.norm(directions[row])
    perturbed_table = table + perturbation.reshape(24, 3)
    perturbed_params = {**params, "embed": {"embedding": perturbed_table}}
    (perturbed, _), perturbed_gradient = value_and_grad(plain, perturbed_params)
    assert perturbed > clean + 0.05

    adversarial = make_task(vocabulary=24, adversarial=share)
    (value, (adversarial_sums, _)), adversarial_gradient = value_and_grad(adversarial, params)
    np.testing.assert_allclose(value, (clean + perturbed) / 2, rtol=1e-5)
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, (b + c) / 2, rtol=1e-4, atol=1e-6),
        adversarial_gradient,
        gradient,
        perturbed_gradient,
    )
    jax.tree.map(np.testing.assert_array_equal, adversarial_sums, sums)


def test_adversarial_gradient_is_finite_where_the_loss_saturates():
    task = make_task(adversarial=0.3)
    params = task.init(jax.random.key(1))
    batch = make_batch(6)._replace(targets=np.zeros(4, np.int32))
    params["score"]["bias"] = jnp.array([60.0, 0.0, 0.0])
    gradient = jax.grad(task.loss, has_aux=True)
    gradients, _ = gradient(params, batch, None, KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_config_sets_the_adversarial_share():
    config = parse({"model": {"regularization": {"adversarial": 0.25}}})
    assert ClassificationTask.from_config(config, 10, METADATA).adversarial == 0.25
