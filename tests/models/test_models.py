"""The classifier: its size, its table, what reaches the scores and what does not."""

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Cell, GRUCell, LSTMCell, SimpleCell
from rnnjax.config import parse
from rnnjax.models import Classifier, describe_layers
from rnnjax.tasks import ClassificationTask

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LESSON = {
    "simple_rnn": 1_281_364,
    "masked_rnn": 1_281_364,
    "lstm": 1_282_372,
    "bilstm": 2_758_148,
    "gru": 1_284_004,
}

TOKENS = np.random.default_rng(0).integers(0, 11, (4, 6)).astype(np.int32)
MASK = np.arange(6) < np.array([6, 3, 1, 0])[:, None]


def classifier(cell, **options):
    """Returns a network of 3 classes."""
    return Classifier(**{"vocabulary": 11, "classes": 3, "cell": cell, **options})


def lesson_model(name):
    """Returns the network of a config file."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = parse(module.get_config().to_dict(), name)
    return ClassificationTask.from_config(config, 20_000, {"classes": "abcd"}).model


def rows_of(model):
    """Returns the model's table for a batch of any four texts of six tokens."""
    return describe_layers(
        model, jax.ShapeDtypeStruct((4, 6), jnp.int32), jax.ShapeDtypeStruct((4, 6), jnp.bool_)
    )


def shapes_of(model):
    """Returns the shapes of the parameters."""
    return jax.eval_shape(model.init, jax.random.key(0), TOKENS, MASK)


