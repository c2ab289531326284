"""The classification task: what is trained, what counts in the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import constant_schedule

from rnnjax.cells import EchoStateCell, GRUCell, LSTMCell, SimpleCell
from rnnjax.config import parse
from rnnjax.data.batches import Batch, BatchGroup
from rnnjax.errors import InputError
from rnnjax.models import Classifier
from rnnjax.tasks import ClassificationTask
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.state import init_state
from rnnjax.training.step import make_train_step

VOCABULARY, KNOWN, CLASSES = 23, 9, 3
ABOUT = {"classes": ["a", "b", "c"]}


def batch_of(seed, lengths=(5, 2, 0, 4), weights=(1, 1, 1, 1)):
    """Returns a batch of random tokens that are known."""
    rng = np.random.default_rng(seed)
    mask = np.arange(6) < np.array(lengths)[:, None]
    tokens = np.where(mask, rng.integers(1, KNOWN, mask.shape), 0)
    return Batch(
        tokens.astype(np.int32),
        mask,
        rng.integers(0, CLASSES, len(mask)).astype(np.int32),
        np.array(weights, np.float32),
    )


def stack_batches(*batches):
    """Returns batches as one stack."""
    return BatchGroup(Batch(*map(np.stack, zip(*batches, strict=True))), np.int32(len(batches)))


def model_of(**options):
    """Returns a small network."""
    given = {"vocabulary": VOCABULARY, "classes": CLASSES, "cell": GRUCell(4), "embedding": 3}
    return Classifier(**{**given, **options})


def trained(known, config, steps=5):
    """Returns the parameters before and after some steps of training."""
    task = ClassificationTask(model_of(dropout=config.model.dropout), known)
    optimizer = make_optimizer(config.optimizer, constant_schedule(config.learning_rate))
    state = init_state(task, optimizer, [3], batch_size=config.batch_size).create()
    before = jax.tree.map(np.array, state.params)
    step = make_train_step(task, optimizer, [3])
    for number in range(steps):
        state = step(state, stack_batches(batch_of(number)))
    return before, jax.tree.map(np.asarray, state.params)


@pytest.mark.parametrize(
    "overrides",
    [{}, {"optimizer": {"clip_norm": 0.05}}, {"model": {"dropout": 0.3}}],
    ids=["plain", "clipped", "dropout"],
)
def test_training_without_the_rows_that_cannot_occur_changes_nothing(overrides):
    config = parse({"learning_rate": 0.05, **overrides})
    before, few = trained(KNOWN, config)
    _, all_rows = trained(VOCABULARY, config)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), few, all_rows)
    table, first = few["embed"]["embedding"], before["embed"]["embedding"]
    assert table.shape == (VOCABULARY, 3)
    np.testing.assert_array_equal(table[KNOWN:], first[KNOWN:])
    assert (table[1:KNOWN] != first[1:KNOWN]).any(axis=1).all()
    assert not np.array_equal(few["score"]["kernel"], before["score"]["kernel"])


def test_clipping_is_felt_in_that_comparison():
    given = {"learning_rate": 0.5, "optimizer": {"epsilon": 0.1}}
    plain = trained(KNOWN, parse(given))[1]
    given["optimizer"]["clip_norm"] = 0.05
    clipped = trained(KNOWN, parse(given))[1]
    assert not np.allclose(plain["score"]["kernel"], clipped["score"]["kernel"], atol=1e-3)


def test_weight_decay_leaves_a_reservoir_as_it_was_drawn():
    config = parse({"learning_rate": 0.05, "optimizer": {"weight_decay": 0.1}})
    task = ClassificationTask(model_of(cell=EchoStateCell(4), vocabulary=KNOWN), KNOWN)
    schedule = constant_schedule(config.learning_rate)
    optimizer = make_optimizer(config.optimizer, schedule, task.trainable_mask)
    state = init_state(task, optimizer, [3], batch_size=config.batch_size).create()
    before = jax.tree.map(np.array, state.params)
    after = make_train_step(task, optimizer, [3])(state, stack_batches(batch_of(0))).params
    jax.tree.map(np.testing.assert_array_equal, after["recurrent"], before["recurrent"])
    for name in ("embed", "score"):
        for ours, theirs in zip(*map(jax.tree.leaves, (after[name], before[name])), strict=True):
            assert not np.array_equal(ours, theirs)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_embedding_that_is_not_trained_stays_as_it_began(decay):
    config = parse(
        {
            "learning_rate": 0.05,
            "data": {"vocabulary": {"size": VOCABULARY}},
            "model": {"embedding": {"features": 3, "trainable": False}, "features": 4},
            "optimizer": {"weight_decay": decay, "clip_norm": 0.5},
        }
    )
    task = ClassificationTask.from_config(config, KNOWN, ABOUT)
    schedule = constant_schedule(config.learning_rate)
    optimizer = make_optimizer(config.optimizer, schedule, task.trainable_mask)
    state = init_state(task, optimizer, [3], batch_size=config.batch_size).create()
    moments = jax.tree_util.tree_leaves_with_path(state.opt_state)
    assert "embed" not in "".join(jax.tree_util.keystr(path) for path, _ in moments)
    before = jax.tree.map(np.array, state.params)
    after = make_train_step(task, optimizer, [3])(
        state, stack_batches(batch_of(0), batch_of(1))
    ).params
    np.testing.assert_array_equal(after["embed"]["embedding"], before["embed"]["embedding"])
    for name in ("recurrent", "score"):
        for ours, theirs in zip(*map(jax.tree.leaves, (after[name], before[name])), strict=True):
            assert not np.array_equal(ours, theirs)
    # Its gradient does not count when gradients are clipped either.
    gradient = jax.grad(lambda live: task.loss(live, batch_of(0), None, jax.random.key(0))[0])
    assert not gradient(task.live(before))["embed"]["embedding"].any()


def test_the_optimizer_keeps_nothing_for_rows_that_cannot_occur():
    task = ClassificationTask(model_of(), KNOWN)
    params = task.init(jax.random.key(0))
    live = task.live(params)
    assert live["embed"]["embedding"].shape == (KNOWN, 3)
    changed = jax.tree.map(lambda leaf: leaf + 1, live)
    merged = task.with_live(params, changed)
    expected = jax.tree.map(lambda leaf: leaf + 1, params)
    expected["embed"]["embedding"] = jnp.concatenate(
        [changed["embed"]["embedding"], params["embed"]["embedding"][KNOWN:]]
    )
    jax.tree.map(np.testing.assert_array_equal, merged, expected)
    assert params["embed"]["embedding"].shape == (VOCABULARY, 3)


def test_one_hot_input_trains_every_row():
    task = ClassificationTask(model_of(cell=SimpleCell(4), embedding=0), KNOWN)
    params = task.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, task.live(params), params)
    value, _ = task.loss(task.live(params), batch_of(0), None, jax.random.key(0))
    assert np.isfinite(value)


@pytest.mark.parametrize(("decay", "known"), [(0.0, KNOWN), (0.1, VOCABULARY)])
def test_weight_decay_moves_every_row(decay, known):
    config = parse(
        {"data": {"vocabulary": {"size": VOCABULARY}}, "optimizer": {"weight_decay": decay}}
    )
    assert ClassificationTask.from_config(config, KNOWN, ABOUT).vocab_size == known


def test_a_config_makes_the_network_that_it_says():
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
    made = ClassificationTask.from_config(config, 10, ABOUT).model
    half = jnp.dtype("bfloat16")
    assert made == Classifier(
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
        ClassificationTask.from_config(parse({"model": {"cell": "RNN"}}), 10, ABOUT)


def by_hand(task, params, batch):
    """Returns loss and hit of each row, computed in NumPy from the network's scores."""
    logits = np.asarray(task.model.apply({"params": params}, batch.tokens, batch.mask), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(4), batch.labels]), logits.argmax(axis=1) == batch.labels


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 0, 0, 1), (0, 0, 0, 1), (0.5, 2, 0, 1)])
def test_the_loss_is_a_mean_over_the_weights(weights):
    task = ClassificationTask(model_of(), KNOWN)
    params = jax.tree.map(lambda leaf: 3 * leaf + 0.1, task.init(jax.random.key(1)))
    batch = batch_of(4, weights=weights)
    losses, hits = by_hand(task, params, batch)
    value, (sums, _) = task.loss(task.live(params), batch, None, jax.random.key(0))
    np.testing.assert_allclose(value, np.dot(losses, weights) / sum(weights), rtol=1e-5)
    np.testing.assert_allclose(sums["loss"], np.dot(losses, weights), rtol=1e-5)
    np.testing.assert_allclose(sums["accuracy"], np.dot(hits, weights))
    np.testing.assert_allclose(sums["weight"], sum(weights))


