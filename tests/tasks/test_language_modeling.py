"""The language modeling task: what is carried, what is reset, what counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, make_cell
from rnnjax.config import parse
from rnnjax.data.text_stream import LMBatch, TextStream
from rnnjax.data.vocabulary import END, UNKNOWN
from rnnjax.errors import InputError
from rnnjax.models import LanguageModel
from rnnjax.tasks import LanguageModelingTask

VOCABULARY = 7


def task_of(resets=False, **options):
    """Returns a task on a small network."""
    given = {"vocabulary": VOCABULARY, "cell": LSTMCell(5), "embedding": 4, **options}
    return LanguageModelingTask(LanguageModel(**given), resets=resets)


def tokens_of(count, seed=0):
    """Returns random tokens, without ends."""
    return np.random.default_rng(seed).integers(3, VOCABULARY, count).astype(np.int32)


def batch_of(tokens, first=False, weights=None):
    """Returns a batch of given rows, one token longer than it."""
    tokens = np.asarray(tokens, np.int32)
    weights = np.ones(tokens[:, 1:].shape) if weights is None else weights
    weights = np.asarray(weights, np.float32)
    return LMBatch(tokens[:, :-1], tokens[:, 1:], weights > 0, weights, np.full(len(tokens), first))


def losses(task, params, *batches):
    """Returns the summed loss of each batch, read one after the other."""
    carry, found = task.initial_carry(len(batches[0].tokens)), []
    answer = jax.jit(task.evaluate_batch)
    for batch in batches:
        sums, carry = answer(params, batch, carry)
        found.append(float(sums["loss"]))
    return found


@pytest.mark.parametrize(
    "options", [{}, {"layers": 2}, {"learned_initial_state": True}, {"tied": True}]
)
def test_batches_read_on_are_the_text_in_one(options):
    task = task_of(**options)
    params = task.init(jax.random.key(1))
    row = tokens_of(13)[None]
    (whole,) = losses(task, params, batch_of(row, first=True))
    pieces = losses(
        task,
        params,
        batch_of(row[:, :5], first=True),
        batch_of(row[:, 4:9]),
        batch_of(row[:, 8:]),
    )
    np.testing.assert_allclose(sum(pieces), whole, rtol=1e-5)
    anew = losses(task, params, batch_of(row[:, :5], first=True), batch_of(row[:, 4:], first=True))
    assert abs(sum(anew) - whole) > 1e-4


def test_a_row_that_begins_anew_leaves_its_neighbours_alone():
    task = task_of()
    params = task.init(jax.random.key(1))
    rows = np.stack([tokens_of(6, 1), tokens_of(6, 2)])
    _, carry = task.evaluate_batch(params, batch_of(rows, first=True), task.initial_carry(2))
    batch = batch_of(rows)
    sums, both = task.evaluate_batch(params, batch._replace(first=np.array([False, True])), carry)
    on, anew = (
        task.evaluate_batch(params, batch._replace(first=np.full(2, each)), carry)[1]
        for each in (False, True)
    )
    for ours, first, second in zip(*map(jax.tree.leaves, (both, on, anew)), strict=True):
        np.testing.assert_array_equal(ours[0], first[0])
        np.testing.assert_array_equal(ours[1], second[1])
        assert not np.array_equal(first[1], second[1])
    assert np.isfinite(sums["loss"])


def test_what_is_carried_into_the_first_batch_counts_for_nothing():
    task = task_of(learned_initial_state=True)
    params = task.init(jax.random.key(1))
    batch = batch_of(tokens_of(6)[None], first=True)
    carry = task.initial_carry(1)
    junk = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), carry)
    both = [task.evaluate_batch(params, batch, each)[0] for each in (carry, junk)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    gradient = jax.grad(lambda live: task.loss(live, batch, junk, jax.random.key(0))[0])(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_with_resets_a_document_is_read_as_by_itself():
    task = task_of(resets=True)
    params = task.init(jax.random.key(1))
    one, other = tokens_of(4, 1).tolist(), tokens_of(6, 2).tolist()
    packed = losses(task, params, batch_of([[END, *one, END, *other, END]], first=True))
    apart = [
        losses(task, params, batch_of([[END, *each, END]], first=True))[0] for each in (one, other)
    ]
    np.testing.assert_allclose(packed[0], sum(apart), rtol=1e-5)
    connected = task_of(resets=False)
    (through,) = losses(connected, params, batch_of([[END, *one, END, *other, END]], first=True))
    assert abs(through - packed[0]) > 1e-4


def test_what_weighs_nothing_leaves_no_trace():
    task = task_of()
    params = task.init(jax.random.key(1))
    rows = np.stack([tokens_of(6, 1), tokens_of(6, 2)])
    weights = [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    other = rows.copy()
    other[0, 4:], other[1] = 3, 4
    both = [batch_of(each, first=True, weights=weights) for each in (rows, other)]

    def loss(live, batch):
        carry = task.initial_carry(len(batch.tokens))
        return task.loss(live, batch, carry, jax.random.key(0))[0]

    values = [jax.value_and_grad(loss)(params, batch) for batch in both]
    jax.tree.map(np.testing.assert_array_equal, *values)
    short = batch_of(rows[:1, :4], first=True)
    expected = loss(params, short)
    np.testing.assert_allclose(values[0][0], expected, rtol=1e-6)


def test_the_summary_is_the_mean_over_tokens():
    task = task_of()
    tokens = tokens_of(12)
    tokens[[2, 5, 6]] = UNKNOWN
    part = TextStream(tokens, 2, 3, shuffle=False)
    answers = [
        {"loss": 6.0, "accuracy": 3.0, "weight": 6.0},
        {"loss": 10.0, "accuracy": 1.0, "weight": 5.0},
    ]
    found = task.compute_metrics(part, answers)
    assert found["loss"] == pytest.approx(16 / 11)
    assert found["accuracy"] == pytest.approx(4 / 11)
    assert found["bits"] == pytest.approx(16 / 11 / np.log(2))
    assert found["perplexity"] == pytest.approx(np.exp(16 / 11))
    assert found["rows"] == 11
    assert found["unknown_share"] == 3 / 12


# That every cell can be streamed is tested of layers, in tests/layers/test_inside.py.
@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell", "QRNNCell", "SLSTMCell"])
def test_a_token_at_a_time_scores_what_one_pass_scores(name):
    task = task_of(cell=make_cell(name, 4), layers=2)
    params = task.init(jax.random.key(2))
    tokens = tokens_of(9)
    mask = jnp.ones((1, 9), bool)
    apply = jax.jit(task.model.apply)
    scores = np.asarray(apply({"params": params}, tokens[None], mask)[1])
    step, found = jax.jit(task.advance), []
    kept, _ = step(params, tokens[None, :1], ~mask[:, :1])
    for token in tokens:
        kept, (answer,) = step(params, token[None, None], mask[:, :1], kept)
        found.append(answer)
    expected = jax.nn.log_softmax(scores[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_tied_weights_are_those_of_the_embedding():
    params = task_of(tied=True).init(jax.random.key(0))
    assert set(params) == {"embed", "recurrent", "narrow", "score"}
    same = task_of(tied=True, cell=LSTMCell(4)).init(jax.random.key(0))
    assert set(same) == {"embed", "recurrent", "score"}
    assert set(task_of().init(jax.random.key(0))) == {"embed", "recurrent", "score"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True}, r"bidirectional: given True.*expected False"),
        ({"tied": True, "embedding": 0}, r"tied: given True with embedding=0"),
    ],
)
def test_networks_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        task_of(**options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"bidirectional": True}}, r"model\.bidirectional is True, which is read by the"),
        ({"data": {"max_tokens": 9}}, r"data\.max_tokens is 9.*task 'classification' alone"),
        ({"model": {"regularization": {"recurrent_dropout": 0.1}}}, r"weight_dropout, which"),
    ],
)
def test_what_a_language_model_does_not_read_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse({"task": "language_modeling", **values})


def test_what_a_classifier_does_not_read_is_refused():
    with pytest.raises(InputError, match=r"data\.file is 'x'.*'language_modeling' alone"):
        parse({"data": {"file": "x"}})


def test_separate_texts_are_not_read_by_an_engine_without_resets():
    config = parse({"task": "language_modeling", "model": {"engine": "fused"}})
    about = {"connected": False}
    with pytest.raises(InputError, match=r"config\.model\.engine: given 'fused', and a corpus of"):
        LanguageModelingTask.from_config(config, VOCABULARY, about)
    task = LanguageModelingTask.from_config(config, VOCABULARY, {"connected": True})
    assert task.model.engine == "fused"
