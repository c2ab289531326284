"""Layers, training steps and data of rnnjax."""

import runpy
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from case_data import layer_data, softmax_data, step_data, text_data
from cases import CLASSES, FORWARD_BACKWARD, NUM_TOKENS
from contenders import Job, NotOfferedError
from contenders.jax_jobs import layer_job, named_kernels
from digests import digest_of_softmax, digest_of_steps
from rnnjax.cells import GRUCell, LSTMCell, SimpleCell, make_cell
from rnnjax.interop import from_torch
from rnnjax.layers import RNN, Bidirectional, Stack, available_engines

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_GPU_ENGINES = ("pallas", "cudnn")
_CELLS = {"simple": SimpleCell, "lstm": LSTMCell, "gru": GRUCell}


def make_layers(spec: dict[str, Any], **options: Any) -> list[Any]:
    """Returns the layers of a spec; the options are those of `RNN` and `Bidirectional`."""
    cell = _CELLS[spec["cell"]](spec["hidden"])
    layer_class = Bidirectional if spec["bidirectional"] else RNN
    return [layer_class(cell, **options) for _ in range(spec["layers"])]


def make_layer(spec: dict[str, Any], **options: Any) -> Any:
    """Returns the layers of a spec as one; the options are as for `make_layers`."""
    layers = make_layers(spec, **options)
    return layers[0] if len(layers) == 1 else Stack(layers)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is the engine."""
    _require_engine(_CELLS[spec["cell"]](spec["hidden"]), variant)
    layer, data = make_layer(spec, engine=variant), layer_data(spec)

    def outputs(params, inputs, mask):
        return layer.apply({"params": params}, inputs, mask)[1]

    params = from_torch(layer, data.weights)
    return layer_job(outputs, named_kernels, params, data, data.mask)


def linear(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer of a linear recurrence; `variant` is the engine."""
    cell = make_cell(spec["cell"], spec["hidden"])
    _require_engine(cell, variant)
    layer, data = RNN(cell, engine=variant), layer_data(spec)

    def outputs(params, inputs, mask):
        return layer.apply({"params": params}, inputs, mask)[1]

    params = jax.jit(layer.init)(jax.random.key(0), data.inputs[:1, :1])["params"]
    return layer_job(outputs, jax.tree.leaves, params, data, data.mask)


def _require_engine(cell: Any, engine: str) -> None:
    """Raises NotOfferedError if the cell lacks an engine on this machine."""
    engines = [
        name
        for name in available_engines(cell)
        if name not in _GPU_ENGINES or jax.default_backend() == "gpu"
    ]
    if engine not in ("auto", *engines):
        raise NotOfferedError(f"{type(cell).__name__} has the engines {', '.join(engines)}")