def test_rows_of_weight_zero_leave_no_trace_in_the_gradient():
    task = ClassificationTask(model_of(cell=LSTMCell(4)), KNOWN)
    live = task.live(task.init(jax.random.key(1)))
    gradient = jax.jit(
        jax.grad(lambda live, batch: task.loss(live, batch, None, jax.random.key(0))[0])
    )
    batch = batch_of(1, lengths=(4, 0, 0, 0), weights=(1, 0, 0, 0))
    other = batch_of(2, lengths=(4, 5, 1, 3), weights=(1, 0, 0, 0))
    other = Batch(*(np.concatenate([a[:1], b[1:]]) for a, b in zip(batch, other, strict=True)))
    one, two = gradient(live, batch), gradient(live, other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.isfinite(a).all()
        assert a.any()
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_answers_are_log_probabilities_without_dropout():
    task = ClassificationTask(model_of(dropout=0.5), KNOWN)
    params = task.init(jax.random.key(1))
    batch = batch_of(4)
    answers, _ = task.evaluate_batch(params, batch, None)
    losses, _ = by_hand(task, params, batch)
    np.testing.assert_allclose(-answers[np.arange(4), batch.labels], losses, rtol=1e-5)
    np.testing.assert_allclose(np.exp(answers).sum(axis=1), np.ones(4), rtol=1e-5)


def test_a_network_keeps_nothing_between_batches():
    batch = batch_of(4)
    for options in ({}, {"learned_initial_state": True}, {"zoneout": 0.2}):
        kept = model_of(**options).init(jax.random.key(0), batch.tokens, batch.mask)
        assert set(kept) == {"params"}


def test_adversarial_training_moves_the_texts_to_where_their_loss_grows():
    # Every token stands once, so that moving its row of the embedding moves one vector of one text.
    plain = ClassificationTask(model_of(vocabulary=24), 24)
    batch = batch_of(5, weights=(1, 0.5, 1, 0))._replace(
        tokens=np.arange(24, dtype=np.int32).reshape(4, 6)
    )
    key = jax.random.key(0)
    params = jax.tree.map(lambda leaf: 4 * leaf + 0.1, plain.init(jax.random.key(1)))

    def both(task, params):
        loss = jax.value_and_grad(lambda params: task.loss(params, batch, None, key), has_aux=True)
        return loss(params)

    (clean, (sums, _)), gradient = both(plain, params)

    share = 0.3
    table = np.asarray(params["embed"]["embedding"])
    vectors = table.reshape(4, 6, 3) * batch.mask[..., None]
    slopes = np.asarray(gradient["embed"]["embedding"]).reshape(4, 6, 3)
    moves = np.zeros_like(vectors)
    for row in (0, 1):  # the others have no token, or no weight
        length = np.linalg.norm(vectors[row])
        moves[row] = share * length * slopes[row] / np.linalg.norm(slopes[row])
    there = {**params, "embed": {"embedding": table + moves.reshape(24, 3)}}
    (moved, _), other = both(plain, there)
    assert moved > clean + 0.05

    adversarial = ClassificationTask(plain.model, 24, adversarial=share)
    (value, (counted, _)), found = both(adversarial, params)
    np.testing.assert_allclose(value, (clean + moved) / 2, rtol=1e-5)
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, (b + c) / 2, rtol=1e-4, atol=1e-6),
        found,
        gradient,
        other,
    )
    jax.tree.map(np.testing.assert_array_equal, counted, sums)


def test_a_text_that_the_network_is_sure_of_is_moved_by_no_infinity():
    task = ClassificationTask(model_of(), KNOWN, adversarial=0.3)
    params = task.init(jax.random.key(1))
    batch = batch_of(6)._replace(labels=np.zeros(4, np.int32))
    params["score"]["bias"] = jnp.array([60.0, 0.0, 0.0])
    gradient = jax.grad(task.loss, has_aux=True)
    gradients, _ = gradient(task.live(params), batch, None, jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_share_of_adversarial_moves_is_that_of_the_config():
    config = parse({"model": {"regularization": {"adversarial": 0.25}}})
    assert ClassificationTask.from_config(config, 10, ABOUT).adversarial == 0.25
