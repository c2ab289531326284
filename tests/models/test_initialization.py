"""Initial values of whole networks: the distributions of each library, and chosen bounds."""

from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnjax.cells import CELLS, GRUCell, LSTMCell, SimpleCell
from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.models import SequenceModel
from rnnjax.models.initialization import Initialization
from rnnjax.tasks.classification.model import Classifier
from rnnjax.tasks.language_modeling.model import LanguageModel
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.tasks.model_options import check_cell, make_initialization
from rnnjax.tasks.translation.model import Translator

VOCABULARY, EMBEDDING, FEATURES = 300, 40, 64
TOKENS, MASK = jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool)
CUT = 2.0
EMBEDDINGS = {
    "keras": stats.uniform(-0.05, 0.1),
    "torch": stats.norm(),
    "flax": stats.norm(scale=EMBEDDING**-0.5),
    "haiku": stats.truncnorm(-CUT, CUT),
}


def uniform(bound):
    """Returns the uniform distribution between -bound and bound."""
    return stats.uniform(-bound, 2 * bound)


KERNELS = {
    "keras": lambda inputs, outputs: uniform(np.sqrt(6 / (inputs + outputs))),
    "torch": lambda inputs, outputs: uniform(inputs**-0.5),
    "flax": lambda inputs, outputs: stats.truncnorm(
        -CUT, CUT, scale=inputs**-0.5 / stats.truncnorm(-CUT, CUT).std()
    ),
    "haiku": lambda inputs, outputs: stats.truncnorm(-CUT, CUT, scale=inputs**-0.5),
}
RECURRENT = MappingProxyType(
    {
        "torch": lambda inputs: uniform(FEATURES**-0.5),
        "haiku": lambda inputs: stats.truncnorm(-CUT, CUT, scale=(inputs + FEATURES) ** -0.5),
    }
)
MODEL = {"vocabulary": VOCABULARY, "embedding": EMBEDDING, "cell": LSTMCell(FEATURES), "layers": 2}


def initial_params(model, *inputs) -> Any:
    """Returns new parameters in NumPy arrays."""
    inputs = inputs or (TOKENS, MASK)
    return jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(1), *inputs)["params"])


def assert_drawn_from(distribution, values):
    """Fails unless values are a likely sample of a distribution; keys are fixed."""
    values = np.ravel(values)
    assert stats.kstest(values, distribution.cdf).pvalue > 1e-3
    low, high = distribution.support()
    assert low <= values.min()
    assert values.max() <= high


@pytest.mark.parametrize("library", EMBEDDINGS)
def test_embedding_and_output_layer_begin_as_in_the_library(library):
    params = initial_params(LanguageModel(initialization=Initialization(library), **MODEL))
    assert_drawn_from(EMBEDDINGS[library], params["embed"]["embedding"])
    output = params["score"]
    assert_drawn_from(KERNELS[library](FEATURES, VOCABULARY), output["kernel"])
    if library == "torch":
        assert_drawn_from(uniform(FEATURES**-0.5), output["bias"])
    else:
        assert not output["bias"].any()


@pytest.mark.parametrize("library", RECURRENT)
def test_each_layer_begins_by_the_features_that_it_reads(library):
    params = initial_params(LanguageModel(initialization=Initialization(library), **MODEL))
    for layer, inputs in (("layers_0", EMBEDDING), ("layers_1", FEATURES)):
        cell = params["recurrent"][layer]["cell"]
        assert cell["input"]["kernel"].shape[0] == inputs
        for kernel in (cell["input"]["kernel"], cell["recurrent_kernel"]):
            assert_drawn_from(RECURRENT[library](inputs), kernel)


def test_torch_biases_of_an_lstm_are_the_sum_of_two():
    params = initial_params(LanguageModel(initialization=Initialization("torch"), **MODEL))
    bias = params["recurrent"]["layers_0"]["cell"]["input"]["bias"]
    bound = FEATURES**-0.5
    assert_drawn_from(stats.triang(0.5, -2 * bound, 4 * bound), bias)


def test_bidirectional_layers_read_both_directions():
    model = Classifier(
        classes=4,
        bidirectional=True,
        initialization=Initialization("torch"),
        **MODEL,
    )
    params = initial_params(model)
    assert_drawn_from(uniform((2 * FEATURES) ** -0.5), params["score"]["kernel"])
    model = model.copy(initialization=Initialization("haiku"))
    kernel = initial_params(model)["recurrent"]["layers_1"]["forward"]["cell"]["input"]["kernel"]
    assert_drawn_from(RECURRENT["haiku"](2 * FEATURES), kernel)


def test_keras_is_the_default_bit_for_bit():
    default = initial_params(LanguageModel(**MODEL))
    named = initial_params(LanguageModel(initialization=Initialization("keras"), **MODEL))
    jax.tree.map(np.testing.assert_array_equal, default, named)
    key = jax.random.key(0)
    cell = LSTMCell(FEATURES)
    assert Initialization("keras").cell(cell, 3) == cell
    np.testing.assert_array_equal(
        Initialization().embedding()(key, (4, 2)), jax.random.uniform(key, (4, 2)) * 0.1 - 0.05
    )