def growth(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of the gradient of a layer's last output, as in a classifier.

    Its facts are the time of compiling and the peak of memory, that is the size that XLA's buffer
    assignment reserves beside arguments and results.
    """
    *lower, last = make_layers(spec, remat=variant == "remat")
    layer = Stack([*lower, last.clone(return_sequences=False)])
    data = layer_data(spec)
    params = from_torch(layer, data.weights)

    def loss(params, inputs, mask, probe):
        return jnp.sum(layer.apply({"params": params}, inputs, mask)[1] * probe)

    arguments = jax.device_put((params, data.inputs, data.mask, data.probe[:, 0]))
    lowered = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments)
    start = time.perf_counter()
    compiled = lowered.compile()
    facts = {"compile_seconds": time.perf_counter() - start}
    memory = compiled.memory_analysis()
    if memory is not None:
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return Job({FORWARD_BACKWARD: lambda: jax.block_until_ready(compiled(*arguments))}, facts)


def load_lesson_config(name: str) -> Any:
    """Loads a config of the lesson by its name."""
    from rnnjax.config import parse

    return parse(runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]().to_dict())


def make_training(spec: dict[str, Any], seeds: Sequence[int]) -> tuple[Any, Any, Any]:
    """Returns a training step of replicated seeds, the state and a batch."""
    from rnnjax.data.batches import Batch
    from rnnjax.tasks.classification.task import ClassificationTask

    data, config = step_data(spec), load_lesson_config(spec["network"])
    task = ClassificationTask.from_config(config, NUM_TOKENS, {"classes": range(CLASSES)})
    batch = Batch(data.tokens, data.mask, data.labels, np.ones(len(data.labels), np.float32))
    return start_training(config, task, batch, seeds)


def start_training(
    config: Any, task: Any, batch: Any, seeds: Sequence[int]
) -> tuple[Any, Any, Any]:
    """Returns a training step of replicated seeds, the state, and the batch as a group of one."""
    from rnnjax.data.batches import BatchGroup
    from rnnjax.training.optimizer import make_optimizer
    from rnnjax.training.schedule import make_schedule
    from rnnjax.training.state import init_state
    from rnnjax.training.step import make_train_step

    learning_rate = make_schedule(
        config.schedule, config.learning_rate, config.warmup_steps, num_steps=1_000
    )
    optimizer = make_optimizer(config.optimizer, learning_rate, task.trainable_mask)
    state = init_state(task, optimizer, seeds, batch_size=config.batch_size).create()
    axes = (len(seeds), 1) if len(seeds) > 1 else (1,)
    batches = type(batch)(*(np.broadcast_to(array, (*axes, *array.shape)) for array in batch))
    return make_train_step(task, optimizer, seeds), state, BatchGroup(batches, np.int32(1))


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` is ignored."""
    del variant
    step, state, batch = make_training(spec, [0])
    data = step_data(spec)
    recurrent = from_torch(Stack(make_layers(spec)), data.weights)
    params = {
        "embed": {"embedding": data.embedding},
        "recurrent": recurrent,
        "score": {"kernel": data.score, "bias": np.zeros(CLASSES, np.float32)},
    }
    return training_job(step, state, params, batch)


def language_models(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step of a language model; `variant` is ignored."""
    del variant
    from rnnjax.config import defaults, parse
    from rnnjax.data.streams import StreamBatch
    from rnnjax.tasks.language_modeling.task import LanguageModelingTask

    values: dict[str, Any] = defaults("language_modeling")
    values["batch_size"], values["data"]["sequence_length"] = spec["batch"], spec["time"]
    model = values["model"]
    model["embedding"]["features"], model["features"] = spec["inputs"], spec["hidden"]
    model["layers"] = spec["layers"]
    values["optimizer"]["name"] = "adam"  # with the epsilon of PyTorch
    config = parse(values)
    task = LanguageModelingTask.from_config(config, spec["vocabulary"], {"connected": True})
    data = text_data(spec)
    full = np.ones(data.inputs.shape, bool)
    batch = StreamBatch(
        data.inputs, data.targets, full, full.astype(np.float32), np.zeros(spec["batch"], bool)
    )
    step, state, group = start_training(config, task, batch, [0])
    params = {
        "embed": {"embedding": data.embedding},
        "recurrent": from_torch(Stack(make_layers(spec)), data.weights),
        "score": {"kernel": data.score, "bias": np.zeros(spec["vocabulary"], np.float32)},
    }
    return training_job(step, state, params, group)


def training_job(step: Any, state: Any, params: Any, group: Any) -> Job:
    """Returns the job of a training step from some initial parameters."""
    # Raises if the config no longer matches the spec.
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), state.params, params)
    state = state.replace(params=jax.device_put(params))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, group))

    def loss() -> float:
        previous = float(state.sums["loss"])
        run()
        return (float(state.sums["loss"]) - previous) / float(group.batches.weights.sum())

    return Job({"step": run}, {"digest": digest_of_steps(loss)})


def softmax(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of loss and gradient of an output layer.

    Its facts are the digest and the memory, as for `linear`. `variant` is 'auto' for chunks of
    rows, 'all logits', or 'adaptive', another model, without a digest.
    """
    from rnnjax.kernels import adaptive_cross_entropy, chunked_cross_entropy

    data = softmax_data(spec)

    def chunked(vectors, kernel, bias, targets):
        return chunked_cross_entropy(vectors, kernel, bias, targets).loss / spec["tokens"]

    def of_all_logits(vectors, kernel, bias, targets):
        logits = vectors @ kernel + bias[None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def adaptive(vectors, softmax, weights, targets):
        return adaptive_cross_entropy(vectors, softmax, targets, weights).loss / spec["tokens"]

    if variant == "adaptive":
        loss, rest = adaptive, (_adaptive_softmax(data.kernel), np.ones_like(data.vectors[:, 0]))
    else:
        loss = of_all_logits if variant == "all logits" else chunked
        rest = data.kernel, np.zeros(spec["vocabulary"], np.float32)
    arguments = jax.device_put((data.vectors, *rest, data.targets))
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).lower(*arguments).compile()
    facts: dict[str, Any] = {}
    if variant != "adaptive":
        value, (vectors, *weights) = compiled(*arguments)
        facts["digest"] = digest_of_softmax(value, vectors, weights)
    memory = compiled.memory_analysis()
    if memory is not None:
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return Job({FORWARD_BACKWARD: lambda: jax.block_until_ready(compiled(*arguments))}, facts)


def _adaptive_softmax(kernel: Any) -> Any:
    """Returns an adaptive softmax of two clusters with weights from a kernel."""
    from rnnjax.kernels import AdaptiveSoftmax

    features, vocabulary = kernel.shape
    first, second = vocabulary // 25, vocabulary // 5
    narrow = features // 4, features // 16
    return AdaptiveSoftmax(
        head=kernel[:, : first + 2],
        projections=tuple(kernel[:, :size] for size in narrow),
        kernels=(kernel[: narrow[0], first:second], kernel[: narrow[1], second:]),
    )


def replicates(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step of replicated seeds; `variant` is their number."""
    step, state, batch = make_training(spec, range(int(variant)))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, batch))

    run()
    return Job({"step": run}, {})


def text(spec: dict[str, Any], variant: str) -> Job:
    """Returns the jobs from CSV files to batches; `variant` is ignored."""
    del variant
    from rnnjax.data import corpora
    from rnnjax.data.batches import fit_boundaries
    from rnnjax.data.vocabulary import Vocabulary
    from rnnjax.tasks.classification.data import make_batches

    config = load_lesson_config("masked_rnn")

    def load_corpus(cache: str) -> Any:
        return corpora.load("ag_news_subset", spec["data"], "", Path(cache))

    def prepare() -> None:
        with tempfile.TemporaryDirectory() as cache:
            load_corpus(cache)

    cache = tempfile.TemporaryDirectory()
    train = load_corpus(cache.name).splits["train"]

    def count_tokens(keep_alive: Any = cache) -> int:
        vocabulary = Vocabulary.fit(train.texts("title", slice(2_000)), config.data.vocabulary.size)
        texts = train.texts(config.data.text)
        batches = make_batches(
            config.data,
            vocabulary.encode(texts, config.data.max_tokens),
            np.asarray(train.labels, np.int32),
            batch_size=config.batch_size,
            mask_padding=config.model.mask,
        )
        batches = fit_boundaries(batches, config.data.buckets, epochs=config.epochs)
        return sum(batches.batch_at(0, step).inputs.size for step in range(batches.steps_per_epoch))

    def load_again() -> None:
        load_corpus(cache.name)

    operations = {"read": prepare, "read again": load_again, "batches": count_tokens}
    return Job(operations, {"rows": len(train)})