def parameters(model):
    """Returns random parameters, biases included."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes_of(model)
    )


def new_parameters(model) -> Any:
    """Returns the parameters that a training begins with."""
    return jax.jit(model.init)(jax.random.key(0), TOKENS, MASK)["params"]


def scores(model, variables, tokens=TOKENS, mask=MASK, **options):
    """Returns the scores in a NumPy array."""
    call = jax.jit(lambda variables, tokens, mask: model.apply(variables, tokens, mask, **options))
    return np.asarray(call(variables, tokens, mask))


@pytest.mark.parametrize(("name", "expected"), LESSON.items())
def test_the_lessons_models_have_the_lessons_parameters(name, expected):
    model = lesson_model(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(model))) == expected
    assert sum(row.parameters for row in rows_of(model)) == expected


def test_the_table_names_each_layer_with_its_shape_and_parameters():
    rows = [
        (row.layer, row.type, row.output, row.parameters) for row in rows_of(lesson_model("bilstm"))
    ]
    assert rows == [
        ("embed", "Embed", "float32[4, 6, 128]", 2_560_000),
        ("recurrent/layers_0", "Bidirectional(LSTMCell(64))", "float32[4, 6, 128]", 98_816),
        ("recurrent/layers_1", "Bidirectional(LSTMCell(64))", "float32[4, 128]", 98_816),
        ("score", "Dense", "float32[4, 4]", 516),
    ]


def test_one_hot_input_has_no_table_of_embeddings():
    model = classifier(SimpleCell(5), embedding=0)
    assert [row.layer for row in rows_of(model)] == ["recurrent/layers_0", "score"]
    variables = parameters(model)
    kernel = variables["params"]["recurrent"]["layers_0"]["cell"]["input"]["kernel"]
    assert kernel.shape == (11, 5)
    # A one-hot vector times a matrix is the row that a table with that matrix would give.
    embedded = classifier(SimpleCell(5), embedding=11)
    with_table = {"params": {**variables["params"], "embed": {"embedding": np.eye(11, dtype="f")}}}
    np.testing.assert_allclose(
        scores(model, variables), scores(embedded, with_table), atol=1e-6, rtol=0
    )


def test_embeddings_begin_within_keras_bounds():
    embedding = new_parameters(classifier(SimpleCell(2), vocabulary=500, embedding=8))["embed"][
        "embedding"
    ]
    assert 0.049 < abs(embedding).max() <= 0.05
    assert embedding.min() < -0.049
    assert abs(embedding.mean()) < 0.005


@pytest.mark.parametrize(
    ("embedding", "bidirectional", "pooling"),
    [(0, True, "last"), (0, False, "last"), (3, True, "max"), (3, False, "max")],
)
def test_tokens_at_masked_positions_do_not_matter(embedding, bidirectional, pooling):
    model = classifier(
        LSTMCell(4),
        layers=2,
        embedding=embedding,
        bidirectional=bidirectional,
        pooling=pooling,
    )
    variables = parameters(model)
    clean = scores(model, variables)
    for junk in (0, 7, 10):
        littered = np.where(MASK, TOKENS, junk)
        np.testing.assert_array_equal(scores(model, variables, littered), clean)
    moved = np.where(MASK, (TOKENS + 1) % 11, TOKENS)
    changed = (scores(model, variables, moved) != clean).any(axis=1)
    assert changed.tolist() == [True, True, True, False]


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_an_empty_text_gets_the_bias_as_scores_and_no_gradient(pooling):
    model = classifier(GRUCell(4), pooling=pooling)
    params = parameters(model)["params"]

    @jax.jit
    @jax.value_and_grad
    def total(params, mask):
        found = model.apply({"params": params}, TOKENS, mask)
        assert isinstance(found, jax.Array)
        return found.sum()

    value, gradient = total(params, np.zeros_like(MASK))
    np.testing.assert_allclose(value, 4 * params["score"]["bias"].sum(), rtol=1e-5)
    for name in ("embed", "recurrent"):
        assert not any(leaf.any() for leaf in jax.tree.leaves(gradient[name]))
    # Among others it spoils nothing: not a number would be felt in every sum.
    _, gradient = total(params, MASK)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert gradient["embed"]["embedding"].any()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_maximum_is_that_of_the_real_steps_alone(bidirectional):
    cell = GRUCell(4)
    model = classifier(cell, layers=2, bidirectional=bidirectional, pooling="max")
    mask = MASK.copy()
    mask[0, 1] = False  # a hole
    variables = parameters(model)

    @jax.jit
    def outputs_of(variables, tokens, mask):
        return model.apply(
            variables, method=lambda model: model.recurrent(model.embed(tokens), mask)[1]
        )

    outputs = np.asarray(outputs_of(variables, TOKENS, mask))
    texts = [steps[real] for steps, real in zip(outputs, mask, strict=True)]
    assert any((text < 0).all(axis=0).any() for text in texts[:3])  # zeros of padding would be more
    pooled = [
        text.max(axis=0) if len(text) else np.zeros(8 if bidirectional else 4) for text in texts
    ]
    score = variables["params"]["score"]
    expected = np.stack(pooled) @ score["kernel"] + score["bias"]
    np.testing.assert_allclose(scores(model, variables, mask=mask), expected, atol=1e-5)


def test_the_options_reach_the_layers():
    deep = classifier(SimpleCell(4), layers=3, bidirectional=True, merge="sum")
    types = [row.output for row in rows_of(deep) if row.layer.startswith("recurrent")]
    assert types == ["float32[4, 6, 4]", "float32[4, 6, 4]", "float32[4, 4]"]
    pooled = classifier(SimpleCell(4), layers=2, pooling="max")
    types = [row.output for row in rows_of(pooled) if row.layer.startswith("recurrent")]
    assert types == ["float32[4, 6, 4]", "float32[4, 6, 4]"]


def test_layers_have_parameters_of_their_own():
    recurrent = new_parameters(classifier(SimpleCell(4), layers=2, embedding=4))["recurrent"]
    first, second = recurrent["layers_0"], recurrent["layers_1"]
    assert not np.array_equal(first["cell"]["recurrent_kernel"], second["cell"]["recurrent_kernel"])


def test_dropout_is_drawn_by_key_and_off_without_one():
    dropping = classifier(SimpleCell(4), layers=2, dropout=0.5)
    plain = classifier(SimpleCell(4), layers=2)
    variables = parameters(plain)

    @jax.jit
    def dropped(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return dropping.apply(variables, TOKENS, MASK, rngs=rngs)

    np.testing.assert_array_equal(scores(dropping, variables), scores(plain, variables))
    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert not np.array_equal(dropped(1), dropped(2))
    assert not np.array_equal(dropped(1), scores(plain, variables))


REGULARIZED: dict[str, dict[str, Any]] = {
    "variational": {"dropout": 0.5, "variational": True},
    "embedding": {"embedding_dropout": 0.5},
    "recurrent": {"recurrent_dropout": 0.5},
    "zoneout": {"zoneout": 0.5},
    "weights": {"weight_drop": 0.5},
    "all": {
        "dropout": 0.3,
        "variational": True,
        "embedding_dropout": 0.3,
        "recurrent_dropout": 0.3,
        "zoneout": 0.3,
        "weight_drop": 0.3,
        "learned_initial_state": True,
    },
}


@pytest.mark.parametrize("options", REGULARIZED.values(), ids=REGULARIZED)
@pytest.mark.parametrize("cell", [LSTMCell(4), nn.GRUCell(4)], ids=["ours", "flax"])
def test_a_regulariser_draws_in_training_alone_and_leaves_padding_out(cell, options):
    if "weight_drop" in options and isinstance(cell, nn.GRUCell):
        pytest.skip("the names of flax's kernels are not those of the package")
    model = classifier(cell, layers=2, bidirectional=True, **options)
    variables = parameters(model)

    @jax.jit
    def trained(tokens, seed):
        return model.apply(variables, tokens, MASK, rngs={"dropout": jax.random.key(seed)})

    once = np.asarray(trained(TOKENS, 1))
    np.testing.assert_array_equal(trained(TOKENS, 1), once)
    assert not np.array_equal(trained(TOKENS, 2), once)
    np.testing.assert_array_equal(trained(np.where(MASK, TOKENS, 7), 1), once)
    evaluated = scores(model, variables)
    assert not np.array_equal(evaluated, once)
    if not {"zoneout", "learned_initial_state"} & set(options):
        plain = classifier(cell, layers=2, bidirectional=True)
        given = variables["params"]
        if "weight_drop" in options:
            bare = {name: layer["layer"] for name, layer in given["recurrent"].items()}
            given = {**given, "recurrent": bare}
        if "recurrent_dropout" in options:
            return  # the wrapper stands in the paths of the parameters
        np.testing.assert_array_equal(scores(plain, {"params": given}), evaluated)


class Changes(Cell):
    """Adds up how much the inputs change from step to step."""

    output_part: ClassVar[str | None] = None

    def initial_state(self, input_shape):
        """Returns no sum, and not a number before the first step."""
        sums = super().initial_state(input_shape)
        return sums, jnp.full(sums.shape, jnp.nan)

    def step(self, state, projected):
        """Returns the sum so far."""
        sums, before = state
        change = jnp.where(jnp.isnan(before), 0, jnp.abs(projected - before))
        return (sums + change, projected), sums + change


@pytest.mark.parametrize("variational", [True, False])
def test_variational_dropout_of_the_inputs_is_the_same_at_every_step(variational):
    model = classifier(
        Changes(16),
        embedding=16,
        dropout=0.5,
        variational=variational,
    )
    tokens = np.full((4, 6), 7, np.int32)
    variables = parameters(model)
    rngs = {"dropout": jax.random.key(1)}
    found = scores(model, variables, tokens, np.ones((4, 6), bool), rngs=rngs)
    unchanged = np.broadcast_to(variables["params"]["score"]["bias"], found.shape)
    assert np.array_equal(found, unchanged) == variational


def test_the_table_names_what_wraps_a_cell():
    model = classifier(LSTMCell(4), zoneout=0.1, weight_drop=0.2, learned_initial_state=True)
    (row,) = (row for row in rows_of(model) if row.layer.startswith("recurrent"))
    assert row.type == "WeightDrop(RNN(Zoneout(LearnedInitialState(LSTMCell(4)))))"
    assert row.parameters == 4 * 4 * (64 + 4 + 1) + 2 * 4


def test_in_bfloat16_the_scores_are_float32():
    half = classifier(LSTMCell(4, dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    variables = parameters(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    rough = scores(half, variables)
    assert rough.dtype == np.float32
    exact = scores(classifier(LSTMCell(4)), variables)
    np.testing.assert_allclose(rough, exact, atol=0.1)
    assert not np.array_equal(rough, exact)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_rematerialisation_reaches_every_layer_and_changes_no_score(bidirectional):
    plain, remat = (
        classifier(
            GRUCell(4),
            layers=2,
            embedding=3,
            bidirectional=bidirectional,
            remat=remat,
        )
        for remat in (False, True)
    )
    variables = parameters(plain)
    np.testing.assert_allclose(scores(remat, variables), scores(plain, variables), atol=1e-5)
    assert "remat" not in str(jax.make_jaxpr(plain.apply)(variables, TOKENS, MASK))
    # One for the even stretches of two steps each: three of six tokens, in each run of a layer.
    program = str(jax.make_jaxpr(remat.apply)(variables, TOKENS, MASK))
    assert program.count("remat") + program.count("checkpoint[") >= 2 * (1 + bidirectional)


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_a_text_in_pieces_is_the_text_in_one(pooling):
    model = classifier(GRUCell(4), layers=2, pooling=pooling)
    variables = parameters(model)
    given: Any = None, None
    for step in range(6):
        piece = np.s_[:, step : step + 1]
        given = model.apply(variables, TOKENS[piece], MASK[piece], given[0], method="advance")
        # What is masked, to the end of a row or in all of it, leaves the scores as they are.
        so_far = scores(model, variables, mask=MASK & (np.arange(6) <= step))
        np.testing.assert_allclose(given[1], so_far, atol=1e-6)
    assert len(np.unique(so_far.round(4), axis=0)) == len(MASK)
