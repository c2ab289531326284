"""The translator: logits, scheduled sampling, input feeding, masks and dropout."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LearnedInitialState, LRUCell, LSTMCell, QRNNCell, Zoneout
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank
from rnnjax.layers import (
    RNN,
    AdditiveAttention,
    Bidirectional,
    MultiplicativeAttention,
    Stack,
)
from rnnjax.tasks.translation.model import Translator

VOCABULARY, END = 11, 2
RNG = np.random.default_rng(0)
SOURCE = RNG.integers(0, VOCABULARY, (4, 6)).astype(np.int32)
SOURCE_MASK = np.arange(6) < np.array([6, 3, 1, 0])[:, None]
TARGET_TOKENS = RNG.integers(3, VOCABULARY, (4, 4)).astype(np.int32)
INPUTS = np.concatenate([np.full((4, 1), END, np.int32), TARGET_TOKENS], axis=1)
MASK = np.arange(5) < np.array([3, 5, 1, 4])[:, None]
SIZES = {"vocabulary": VOCABULARY, "embedding": 6}

KINDS = {
    "plain": {},
    "deep": {"encoder_layers": 2, "decoder_layers": 3, "attention": "additive"},
    "fed": {"input_feeding": True, "decoder_layers": 2, "tied": False},
}


def translator(kind="plain", cell=None, **options) -> Any:
    """Returns a small translator."""
    cells = {"encoder_cell": cell or GRUCell(3), "decoder_cell": cell or LSTMCell(5)}
    return Translator(**{**SIZES, **cells, **KINDS[kind], **options})


@functools.cache
def shapes(model):
    """Returns the shapes of the parameters."""
    arguments = SOURCE, SOURCE_MASK, INPUTS, MASK
    return jax.eval_shape(functools.partial(model.init, jax.random.key(0)), *arguments)


def random_params(model):
    """Returns random parameters."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes(model)
    )


@functools.cache
def jit_method(model, method="__call__"):
    """Returns a method of a model, to be called with parameters, arguments and a key."""

    def call(variables, arguments, key):
        rngs = {} if key is None else {"dropout": key}
        return model.apply(variables, *arguments, method=method, rngs=rngs)

    return jax.jit(call)


def scores(model, variables, *count_changed, sampling=None, key=None):
    """Returns the scores of every place in a NumPy array."""
    arguments = [SOURCE, SOURCE_MASK, INPUTS, MASK]
    arguments = [*count_changed, *arguments[len(count_changed) :], sampling]
    return np.asarray(jit_method(model)(variables, arguments, key))


