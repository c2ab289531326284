"""The language modeling task: carry, resets, loss and metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, make_cell
from rnnjax.config import parse
from rnnjax.data.streams import StreamBatch
from rnnjax.data.vocabulary import END, UNKNOWN
from rnnjax.errors import InputError
from rnnjax.tasks.language_modeling.data import TextStream
from rnnjax.tasks.language_modeling.model import LanguageModel
from rnnjax.tasks.language_modeling.task import LanguageModelingTask

VOCABULARY = 7


def make_task(resets=False, **options):
    """Returns a task on a small network."""
    attributes = {"vocabulary": VOCABULARY, "cell": LSTMCell(5), "embedding": 4, **options}
    return LanguageModelingTask(LanguageModel(**attributes), resets=resets)


def random_tokens(count, seed=0):
    """Returns random tokens without the end token."""
    return np.random.default_rng(seed).integers(3, VOCABULARY, count).astype(np.int32)


def make_batch(tokens, first=False, weights=None):
    """Returns a batch of rows, which are one token longer."""
    tokens = np.asarray(tokens, np.int32)
    weights = np.ones(tokens[:, 1:].shape) if weights is None else weights
    weights = np.asarray(weights, np.float32)
    return StreamBatch(
        tokens[:, :-1], tokens[:, 1:], weights > 0, weights, np.full(len(tokens), first)
    )


def losses(task, params, *batches):
    """Returns the summed loss of each batch, read one after the other."""
    carry, values = task.initial_carry(len(batches[0].inputs)), []
    evaluate = jax.jit(task.evaluate_batch)
    for batch in batches:
        sums, carry = evaluate(params, batch, carry)
        values.append(float(sums["loss"]))
    return values


@pytest.mark.parametrize(
    "options", [{}, {"layers": 2}, {"learned_initial_state": True}, {"tied": True}]
)
def test_carried_state_continues_the_text(options):
    task = make_task(**options)
    params = task.init(jax.random.key(1))
    row = random_tokens(13)[None]
    (one_pass,) = losses(task, params, make_batch(row, first=True))
    parts = losses(
        task,
        params,
        make_batch(row[:, :5], first=True),
        make_batch(row[:, 4:9]),
        make_batch(row[:, 8:]),
    )
    np.testing.assert_allclose(sum(parts), one_pass, rtol=1e-5)
    restarted = losses(
        task, params, make_batch(row[:, :5], first=True), make_batch(row[:, 4:], first=True)
    )
    assert abs(sum(restarted) - one_pass) > 1e-4


def test_restarted_row_does_not_affect_its_neighbours():
    task = make_task()
    params = task.init(jax.random.key(1))
    rows = np.stack([random_tokens(6, 1), random_tokens(6, 2)])
    _, carry = task.evaluate_batch(params, make_batch(rows, first=True), task.initial_carry(2))
    batch = make_batch(rows)
    sums, mixed = task.evaluate_batch(params, batch._replace(first=np.array([False, True])), carry)
    continued, restarted = (
        task.evaluate_batch(params, batch._replace(first=np.full(2, first)), carry)[1]
        for first in (False, True)
    )
    for mixed_leaf, continued_leaf, restarted_leaf in zip(
        *map(jax.tree.leaves, (mixed, continued, restarted)), strict=True
    ):
        np.testing.assert_array_equal(mixed_leaf[0], continued_leaf[0])
        np.testing.assert_array_equal(mixed_leaf[1], restarted_leaf[1])
        assert not np.array_equal(continued_leaf[1], restarted_leaf[1])
    assert np.isfinite(sums["loss"])


def test_first_batch_ignores_the_carry():
    task = make_task(learned_initial_state=True)
    params = task.init(jax.random.key(1))
    batch = make_batch(random_tokens(6)[None], first=True)
    carry = task.initial_carry(1)
    nan_carry = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), carry)
    sums = [task.evaluate_batch(params, batch, initial)[0] for initial in (carry, nan_carry)]
    jax.tree.map(np.testing.assert_array_equal, *sums)
    gradient = jax.grad(lambda params: task.loss(params, batch, nan_carry, jax.random.key(0))[0])(
        params
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_resets_separate_documents():
    task = make_task(resets=True)
    params = task.init(jax.random.key(1))
    document, next_document = random_tokens(4, 1).tolist(), random_tokens(6, 2).tolist()
    packed = losses(
        task, params, make_batch([[END, *document, END, *next_document, END]], first=True)
    )
    separate = [
        losses(task, params, make_batch([[END, *text, END]], first=True))[0]
        for text in (document, next_document)
    ]
    np.testing.assert_allclose(packed[0], sum(separate), rtol=1e-5)
    connected = make_task(resets=False)
    (unreset,) = losses(
        connected, params, make_batch([[END, *document, END, *next_document, END]], first=True)
    )
    assert abs(unreset - packed[0]) > 1e-4


def test_tokens_of_weight_zero_do_not_count():
    task = make_task()
    params = task.init(jax.random.key(1))
    rows = np.stack([random_tokens(6, 1), random_tokens(6, 2)])
    weights = [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    changed = rows.copy()
    changed[0, 4:], changed[1] = 3, 4
    batches = [make_batch(tokens, first=True, weights=weights) for tokens in (rows, changed)]

    def loss(params, batch):
        carry = task.initial_carry(len(batch.inputs))
        return task.loss(params, batch, carry, jax.random.key(0))[0]

    values = [jax.value_and_grad(loss)(params, batch) for batch in batches]
    jax.tree.map(np.testing.assert_array_equal, *values)
    short = make_batch(rows[:1, :4], first=True)
    expected = loss(params, short)
    np.testing.assert_allclose(values[0][0], expected, rtol=1e-6)


def test_metrics_are_means_over_tokens():
    task = make_task()
    tokens = random_tokens(12)
    tokens[[2, 5, 6]] = UNKNOWN
    split = TextStream.of_tokens(tokens, 2, 3, shuffle=False)
    outputs = [
        {"loss": 6.0, "accuracy": 3.0, "weight": 6.0},
        {"loss": 10.0, "accuracy": 1.0, "weight": 5.0},
    ]
    metrics = task.compute_metrics(split, outputs)
    assert metrics["loss"] == pytest.approx(16 / 11)
    assert metrics["accuracy"] == pytest.approx(4 / 11)
    assert metrics["bits"] == pytest.approx(16 / 11 / np.log(2))
    assert metrics["perplexity"] == pytest.approx(np.exp(16 / 11))
    assert metrics["rows"] == 11
    assert metrics["unknown_share"] == 3 / 12


# That every cell can be streamed is tested of layers, in tests/layers/test_inside.py.
@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell", "QRNNCell", "SLSTMCell"])
def test_streaming_equals_one_pass(name):
    task = make_task(cell=make_cell(name, 4), layers=2)
    params = task.init(jax.random.key(2))
    tokens = random_tokens(9)
    mask = jnp.ones((1, 9), bool)
    apply = jax.jit(task.model.apply)
    scores = np.asarray(apply({"params": params}, tokens[None], mask)[1])
    step, outputs = jax.jit(task.advance), []
    carry, _ = step(params, tokens[None, :1], ~mask[:, :1])
    for token in tokens:
        carry, (output,) = step(params, token[None, None], mask[:, :1], carry)
        outputs.append(output)
    expected = jax.nn.log_softmax(scores[0])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_tied_output_layer_has_no_kernel():
    params = make_task(tied=True).init(jax.random.key(0))
    assert set(params) == {"embed", "recurrent", "narrow", "score"}
    square = make_task(tied=True, cell=LSTMCell(4)).init(jax.random.key(0))
    assert set(square) == {"embed", "recurrent", "score"}
    assert set(make_task().init(jax.random.key(0))) == {"embed", "recurrent", "score"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True}, r"bidirectional: given True.*expected False"),
        ({"tied": True, "embedding": 0}, r"tied: given True with embedding=0"),
    ],
)
def test_invalid_networks_raise(options, message):
    with pytest.raises(InputError, match=message):
        make_task(**options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"bidirectional": True}}, r"model\.bidirectional is True, which is read by the"),
        ({"data": {"max_tokens": 9}}, r"data\.max_tokens is 9.*task 'classification' alone"),
        ({"model": {"regularization": {"recurrent_dropout": 0.1}}}, r"weight_dropout, which"),
    ],
)
def test_config_keys_of_other_tasks_raise(values, message):
    with pytest.raises(InputError, match=message):
        parse({"task": "language_modeling", **values})


def test_classification_refuses_keys_of_language_modeling():
    with pytest.raises(InputError, match=r"data\.restarts is 0\.5.*'language_modeling' alone"):
        parse({"data": {"restarts": 0.5}})


def test_engine_without_resets_refuses_separate_texts():
    config = parse({"task": "language_modeling", "model": {"engine": "pallas"}})
    with pytest.raises(InputError, match="engine: given 'pallas', and the method 'pallas' of"):
        LanguageModelingTask.from_config(config, VOCABULARY, {"connected": False})
    task = LanguageModelingTask.from_config(config, VOCABULARY, {"connected": True})
    assert task.model.engine == "pallas"
