"""The translator: what it reads, what it writes, and that one step is one of many."""

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
from rnnjax.models import Translator

VOCABULARY, END = 11, 2
RNG = np.random.default_rng(0)
SOURCE = RNG.integers(0, VOCABULARY, (4, 6)).astype(np.int32)
SOURCE_MASK = np.arange(6) < np.array([6, 3, 1, 0])[:, None]
WRITTEN = RNG.integers(3, VOCABULARY, (4, 4)).astype(np.int32)
INPUTS = np.concatenate([np.full((4, 1), END, np.int32), WRITTEN], axis=1)
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
    given = SOURCE, SOURCE_MASK, INPUTS, MASK
    return jax.eval_shape(functools.partial(model.init, jax.random.key(0)), *given)


def parameters(model):
    """Returns random parameters."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes(model)
    )


@functools.cache
def compiled(model, method="__call__"):
    """Returns a method of a model, to be called with parameters, arguments and a key."""

    def call(variables, given, key):
        rngs = {} if key is None else {"dropout": key}
        return model.apply(variables, *given, method=method, rngs=rngs)

    return jax.jit(call)


def scores(model, variables, *changed, sampling=None, key=None):
    """Returns the scores of every place in a NumPy array."""
    given = [SOURCE, SOURCE_MASK, INPUTS, MASK]
    given = [*changed, *given[len(changed) :], sampling]
    return np.asarray(compiled(model)(variables, given, key))


def step_by_step(model, variables, choose):
    """Returns the scores and weights of each place, the inputs chosen from the scores before."""
    read = compiled(model, "encode")(variables, (SOURCE, SOURCE_MASK), None)
    state = compiled(model, "start")(variables, (read,), None)
    step = compiled(model, "step")
    tokens, all_scores, all_weights = INPUTS[:, 0], [], []
    for place in range(INPUTS.shape[1]):
        state, found, weights = step(variables, (read, state, tokens), None)
        all_scores.append(np.asarray(found))
        all_weights.append(np.asarray(weights))
        if place + 1 < INPUTS.shape[1]:
            tokens = choose(place + 1, all_scores[-1])
    return np.stack(all_scores, axis=1), np.stack(all_weights, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_places_of_a_given_text_are_steps(kind):
    model = translator(kind)
    variables = parameters(model)
    whole = scores(model, variables)
    steps, weights = step_by_step(model, variables, lambda place, _: INPUTS[:, place])
    np.testing.assert_allclose(whole[MASK], steps[MASK], rtol=2e-4, atol=2e-5)
    assert not weights[~np.broadcast_to(SOURCE_MASK[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights[:3].sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "deep"])
def test_the_scores_are_those_of_the_equations(kind):
    model = translator(kind)
    variables = parameters(model)

    @jax.jit
    def expected(params):
        def dense(name, values):
            product = values @ params[name]["kernel"]
            return product + match_rank(params[name]["bias"], product)

        def outputs(module, name, *given) -> Any:
            return module.apply({"params": params[name]}, *given)[1]

        def asked(attention, queries, memory):
            return attention(queries, attention.prepare(memory, SOURCE_MASK))[0]

        table = params["embed"]["embedding"]
        encoder = Stack([Bidirectional(GRUCell(3)) for _ in range(model.encoder_layers)])
        memory = outputs(encoder, "encoder", table[SOURCE], SOURCE_MASK)
        mean = memory.sum(axis=1) / np.maximum(SOURCE_MASK.sum(axis=1), 1)[:, None]
        inputs = table[INPUTS] + dense("summarize", mean)[:, None]
        h = top = outputs(RNN(LSTMCell(5)), "first", inputs, MASK)
        attention = (AdditiveAttention if kind == "deep" else MultiplicativeAttention)(5)
        c: Any = attention.apply({"params": params["ask"]}, h, memory, method=asked)
        if kind == "deep":
            layers = Stack([RNN(LSTMCell(5)), RNN(LSTMCell(5))])
            top = outputs(layers, "rest", jnp.concatenate([h, c], axis=-1), MASK)
        return jnp.tanh(dense("combine", jnp.concatenate([top, c], axis=-1))) @ table.T

    found = scores(model, variables)[MASK]
    np.testing.assert_allclose(found, expected(variables["params"])[MASK], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "fed"])
def test_sampling_at_rate_one_reads_what_it_wrote_itself(kind):
    model = translator(kind)
    variables = parameters(model)
    sampled = scores(model, variables, sampling=1.0, key=jax.random.key(0))
    own, _ = step_by_step(
        model, variables, lambda _, found: np.argmax(found, axis=-1).astype(np.int32)
    )
    np.testing.assert_allclose(sampled[MASK], own[MASK], rtol=2e-4, atol=2e-5)
    given = scores(model, variables)
    assert not np.allclose(sampled[MASK], given[MASK], atol=1e-3)
    np.testing.assert_allclose(sampled[:, 0], given[:, 0], rtol=1e-4, atol=1e-5)


def test_a_fed_layer_reads_what_the_last_token_was_scored_from():
    model = translator("fed")
    variables = parameters(model)
    read = compiled(model, "encode")(variables, (SOURCE, SOURCE_MASK), None)
    begin = compiled(model, "start")(variables, (read,), None)
    assert not begin.vector.any()
    state, found, _ = compiled(model, "step")(variables, (read, begin, INPUTS[:, 0]), None)
    weights = variables["params"]["score"]
    expected = state.vector @ weights["kernel"] + weights["bias"][None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    unfed = state._replace(vector=0 * state.vector)
    _, one, _ = compiled(model, "step")(variables, (read, state, INPUTS[:, 1]), None)
    _, other, _ = compiled(model, "step")(variables, (read, unfed, INPUTS[:, 1]), None)
    assert np.all(np.abs(one - other).max(axis=-1) > 1e-4)


def test_the_rate_of_sampling_is_a_rate_and_may_be_traced():
    model = translator()
    variables = parameters(model)
    traced = []

    @jax.jit
    def call(rate, key):
        traced.append(None)
        rngs = {"dropout": key}
        return model.apply(variables, SOURCE, SOURCE_MASK, INPUTS, MASK, rate, rngs=rngs)

    given = scores(model, variables)
    never = call(jnp.float32(0.0), jax.random.key(0))
    np.testing.assert_allclose(never[MASK], given[MASK], rtol=1e-4, atol=1e-5)

    def changed(rate):
        """Returns how many rows read something else at their second place."""
        keys = jax.random.split(jax.random.key(1), 40)
        found = [np.asarray(call(jnp.float32(rate), key))[:, 1] for key in keys]
        return sum(int((np.abs(each - given[:, 1]).max(axis=-1) > 1e-4).sum()) for each in found)

    some, all_of_them = changed(0.3), changed(1.0)
    assert 0.15 * all_of_them < some < 0.45 * all_of_them
    assert len(traced) == 1


def test_an_evaluation_samples_nothing():
    model = translator()
    variables = parameters(model)
    without = scores(model, variables, sampling=1.0)
    np.testing.assert_allclose(without[MASK], scores(model, variables)[MASK], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_reaches_nothing(kind):
    model = translator(kind)
    variables = parameters(model)
    source = np.where(SOURCE_MASK, SOURCE, (SOURCE + 5) % VOCABULARY)
    inputs = np.where(MASK, INPUTS, (INPUTS + 3) % VOCABULARY)

    def gradient(variables, source, inputs):
        def loss(variables):
            found: Any = model.apply(variables, source, SOURCE_MASK, inputs, MASK)
            return jnp.sum(jnp.where(MASK[..., None], jnp.sin(found), 0))

        return jax.value_and_grad(loss)(variables)

    call = jax.jit(gradient)
    one, other = call(variables, SOURCE, INPUTS), call(variables, source, inputs)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))


@pytest.mark.parametrize("kind", ["deep", "fed"])
def test_more_padding_and_fewer_rows_change_nothing(kind):
    model = translator(kind)
    variables = parameters(model)
    whole = scores(model, variables)

    def wider(values):
        return np.pad(values, ((0, 0), (0, 2)))

    padded = scores(model, variables, *map(wider, (SOURCE, SOURCE_MASK, INPUTS, MASK)))
    np.testing.assert_allclose(padded[:, :5][MASK], whole[MASK], rtol=1e-5, atol=1e-6)
    few = [each[1:3] for each in (SOURCE, SOURCE_MASK, INPUTS, MASK)]
    found = scores(model, variables, *few)
    np.testing.assert_allclose(found[MASK[1:3]], whole[1:3][MASK[1:3]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_knows_all_of_the_source_and_what_was_written_before_it_alone(kind):
    model = translator(kind)
    variables = parameters(model)
    whole = scores(model, variables)
    for place in (0, 3, 5):
        source = SOURCE.copy()
        source[0, place] = (source[0, place] + 1) % VOCABULARY
        found = scores(model, variables, source)
        assert np.all(np.abs(found[0] - whole[0]).max(axis=-1)[MASK[0]] > 1e-6)
        np.testing.assert_allclose(found[1:], whole[1:], rtol=1e-5, atol=1e-6)
    for place in range(1, 5):
        inputs = INPUTS.copy()
        inputs[1, place] = (inputs[1, place] + 1) % VOCABULARY
        changes = np.abs(scores(model, variables, SOURCE, SOURCE_MASK, inputs) - whole)[1]
        assert np.all(changes[:place].max(axis=-1) < 1e-6)
        assert np.all(changes[place:].max(axis=-1) > 1e-6)


def test_both_languages_share_an_embedding_that_is_tied_as_asked():
    for tied in (True, False):
        model = translator(tied=tied)
        assert ("score" in shapes(model)["params"]) == (not tied)
        variables = parameters(model)
        absent = next(t for t in range(VOCABULARY) if t not in INPUTS)
        table = variables["params"]["embed"]["embedding"].copy()
        table[absent] += 1.0
        changed = {"params": {**variables["params"], "embed": {"embedding": table}}}
        differs = np.abs(scores(model, changed) - scores(model, variables)) > 1e-6
        own = np.arange(VOCABULARY) == absent
        read = np.any((absent == SOURCE) & SOURCE_MASK, axis=1)
        assert differs[1][MASK[1]][:, own].all() == (tied or bool(read[1]))
        assert not differs[~read][..., ~own].any()


def test_dropout_is_drawn_from_its_stream():
    for kind in ("plain", "fed"):
        model = translator(kind, dropout=0.5)
        variables = parameters(model)
        calm = scores(model, variables)
        np.testing.assert_array_equal(calm, scores(translator(kind), variables))
        one, same, other = (scores(model, variables, key=jax.random.key(key)) for key in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert not np.allclose(one[MASK], other[MASK])
        assert not np.allclose(one[MASK], calm[MASK])


def test_dropout_falls_on_what_is_said():
    dropped = []

    def watch(call, given, options, context):
        if isinstance(context.module, nn.Dropout):
            dropped.append(given[0].shape)
        return call(*given, **options)

    model = translator("deep", dropout=0.5)
    variables = shapes(model)
    call = functools.partial(model.apply, rngs={"dropout": jax.random.key(0)})
    with nn.intercept_methods(watch):
        jax.eval_shape(call, variables, SOURCE, SOURCE_MASK, INPUTS, MASK)
    tokens, between, memory = (4, 6, 6), (4, 6, 6), (4, 6, 6)
    written, above, between_above, vectors = (4, 5, 6), (4, 5, 11), (4, 5, 5), (4, 5, 6)
    assert dropped == [tokens, between, memory, written, above, between_above, vectors]


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
    ids=lambda each: type(each).__name__,
)
def test_any_cell_can_write(cell, input_feeding):
    model = translator(cell=cell, input_feeding=input_feeding)
    variables = parameters(model)
    whole = scores(model, variables)
    steps, _ = step_by_step(model, variables, lambda place, _: INPUTS[:, place])
    np.testing.assert_allclose(whole[MASK], steps[MASK], rtol=1e-3, atol=1e-4)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="attention: given 'dot'"):
        translator(attention="dot")
    with pytest.raises(InputError, match="decoder_layers: given 0"):
        translator(decoder_layers=0)