def step_by_step(model, variables, choose):
    """Returns the scores and weights of each place, the inputs chosen from the scores before."""
    encoded = jit_method(model, "encode")(variables, (SOURCE, SOURCE_MASK), None)
    state = jit_method(model, "start")(variables, (encoded,), None)
    step = jit_method(model, "step")
    tokens, all_scores, all_weights = INPUTS[:, 0], [], []
    for position in range(INPUTS.shape[1]):
        state, logits, weights = step(variables, (encoded, state, tokens), None)
        all_scores.append(np.asarray(logits))
        all_weights.append(np.asarray(weights))
        if position + 1 < INPUTS.shape[1]:
            tokens = choose(position + 1, all_scores[-1])
    return np.stack(all_scores, axis=1), np.stack(all_weights, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_teacher_forcing_equals_single_steps(kind):
    model = translator(kind)
    variables = random_params(model)
    logits = scores(model, variables)
    steps, weights = step_by_step(model, variables, lambda position, _: INPUTS[:, position])
    np.testing.assert_allclose(logits[MASK], steps[MASK], rtol=2e-4, atol=2e-5)
    assert not weights[~np.broadcast_to(SOURCE_MASK[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights[:3].sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "deep"])
def test_logits_equal_the_equations(kind):
    model = translator(kind)
    variables = random_params(model)

    @jax.jit
    def expected(params):
        def dense(name, values):
            product = values @ params[name]["kernel"]
            return product + match_rank(params[name]["bias"], product)

        def outputs(module, name, *arguments) -> Any:
            return module.apply({"params": params[name]}, *arguments)[1]

        def attend(attention, queries, memory):
            return attention(queries, attention.prepare(memory, SOURCE_MASK))[0]

        table = params["embed"]["embedding"]
        encoder = Stack([Bidirectional(GRUCell(3)) for _ in range(model.encoder_layers)])
        memory = outputs(encoder, "encoder", table[SOURCE], SOURCE_MASK)
        lengths = SOURCE_MASK.sum(axis=1, keepdims=True, dtype=np.float32)
        mean = memory.sum(axis=1) / np.maximum(lengths, 1)
        inputs = table[INPUTS] + dense("summarize", mean)[:, None]
        h = top = outputs(RNN(LSTMCell(5)), "first", inputs, MASK)
        attention = (AdditiveAttention if kind == "deep" else MultiplicativeAttention)(5)
        c: Any = attention.apply({"params": params["ask"]}, h, memory, method=attend)
        if kind == "deep":
            layers = Stack([RNN(LSTMCell(5)), RNN(LSTMCell(5))])
            top = outputs(layers, "rest", jnp.concatenate([h, c], axis=-1), MASK)
        return jnp.tanh(dense("combine", jnp.concatenate([top, c], axis=-1))) @ table.T

    logits = scores(model, variables)[MASK]
    np.testing.assert_allclose(logits, expected(variables["params"])[MASK], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "fed"])
def test_scheduled_sampling_at_rate_one_feeds_predictions(kind):
    model = translator(kind)
    variables = random_params(model)
    sampled = scores(model, variables, sampling=1.0, key=jax.random.key(0))
    own_column, _ = step_by_step(
        model, variables, lambda _, logits: np.argmax(logits, axis=-1).astype(np.int32)
    )
    np.testing.assert_allclose(sampled[MASK], own_column[MASK], rtol=2e-4, atol=2e-5)
    arguments = scores(model, variables)
    assert not np.allclose(sampled[MASK], arguments[MASK], atol=1e-3)
    np.testing.assert_allclose(sampled[:, 0], arguments[:, 0], rtol=1e-4, atol=1e-5)


def test_input_feeding_reads_the_previous_attention_vector():
    model = translator("fed")
    variables = random_params(model)
    encoded = jit_method(model, "encode")(variables, (SOURCE, SOURCE_MASK), None)
    initial_state = jit_method(model, "start")(variables, (encoded,), None)
    assert not initial_state.vector.any()
    state, logits, _ = jit_method(model, "step")(
        variables, (encoded, initial_state, INPUTS[:, 0]), None
    )
    weights = variables["params"]["score"]
    expected = state.vector @ weights["kernel"] + weights["bias"][None]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    unfed = state._replace(vector=0 * state.vector)
    _, actual, _ = jit_method(model, "step")(variables, (encoded, state, INPUTS[:, 1]), None)
    _, expected, _ = jit_method(model, "step")(variables, (encoded, unfed, INPUTS[:, 1]), None)
    assert np.all(np.abs(actual - expected).max(axis=-1) > 1e-4)


def test_sampling_rate_is_a_traced_probability():
    model = translator()
    variables = random_params(model)
    traced = []

    @jax.jit
    def call(rate, key):
        traced.append(None)
        rngs = {"dropout": key}
        return model.apply(variables, SOURCE, SOURCE_MASK, INPUTS, MASK, rate, rngs=rngs)

    arguments = scores(model, variables)
    unsampled = call(jnp.float32(0.0), jax.random.key(0))
    np.testing.assert_allclose(unsampled[MASK], arguments[MASK], rtol=1e-4, atol=1e-5)

    def count_changed(rate):
        """Returns how many rows read something else at their second place."""
        keys = jax.random.split(jax.random.key(1), 40)
        logits = [np.asarray(call(jnp.float32(rate), key))[:, 1] for key in keys]
        return sum(
            int((np.abs(array - arguments[:, 1]).max(axis=-1) > 1e-4).sum()) for array in logits
        )

    some_changed, all_changed = count_changed(0.3), count_changed(1.0)
    assert 0.15 * all_changed < some_changed < 0.45 * all_changed
    assert len(traced) == 1


def test_evaluation_does_not_sample():
    model = translator()
    variables = random_params(model)
    without = scores(model, variables, sampling=1.0)
    np.testing.assert_allclose(without[MASK], scores(model, variables)[MASK], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_tokens_do_not_affect_results(kind):
    model = translator(kind)
    variables = random_params(model)
    source = np.where(SOURCE_MASK, SOURCE, (SOURCE + 5) % VOCABULARY)
    inputs = np.where(MASK, INPUTS, (INPUTS + 3) % VOCABULARY)

    def gradient(variables, source, inputs):
        def loss(variables):
            logits: Any = model.apply(variables, source, SOURCE_MASK, inputs, MASK)
            return jnp.sum(jnp.where(MASK[..., None], jnp.sin(logits), 0))

        return jax.value_and_grad(loss)(variables)

    call = jax.jit(gradient)
    actual, expected = call(variables, SOURCE, INPUTS), call(variables, source, inputs)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual))