@pytest.mark.parametrize("cell", [SimpleCell, LSTMCell, GRUCell])
def test_chosen_bounds_are_those_of_all_parameters(cell):
    scales = Initialization(
        "torch", embedding_scale=0.3, recurrent_scale=0.2, output_scale=0.4, strict=True
    )
    params = initial_params(
        LanguageModel(**{**MODEL, "cell": cell(FEATURES), "initialization": scales})
    )
    assert_drawn_from(uniform(0.3), params["embed"]["embedding"])
    assert_drawn_from(uniform(0.4), params["score"]["kernel"])
    assert not params["score"]["bias"].any()
    for values in jax.tree.leaves(params["recurrent"]):
        assert_drawn_from(uniform(0.2), values)


def test_cells_of_flax_have_bounds_too():
    model = SequenceModel(
        outputs=2,
        inputs=3,
        cell=nn.OptimizedLSTMCell(FEATURES),
        initialization=Initialization(recurrent_scale=0.2),
    )
    params = initial_params(model, jnp.ones((1, 2, 3)), MASK)
    values = [np.ravel(leaf) for leaf in jax.tree.leaves(params["recurrent"])]
    assert_drawn_from(uniform(0.2), np.concatenate(values))


def test_sequence_models_have_the_initial_values_of_a_library():
    cell, inputs = LSTMCell(FEATURES), jnp.ones((1, 2, 3))
    model = SequenceModel(
        outputs=2, inputs=3, cell=cell, initialization=Initialization("haiku", strict=True)
    )
    kernel = initial_params(model, inputs, MASK)["recurrent"]["layers_0"]["cell"]["input"]["kernel"]
    assert_drawn_from(RECURRENT["haiku"](3), kernel)


@pytest.mark.parametrize("library", EMBEDDINGS)
def test_translators_have_the_initial_values_of_a_library(library):
    model = Translator(
        vocabulary=VOCABULARY,
        encoder_cell=LSTMCell(FEATURES // 2),
        decoder_cell=LSTMCell(FEATURES),
        decoder_layers=2,
        embedding=EMBEDDING,
        tied=False,
        initialization=Initialization(library),
    )
    params = initial_params(model, TOKENS, MASK, TOKENS, MASK)
    assert_drawn_from(EMBEDDINGS[library], params["embed"]["embedding"])
    assert_drawn_from(KERNELS[library](EMBEDDING, VOCABULARY), params["score"]["kernel"])
    assert_drawn_from(KERNELS[library](2 * FEATURES, EMBEDDING), params["combine"]["kernel"])
    if library in RECURRENT:
        kernel = params["rest"]["layers_0"]["cell"]["input"]["kernel"]
        assert_drawn_from(RECURRENT[library](2 * FEATURES), kernel)


def config_of(**model):
    """Returns a config of a language model."""
    return parse({"task": "language_modeling", "model": model})


def test_library_lacks_parameters_of_a_cell():
    config = config_of(initialization="torch", cell="MinGRUCell")
    with pytest.raises(
        InputError, match=r"'torch', and of MinGRUCell the parameters input/bias, input"
    ):
        check_cell(config.model)
    flax_cell = config_of(initialization="torch", cell="flax.linen:GRUCell")
    with pytest.raises(InputError, match=r"GRUCell the parameters .*hn/kernel"):
        check_cell(flax_cell.model)


def test_bounds_lack_parameters_of_a_cell():
    config = config_of(recurrent_scale=0.1, cell="LRUCell")
    with pytest.raises(InputError, match=r"LRUCell, whose parameters .*nu_log"):
        check_cell(config.model)


@pytest.mark.parametrize("name", sorted(CELLS.keys() - {"ConvLSTMCell"}))
def test_any_cell_begins_without_a_choice(name):
    for initialization in ("", "keras"):
        check_cell(config_of(initialization=initialization, cell=name).model)


def test_language_models_begin_by_their_own_choice():
    """A cell that the library lacks has its own initial values there, without an error."""

    def model_of(**options):
        config = config_of(features=8, **options)
        return LanguageModelingTask.from_config(config, 30, {"connected": True}).model

    begin = model_of().initialization
    assert begin == Initialization("haiku")
    table = initial_params(model_of(embedding={"features": 500}))["embed"]["embedding"]
    assert_drawn_from(EMBEDDINGS["haiku"], table)
    mingru = model_of(cell="MinGRUCell")
    cell = initial_params(mingru)["recurrent"]["layers_0"]["cell"]
    keras = initial_params(mingru.copy(initialization=Initialization()))
    jax.tree.map(np.testing.assert_array_equal, cell, keras["recurrent"]["layers_0"]["cell"])
    named = model_of(initialization="torch").initialization
    assert named == Initialization("torch", strict=True)
    scaled = make_initialization(config_of(embedding={"scale": 0.5}).model, begin)
    assert scaled == Initialization("haiku", embedding_scale=0.5)
