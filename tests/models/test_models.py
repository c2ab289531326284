"""The classifier: parameter counts, layer table, masks, pooling and regularisers."""

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
from rnnjax.models import describe_layers
from rnnjax.tasks.classification.model import Classifier
from rnnjax.tasks.classification.task import ClassificationTask

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LESSON_PARAMETERS = {
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


def load_model(name):
    """Returns the network of a config file."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = parse(module.get_config().to_dict(), name)
    return ClassificationTask.from_config(config, 20_000, {"classes": "abcd"}).model


def describe_layers_of(model):
    """Returns the model's table for a batch of any four texts of six tokens."""
    return describe_layers(
        model, jax.ShapeDtypeStruct((4, 6), jnp.int32), jax.ShapeDtypeStruct((4, 6), jnp.bool_)
    )


def param_shapes(model):
    """Returns the shapes of the parameters."""
    return jax.eval_shape(model.init, jax.random.key(0), TOKENS, MASK)


def random_params(model):
    """Returns random parameters, biases included."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), param_shapes(model)
    )


def initial_params(model) -> Any:
    """Returns the parameters that a training begins with."""
    return jax.jit(model.init)(jax.random.key(0), TOKENS, MASK)["params"]


def scores(model, variables, tokens=TOKENS, mask=MASK, **options):
    """Returns the scores in a NumPy array."""
    call = jax.jit(lambda variables, tokens, mask: model.apply(variables, tokens, mask, **options))
    return np.asarray(call(variables, tokens, mask))


@pytest.mark.parametrize(("name", "expected"), LESSON_PARAMETERS.items())
def test_parameter_counts_of_the_lesson(name, expected):
    model = load_model(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(param_shapes(model))) == expected
    assert sum(row.parameters for row in describe_layers_of(model)) == expected


def test_layer_table():
    rows = [
        (row.layer, row.type, row.output, row.parameters)
        for row in describe_layers_of(load_model("bilstm"))
    ]
    assert rows == [
        ("embed", "Embed", "float32[4, 6, 128]", 2_560_000),
        ("recurrent/layers_0", "Bidirectional(LSTMCell(64))", "float32[4, 6, 128]", 98_816),
        ("recurrent/layers_1", "Bidirectional(LSTMCell(64))", "float32[4, 128]", 98_816),
        ("score", "Dense", "float32[4, 4]", 516),
    ]


def test_one_hot_inputs_have_no_embedding():
    model = classifier(SimpleCell(5), embedding=0)
    assert [row.layer for row in describe_layers_of(model)] == ["recurrent/layers_0", "score"]
    variables = random_params(model)
    kernel = variables["params"]["recurrent"]["layers_0"]["cell"]["input"]["kernel"]
    assert kernel.shape == (11, 5)
    # A one-hot vector times a matrix is the row that a table with that matrix would give.
    embedded = classifier(SimpleCell(5), embedding=11)
    with_table = {"params": {**variables["params"], "embed": {"embedding": np.eye(11, dtype="f")}}}
    np.testing.assert_allclose(
        scores(model, variables), scores(embedded, with_table), atol=1e-6, rtol=0
    )


def test_embedding_init_is_that_of_keras():
    embedding = initial_params(classifier(SimpleCell(2), vocabulary=500, embedding=8))["embed"][
        "embedding"
    ]
    assert 0.049 < abs(embedding).max() <= 0.05
    assert embedding.min() < -0.049
    assert abs(embedding.mean()) < 0.005


@pytest.mark.parametrize(
    ("embedding", "bidirectional", "pooling"),
    [(0, True, "last"), (0, False, "last"), (3, True, "max"), (3, False, "max")],
)
def test_masked_tokens_do_not_change_logits(embedding, bidirectional, pooling):
    model = classifier(
        LSTMCell(4),
        layers=2,
        embedding=embedding,
        bidirectional=bidirectional,
        pooling=pooling,
    )
    variables = random_params(model)
    clean = scores(model, variables)
    for masked_token in (0, 7, 10):
        tokens = np.where(MASK, TOKENS, masked_token)
        np.testing.assert_array_equal(scores(model, variables, tokens), clean)
    shifted = np.where(MASK, (TOKENS + 1) % 11, TOKENS)
    is_changed = (scores(model, variables, shifted) != clean).any(axis=1)
    assert is_changed.tolist() == [True, True, True, False]


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_empty_text_has_bias_logits_and_no_gradient(pooling):
    model = classifier(GRUCell(4), pooling=pooling)
    params = random_params(model)["params"]

    @jax.jit
    @jax.value_and_grad
    def total(params, mask):
        outputs = model.apply({"params": params}, TOKENS, mask)
        assert isinstance(outputs, jax.Array)
        return outputs.sum()

    value, gradient = total(params, np.zeros_like(MASK))
    np.testing.assert_allclose(value, 4 * params["score"]["bias"].sum(), rtol=1e-5)
    for name in ("embed", "recurrent"):
        assert not any(leaf.any() for leaf in jax.tree.leaves(gradient[name]))
    # Among others it spoils nothing: not a number would be felt in every sum.
    _, gradient = total(params, MASK)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert gradient["embed"]["embedding"].any()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_max_pooling_ignores_masked_steps(bidirectional):
    cell = GRUCell(4)
    model = classifier(cell, layers=2, bidirectional=bidirectional, pooling="max")
    mask = MASK.copy()
    mask[0, 1] = False  # a hole
    variables = random_params(model)

    @jax.jit
    def outputs_of(variables, tokens, mask):
        return model.apply(
            variables, method=lambda model: model.recurrent(model.embed(tokens), mask)[1]
        )

    outputs = np.asarray(outputs_of(variables, TOKENS, mask))
    texts = [steps[valid] for steps, valid in zip(outputs, mask, strict=True)]
    assert any((text < 0).all(axis=0).any() for text in texts[:3])  # zeros of padding would be more
    pooled = [
        text.max(axis=0) if len(text) else np.zeros(8 if bidirectional else 4) for text in texts
    ]
    score = variables["params"]["score"]
    expected = np.stack(pooled) @ score["kernel"] + score["bias"]
    np.testing.assert_allclose(scores(model, variables, mask=mask), expected, atol=1e-5)


def test_options_reach_the_layers():
    deep = classifier(SimpleCell(4), layers=3, bidirectional=True, merge="sum")
    types = [row.output for row in describe_layers_of(deep) if row.layer.startswith("recurrent")]
    assert types == ["float32[4, 6, 4]", "float32[4, 6, 4]", "float32[4, 4]"]
    pooled = classifier(SimpleCell(4), layers=2, pooling="max")
    types = [row.output for row in describe_layers_of(pooled) if row.layer.startswith("recurrent")]
    assert types == ["float32[4, 6, 4]", "float32[4, 6, 4]"]


def test_layers_have_separate_parameters():
    recurrent = initial_params(classifier(SimpleCell(4), layers=2, embedding=4))["recurrent"]
    first, second = recurrent["layers_0"], recurrent["layers_1"]
    assert not np.array_equal(first["cell"]["recurrent_kernel"], second["cell"]["recurrent_kernel"])


def test_dropout_follows_the_key():
    dropout_model = classifier(SimpleCell(4), layers=2, dropout=0.5)
    plain = classifier(SimpleCell(4), layers=2)
    variables = random_params(plain)

    @jax.jit
    def with_dropout(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return dropout_model.apply(variables, TOKENS, MASK, rngs=rngs)

    np.testing.assert_array_equal(scores(dropout_model, variables), scores(plain, variables))
    np.testing.assert_array_equal(with_dropout(1), with_dropout(1))
    assert not np.array_equal(with_dropout(1), with_dropout(2))
    assert not np.array_equal(with_dropout(1), scores(plain, variables))


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
def test_regularizers_draw_only_in_training(cell, options):
    if "weight_drop" in options and isinstance(cell, nn.GRUCell):
        pytest.skip("the names of flax's kernels are not those of the package")
    model = classifier(cell, layers=2, bidirectional=True, **options)
    variables = random_params(model)

    @jax.jit
    def in_training(tokens, seed):
        return model.apply(variables, tokens, MASK, rngs={"dropout": jax.random.key(seed)})

    first = np.asarray(in_training(TOKENS, 1))
    np.testing.assert_array_equal(in_training(TOKENS, 1), first)
    assert not np.array_equal(in_training(TOKENS, 2), first)
    np.testing.assert_array_equal(in_training(np.where(MASK, TOKENS, 7), 1), first)
    in_evaluation = scores(model, variables)
    assert not np.array_equal(in_evaluation, first)
    if not {"zoneout", "learned_initial_state"} & set(options):
        plain = classifier(cell, layers=2, bidirectional=True)
        params = variables["params"]
        if "weight_drop" in options:
            bare = {name: layer["layer"] for name, layer in params["recurrent"].items()}
            params = {**params, "recurrent": bare}
        if "recurrent_dropout" in options:
            return  # the wrapper stands in the paths of the parameters
        np.testing.assert_array_equal(scores(plain, {"params": params}), in_evaluation)


class TotalVariation(Cell):
    """Adds up how much the inputs change from step to step."""

    output_part: ClassVar[str | None] = None

    def initial_state(self, input_shape):
        """Returns no sum, and not a number before the first step."""
        sums = super().initial_state(input_shape)
        return sums, jnp.full(sums.shape, jnp.nan)

    def step(self, state, projected):
        """Returns the sum so far."""
        sums, previous = state
        change = jnp.where(jnp.isnan(previous), 0, jnp.abs(projected - previous))
        return (sums + change, projected), sums + change


@pytest.mark.parametrize("variational", [True, False])
def test_variational_input_dropout_is_constant_over_time(variational):
    model = classifier(
        TotalVariation(16),
        embedding=16,
        dropout=0.5,
        variational=variational,
    )
    tokens = np.full((4, 6), 7, np.int32)
    variables = random_params(model)
    rngs = {"dropout": jax.random.key(1)}
    outputs = scores(model, variables, tokens, np.ones((4, 6), bool), rngs=rngs)
    unchanged = np.broadcast_to(variables["params"]["score"]["bias"], outputs.shape)
    assert np.array_equal(outputs, unchanged) == variational


def test_layer_table_names_wrappers():
    model = classifier(LSTMCell(4), zoneout=0.1, weight_drop=0.2, learned_initial_state=True)
    (row,) = (row for row in describe_layers_of(model) if row.layer.startswith("recurrent"))
    assert row.type == "WeightDrop(RNN(Zoneout(LearnedInitialState(LSTMCell(4)))))"
    assert row.parameters == 4 * 4 * (64 + 4 + 1) + 2 * 4


def test_bfloat16_model_returns_float32_logits():
    half = classifier(LSTMCell(4, dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    variables = random_params(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    bfloat16_scores = scores(half, variables)
    assert bfloat16_scores.dtype == np.float32
    float32_scores = scores(classifier(LSTMCell(4)), variables)
    np.testing.assert_allclose(bfloat16_scores, float32_scores, atol=0.1)
    assert not np.array_equal(bfloat16_scores, float32_scores)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_remat_reaches_every_layer(bidirectional):
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
    variables = random_params(plain)
    np.testing.assert_allclose(scores(remat, variables), scores(plain, variables), atol=1e-5)
    assert "remat" not in str(jax.make_jaxpr(plain.apply)(variables, TOKENS, MASK))
    # One for the even stretches of two steps each: three of six tokens, in each run of a layer.
    program = str(jax.make_jaxpr(remat.apply)(variables, TOKENS, MASK))
    assert program.count("remat") + program.count("checkpoint[") >= 2 * (1 + bidirectional)


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_streaming_equals_one_pass(pooling):
    model = classifier(GRUCell(4), layers=2, pooling=pooling)
    variables = random_params(model)
    carry: Any = None, None
    for step in range(6):
        piece = np.s_[:, step : step + 1]
        carry = model.apply(variables, TOKENS[piece], MASK[piece], carry[0], method="advance")
        # Masked tokens at the end of a row, or in all of it, leave the logits unchanged.
        so_far = scores(model, variables, mask=MASK & (np.arange(6) <= step))
        np.testing.assert_allclose(carry[1], so_far, atol=1e-6)
    assert len(np.unique(so_far.round(4), axis=0)) == len(MASK)