@pytest.mark.parametrize("kind", ["deep", "fed"])
def test_padding_and_batch_size_change_nothing(kind):
    model = translator(kind)
    variables = random_params(model)
    logits = scores(model, variables)

    def wider(values):
        return np.pad(values, ((0, 0), (0, 2)))

    padded = scores(model, variables, *map(wider, (SOURCE, SOURCE_MASK, INPUTS, MASK)))
    np.testing.assert_allclose(padded[:, :5][MASK], logits[MASK], rtol=1e-5, atol=1e-6)
    few_rows = [array[1:3] for array in (SOURCE, SOURCE_MASK, INPUTS, MASK)]
    actual = scores(model, variables, *few_rows)
    np.testing.assert_allclose(actual[MASK[1:3]], logits[1:3][MASK[1:3]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_depend_on_source_and_previous_targets(kind):
    model = translator(kind)
    variables = random_params(model)
    logits = scores(model, variables)
    for position in (0, 3, 5):
        source = SOURCE.copy()
        source[0, position] = (source[0, position] + 1) % VOCABULARY
        changed = scores(model, variables, source)
        assert np.all(np.abs(changed[0] - logits[0]).max(axis=-1)[MASK[0]] > 1e-6)
        np.testing.assert_allclose(changed[1:], logits[1:], rtol=1e-5, atol=1e-6)
    for position in range(1, 5):
        inputs = INPUTS.copy()
        inputs[1, position] = (inputs[1, position] + 1) % VOCABULARY
        changes = np.abs(scores(model, variables, SOURCE, SOURCE_MASK, inputs) - logits)[1]
        assert np.all(changes[:position].max(axis=-1) < 1e-6)
        assert np.all(changes[position:].max(axis=-1) > 1e-6)


def test_languages_share_one_embedding():
    for tied in (True, False):
        model = translator(tied=tied)
        assert ("score" in shapes(model)["params"]) == (not tied)
        variables = random_params(model)
        absent = next(t for t in range(VOCABULARY) if t not in INPUTS)
        table = variables["params"]["embed"]["embedding"].copy()
        table[absent] += 1.0
        count_changed = {"params": {**variables["params"], "embed": {"embedding": table}}}
        differs = np.abs(scores(model, count_changed) - scores(model, variables)) > 1e-6
        own_column = np.arange(VOCABULARY) == absent
        encoded = np.any((absent == SOURCE) & SOURCE_MASK, axis=1)
        assert differs[1][MASK[1]][:, own_column].all() == (tied or bool(encoded[1]))
        assert not differs[~encoded][..., ~own_column].any()


def test_dropout_follows_the_key():
    for kind in ("plain", "fed"):
        model = translator(kind, dropout=0.5)
        variables = random_params(model)
        without_dropout = scores(model, variables)
        np.testing.assert_array_equal(without_dropout, scores(translator(kind), variables))
        actual, repeated, expected = (
            scores(model, variables, key=jax.random.key(key)) for key in (0, 0, 1)
        )
        np.testing.assert_array_equal(actual, repeated)
        assert not np.allclose(actual[MASK], expected[MASK])
        assert not np.allclose(actual[MASK], without_dropout[MASK])


def test_dropout_positions():
    dropped = []

    def watch(call, arguments, options, context):
        if isinstance(context.module, nn.Dropout):
            dropped.append(arguments[0].shape)
        return call(*arguments, **options)

    model = translator("deep", dropout=0.5)
    variables = shapes(model)
    call = functools.partial(model.apply, rngs={"dropout": jax.random.key(0)})
    with nn.intercept_methods(watch):
        jax.eval_shape(call, variables, SOURCE, SOURCE_MASK, INPUTS, MASK)
    tokens, between, memory = (4, 6, 6), (4, 6, 6), (4, 6, 6)
    targets, above, between_above, vectors = (4, 5, 6), (4, 5, 11), (4, 5, 5), (4, 5, 6)
    assert dropped == [tokens, between, memory, targets, above, between_above, vectors]


@pytest.mark.parametrize(
    ("cell", "input_feeding"),
    [
        (GRUCell(4), False),
        (QRNNCell(4), True),
        (LRUCell(4), False),
        (LSTMCell(5, projection=3), True),
        (Zoneout(LearnedInitialState(GRUCell(4)), 0.1), False),
        (nn.GRUCell(4), False),
    ],
    ids=lambda array: type(array).__name__,
)
def test_decoder_accepts_any_cell(cell, input_feeding):
    model = translator(cell=cell, input_feeding=input_feeding)
    variables = random_params(model)
    logits = scores(model, variables)
    steps, _ = step_by_step(model, variables, lambda position, _: INPUTS[:, position])
    np.testing.assert_allclose(logits[MASK], steps[MASK], rtol=1e-3, atol=1e-4)


def test_invalid_options_raise():
    with pytest.raises(InputError, match="attention: given 'dot'"):
        translator(attention="dot")
    with pytest.raises(InputError, match="decoder_layers: given 0"):
        translator(decoder_layers=0)
