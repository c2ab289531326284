"""rnnjax."""

import runpy
import tempfile
import time
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
from rnnjax.layers import RNN, Bidirectional, Stack, engines

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_CELLS = {"simple": SimpleCell, "lstm": LSTMCell, "gru": GRUCell}


def layer_list(spec: dict[str, Any], **options: Any) -> list[Any]:
    """Returns the layers of a spec; the options are those of `RNN`, of one direction alone."""
    cell = _CELLS[spec["cell"]](spec["hidden"])
    both_ways = spec["bidirectional"]
    return [
        Bidirectional(cell) if both_ways else RNN(cell, **options) for _ in range(spec["layers"])
    ]


def layer_of(spec: dict[str, Any], **options: Any) -> Any:
    """Returns the layers of a spec as one; the options are as for `layer_list`."""
    made = layer_list(spec, **options)
    return made[0] if len(made) == 1 else Stack(made)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is the engine."""
    layer, data = layer_of(spec), layer_data(spec)
    params = from_torch(layer, data.weights)
    cell = _CELLS[spec["cell"]](spec["hidden"])
    offered = engines(cell)
    if variant not in ("auto", *offered):
        raise NotOfferedError(f"{type(cell).__name__} has the engines {', '.join(offered)}")

    def outputs(params, inputs, mask):
        if variant == "auto":
            return layer.apply({"params": params}, inputs, mask)[1]
        if not spec["bidirectional"]:
            return RNN(cell, engine=variant).apply({"params": params}, inputs, mask)[1]
        # A Bidirectional chooses its engine itself; these are its two runs.
        for index in range(spec["layers"]):
            own = params[f"layers_{index}"]
            inputs = jnp.concatenate(
                [
                    RNN(cell, engine=variant, reverse=way == "backward").apply(
                        {"params": own[way]}, inputs, mask
                    )[1]
                    for way in ("forward", "backward")
                ],
                axis=-1,
            )
        return inputs

    return layer_job(outputs, named_kernels, params, data, data.mask)


def growth(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer's gradient; its facts say what compiling took and what it needs.

    The peak of memory is what XLA's buffer assignment reserves beside arguments and results.
    """
    if variant == "remat" and "remat" not in RNN.__dataclass_fields__:
        raise NotOfferedError("RNN has no remat")
    layer = layer_of(spec, **({"remat": True} if variant == "remat" else {}))
    data = layer_data(spec)
    params = from_torch(layer, data.weights)

    def loss(params, inputs, mask, probe):
        return jnp.sum(layer.apply({"params": params}, inputs, mask)[1] * probe)

    given = jax.device_put((params, data.inputs, data.mask, data.probe))
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


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` means nothing here."""
    del variant
    from rnnjax.data.batches import Batch
    from rnnjax.tasks import Classification
    from rnnjax.training.optimizer import make_optimizer
    from rnnjax.training.state import init_state
    from rnnjax.training.step import make_train_step

    data, config = step_data(spec), config_of(spec["network"])
    task = Classification.of(config, KNOWN, CLASSES)
    optimizer = make_optimizer(config, 1_000, task.trained)
    state = init_state(task, optimizer, 0, False)
    recurrent = from_torch(Stack(layer_list(spec)), data.weights)
    params = {
        "embed": {"embedding": data.embedding},
        "recurrent": recurrent,
        "score": {"kernel": data.score, "bias": np.zeros(CLASSES, np.float32)},
    }
    # Raises where the config is no longer what the spec says.
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), state.params, params)
    state = state.replace(params=jax.device_put(params))
    batch = Batch(data.tokens, data.mask, data.labels, np.ones(len(data.labels), np.float32))
    step = make_train_step(task, optimizer, 0)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, batch))

    def loss() -> float:
        before = float(state.sums["loss"])
        run()
        return (float(state.sums["loss"]) - before) / len(data.labels)

    return Job({"step": run}, {"digest": digest_of_steps(loss)})


def text(spec: dict[str, Any], variant: str) -> Job:
    """Returns the jobs from CSV files to batches; `variant` means nothing here."""
    del variant
    from rnnjax.data import corpora
    from rnnjax.data.dataset import make_batches
    from rnnjax.data.text import Vocabulary

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
        made = make_batches(config, vocabulary, texts, np.asarray(train.labels, np.int32))
        return sum(made.batch_at(0, step).tokens.size for step in range(made.steps_per_epoch))

    return Job({"read": prepare, "batches": batches}, {"rows": len(train)})
