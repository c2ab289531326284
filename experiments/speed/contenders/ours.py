"""rnnjax."""

import runpy
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cases import BOTH, CLASSES, KNOWN, digest_of_steps, layer_data, step_data
from contenders import Job, NotOfferedError
from contenders.in_jax import layer_job, named_kernels
from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.interop import from_torch
from rnnjax.layers import RNN, Bidirectional, Stack, available_engines

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_OF_GPUS = ("pallas", "cudnn")
_CELLS = {"simple": SimpleCell, "lstm": LSTMCell, "gru": GRUCell}


def layer_list(spec: dict[str, Any], **options: Any) -> list[Any]:
    """Returns the layers of a spec; the options are those of `RNN` and `Bidirectional`."""
    cell = _CELLS[spec["cell"]](spec["hidden"])
    kind = Bidirectional if spec["bidirectional"] else RNN
    return [kind(cell, **options) for _ in range(spec["layers"])]


def layer_of(spec: dict[str, Any], **options: Any) -> Any:
    """Returns the layers of a spec as one; the options are as for `layer_list`."""
    made = layer_list(spec, **options)
    return made[0] if len(made) == 1 else Stack(made)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is the engine."""
    cell = _CELLS[spec["cell"]](spec["hidden"])
    here = [
        each
        for each in available_engines(cell)
        if each not in _OF_GPUS or jax.default_backend() == "gpu"
    ]
    if variant not in ("auto", *here):
        raise NotOfferedError(f"{type(cell).__name__} has here the engines {', '.join(here)}")
    layer, data = layer_of(spec, engine=variant), layer_data(spec)

    def outputs(params, inputs, mask):
        return layer.apply({"params": params}, inputs, mask)[1]

    params = from_torch(layer, data.weights)
    return layer_job(outputs, named_kernels, params, data, data.mask)


def growth(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of the gradient of a layer's last output, which a classifier asks for.

    Its facts say what compiling took and what it needs: the peak of memory is what XLA's buffer
    assignment reserves beside arguments and results.
    """
    *below, last = layer_list(spec, remat=variant == "remat")
    layer = Stack([*below, last.clone(return_sequences=False)])
    data = layer_data(spec)
    params = from_torch(layer, data.weights)

    def loss(params, inputs, mask, probe):
        return jnp.sum(layer.apply({"params": params}, inputs, mask)[1] * probe)

    given = jax.device_put((params, data.inputs, data.mask, data.probe[:, 0]))
    lowered = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*given)
    start = time.perf_counter()
    compiled = lowered.compile()
    facts = {"compile_seconds": time.perf_counter() - start}
    memory = compiled.memory_analysis()
    if memory is not None:
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return Job({BOTH: lambda: jax.block_until_ready(compiled(*given))}, facts)


def config_of(name: str) -> Any:
    """Returns the lesson's config of that name."""
    from rnnjax.config import parse

    return parse(runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]().to_dict())


def training(spec: dict[str, Any], seeds: Sequence[int]) -> tuple[Any, Any, Any]:
    """Returns the training step of some seeds side by side, the state, and what is read."""
    from rnnjax.data.batches import Batch, BatchGroup
    from rnnjax.tasks import ClassificationTask
    from rnnjax.training.optimizer import make_optimizer, make_schedule
    from rnnjax.training.state import init_state
    from rnnjax.training.step import make_train_step

    data, config = step_data(spec), config_of(spec["network"])
    task = ClassificationTask.from_config(config, KNOWN, {"classes": range(CLASSES)})
    learning_rate = make_schedule(
        config.schedule, config.learning_rate, config.warmup_steps, num_steps=1_000
    )
    optimizer = make_optimizer(config.optimizer, learning_rate, task.trainable_mask)
    state = init_state(task, optimizer, seeds, batch_size=config.batch_size).create()
    batch = Batch(data.tokens, data.mask, data.labels, np.ones(len(data.labels), np.float32))
    axes = (len(seeds), 1) if len(seeds) > 1 else (1,)
    read = Batch(*(np.broadcast_to(each, (*axes, *each.shape)) for each in batch))
    return make_train_step(task, optimizer, seeds), state, BatchGroup(read, np.int32(1))


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` means nothing here."""
    del variant
    step, state, stack = training(spec, [0])
    data = step_data(spec)
    recurrent = from_torch(Stack(layer_list(spec)), data.weights)
    params = {
        "embed": {"embedding": data.embedding},
        "recurrent": recurrent,
        "score": {"kernel": data.score, "bias": np.zeros(CLASSES, np.float32)},
    }
    # Raises where the config is no longer what the spec says.
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), state.params, params)
    state = state.replace(params=jax.device_put(params))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, stack))

    def loss() -> float:
        before = float(state.sums["loss"])
        run()
        return (float(state.sums["loss"]) - before) / len(data.labels)

    return Job({"step": run}, {"digest": digest_of_steps(loss)})


def replicates(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step of several seeds at once; `variant` is their number."""
    step, state, stack = training(spec, range(int(variant)))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, stack))

    run()
    return Job({"step": run}, {})


def text(spec: dict[str, Any], variant: str) -> Job:
    """Returns the jobs from CSV files to batches; `variant` means nothing here."""
    del variant
    from rnnjax.data import corpora
    from rnnjax.data.labelled_text import fit_boundaries, make_batches
    from rnnjax.data.vocabulary import Vocabulary

    config = config_of("masked_rnn")

    def corpus(cache: str) -> Any:
        return corpora.load("ag_news_subset", spec["data"], "", Path(cache))

    def prepare() -> None:
        with tempfile.TemporaryDirectory() as cache:
            corpus(cache)

    kept = tempfile.TemporaryDirectory()
    train = corpus(kept.name).splits["train"]

    def batches(keep: Any = kept) -> int:
        vocabulary = Vocabulary.fit(train.texts("title", slice(2_000)), config.data.vocabulary.size)
        texts = train.texts(config.data.text)
        made = make_batches(
            config.data,
            vocabulary,
            texts,
            np.asarray(train.labels, np.int32),
            batch_size=config.batch_size,
            mask_padding=config.model.mask,
        )
        made = fit_boundaries(made, config.data.buckets, epochs=config.epochs)
        return sum(made.batch_at(0, step).tokens.size for step in range(made.steps_per_epoch))

    return Job({"read": prepare, "batches": batches}, {"rows": len(train)})
