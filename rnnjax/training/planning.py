"""The plan of a run: compilations, padding, memory, time and exchange between devices.

Memory is that of XLA's own analysis of the compiled programs, which need not run. The time is that
of the compiled steps on batches of the run.
"""

import collections
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax.config import Config
from rnnjax.data.batches import Shape
from rnnjax.data.dataset import Split
from rnnjax.tasks import Task
from rnnjax.tasks.registry import find_task
from rnnjax.training.launch import Steps, build_steps, make_task
from rnnjax.training.loop import Intervals
from rnnjax.training.program_costs import ProgramMemory, count_flops, process_bytes, tree_bytes
from rnnjax.training.replicates import Replicate, batch_group_at, make_replicates
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.run_plan import ExchangePlan, MemoryPlan, RunPlan, ShapePlan, TimePlan
from rnnjax.training.sharding import FSDP, Partition, make_partition
from rnnjax.training.step import CompiledFunction
from rnnjax.training.trainable_rows import trim_rows
from rnnjax.training.watching import padding_share

_STEPS_FOR_SHAPES = 10_000
"""Steps of an epoch whose shapes are counted; of more, as many at equal distances."""
_STEPS_FOR_PADDING = 256
"""Steps of an epoch whose masks are counted, likewise."""
_ROUNDS, _ROUND_SECONDS = 3, 0.3
"""Most timings of a shape, of which the median counts, and the least time of each."""
_MAX_SECONDS = 2.0
"""Time of the timings of a shape after which none is begun."""
_DEVICE_COUNTS = (2, 4, 8)
"""Numbers of devices whose exchange is estimated, beside that of the config."""


class UnstartedRun(NamedTuple):
    """The data and the task of a run that is not started.

    Attributes:
      config: of the run.
      corpus: as the task loads it.
      replicates: with the data.
      task: with the network.
      layers: of the network.
      partition: of the devices; None for one.
      data_seconds: that reading the data took.
    """

    config: Config
    corpus: Any
    replicates: list[Replicate]
    task: Task
    layers: list[dict[str, Any]]
    partition: Partition | None
    data_seconds: float


def load_unstarted(config: Config, corpus: Any = None) -> UnstartedRun:
    """Loads the data of a run and builds its task, without a folder.

    Args:
      config: of the run.
      corpus: as the task loads it; None to load it.

    Raises:
      InputError: the data or the devices are not available, or the config does not suit them.
    """
    start, partition = time.monotonic(), make_partition(config)
    corpus = find_task(config.task).load_corpus(config) if corpus is None else corpus
    replicates = make_replicates(config, RunFolder(Path("unstarted")), corpus)
    task, layers = make_task(config, replicates)
    seconds = time.monotonic() - start
    return UnstartedRun(config, corpus, replicates, task, layers, partition, seconds)


def make_plan(run: UnstartedRun, memory_limit: int) -> RunPlan:
    """Compiles the programs of a run, and times them.

    Args:
      run: that is not started.
      memory_limit: bytes of this machine's device; a run that needs more is not timed.
    """
    config, replicates, task = run.config, run.replicates, run.task
    dataset, steps = replicates[0].dataset, build_steps(config, run.partition, replicates, task)
    by_shape = _steps_by_shape(replicates)
    num_steps = dataset.train.steps_per_epoch
    counts = _scale({shape: len(indices) for shape, indices in by_shape.items()}, num_steps)
    padding = _measure_padding(replicates, by_shape)
    unsharded = build_steps(config, None, replicates, task) if run.partition else steps
    shapes = []
    for lengths, indices in by_shape.items():
        inputs = steps.initial.shapes, batch_group_at(replicates, indices[0], 1)
        flops = count_flops(unsharded.train.trace(*inputs))
        compiled, seconds = _compile(steps.train, *inputs)
        memory, share = ProgramMemory.of(compiled), padding.get(lengths)
        shapes.append(ShapePlan(lengths, counts[lengths], share, flops, memory, seconds))
    params = jax.eval_shape(replicates[0].slice, steps.initial.shapes.params)
    splits = {"validation": dataset.validation, "test": dataset.test}
    inputs = params, task.initial_carry(dataset.test.batch_size)
    evaluation = [
        _compile(steps.evaluate, inputs, batch)
        for split in splits.values()
        if split
        for batch in split.empty_batches()
    ]
    evaluation_memory = [ProgramMemory.of(compiled) for compiled, _ in evaluation]
    memory = MemoryPlan(
        state=_state_bytes(steps),
        step=max((shape.memory for shape in shapes), key=lambda memory: memory.peak),
        evaluation=max(evaluation_memory, key=lambda memory: memory.peak),
        code=sum(memory.code for memory in [*(s.memory for s in shapes), *evaluation_memory]),
        process=process_bytes(),
        checkpoint=tree_bytes(steps.initial.shapes),
    )
    intervals, total_steps = Intervals.of(config, num_steps), config.epochs * num_steps
    validations = -(-total_steps // intervals.validation) if dataset.validation else 0
    timing = None
    if memory.peak <= memory_limit:
        shapes, scores = _time(run, steps, shapes, by_shape)
        timing = TimePlan(
            data=run.data_seconds,
            compilation=sum(shape.compile_seconds for shape in shapes)
            + sum(seconds for _, seconds in evaluation),
            steps=config.epochs * sum(shape.steps * (shape.step_seconds or 0) for shape in shapes),
            validations=validations * scores["validation"],
            scores=sum(scores.values()),
        )
    mean_flops = sum(shape.steps * shape.flops for shape in shapes) / num_steps
    step_seconds = timing and timing.steps / total_steps
    return RunPlan(
        layers=run.layers,
        rows=dataset.describe()["rows"],
        epochs=config.epochs,
        shapes=shapes,
        padding=_mean_padding(shapes),
        compilations={"train": steps.train.compilations, "evaluate": steps.evaluate.compilations},
        validations=validations,
        checkpoints=-(-total_steps // (intervals.checkpoint or total_steps)),
        memory=memory,
        time=timing,
        exchanges=[
            _plan_exchange(count, run, steps, mean_flops, step_seconds)
            for count in sorted({*_DEVICE_COUNTS, config.devices.data} - {0, 1})
        ],
    )


def _steps_by_shape(replicates: Sequence[Replicate]) -> dict[Shape, list[int]]:
    """Returns the sampled steps of the first epoch by the shape of their batches."""
    sources = [(replicate.dataset.train, replicate.config.seed) for replicate in replicates]
    group_size = sources[0][0].group_size if len(sources) > 1 else 1

    def shape_at(step: int) -> Shape:
        """Returns the shape of the call that begins with a step, as `batch_group_at` has it."""
        steps = range(step, step + group_size)
        shapes = [split.padded_shape_at(seed, index) for split, seed in sources for index in steps]
        return tuple(map(max, zip(*shapes, strict=True)))

    return _group_steps(sources[0][0].steps_per_epoch, shape_at)


def _group_steps(num_steps: int, shape_at: Callable[[int], Shape]) -> dict[Shape, list[int]]:
    groups: dict[Shape, list[int]] = collections.defaultdict(list)
    for step in _spread(range(num_steps), _STEPS_FOR_SHAPES):
        groups[shape_at(step)].append(step)
    return dict(sorted(groups.items()))


def _spread(values: Sequence[int], limit: int) -> list[int]:
    """Returns values, or as many of them as the limit at equal distances."""
    if len(values) <= limit:
        return list(values)
    return [values[index] for index in np.linspace(0, len(values) - 1, limit).astype(int)]


def _scale(counts: Mapping[Shape, int], total: int) -> dict[Shape, int]:
    """Returns the counts of a sample scaled to a total, which they are where all were counted."""
    sampled = sum(counts.values())
    scaled = {shape: round(count * total / sampled) for shape, count in counts.items()}
    commonest = max(scaled, key=lambda shape: scaled[shape])
    scaled[commonest] += total - sum(scaled.values())
    return scaled


def _measure_padding(
    replicates: Sequence[Replicate], by_shape: Mapping[Shape, Sequence[int]]
) -> dict[Shape, float]:
    """Returns the share of padding of the first replicate's batches by their shape."""
    split, seed = replicates[0].dataset.train, replicates[0].config.seed
    shares = {}
    for shape, steps in by_shape.items():
        sample = _spread(steps, max(_STEPS_FOR_PADDING // len(by_shape), 1))
        batches = [split.stack_batches(seed, range(step, step + 1), shape) for step in sample]
        # Of a group of several batches only the first is filled here.
        firsts = [jax.tree.map(lambda leaf: leaf[0], group.batches) for group in batches]
        padding = [share["padding"] for batch in firsts if (share := padding_share(batch))]
        if padding:
            shares[shape] = statistics.mean(padding)
    return shares


def _mean_padding(shapes: Iterable[ShapePlan]) -> float | None:
    """Returns the share of padding among the time steps of an epoch."""
    masked = [(shape, shape.padding) for shape in shapes if shape.padding is not None]
    sizes = [shape.steps * sum(shape.lengths) for shape, _ in masked]
    padded = sum(size * share for size, (_, share) in zip(sizes, masked, strict=True))
    return padded / sum(sizes) if masked else None


def _compile(
    function: CompiledFunction, state: Any, batch: Any
) -> tuple[jax.stages.Compiled, float]:
    """Returns a program, and the seconds until it was ready."""
    start = time.monotonic()
    function.prepare(state, [batch])
    compiled = function.compile(state, batch)
    return compiled, time.monotonic() - start


def _state_bytes(steps: Steps) -> dict[str, int]:
    """Returns the bytes of each part of the state on one device; none of absent parts."""
    shapes, sizes = steps.initial.shapes, {}
    names = {"params": "parameters", "opt_state": "optimizer", "average": "average"}
    names |= {"best": "best", "carry": "carry"}
    for field, name in names.items():
        shardings = steps.shardings and getattr(steps.shardings, field)
        if size := tree_bytes(getattr(shapes, field), shardings):
            sizes[name] = size
    return sizes


def _time(
    run: UnstartedRun,
    steps: Steps,
    shapes: Sequence[ShapePlan],
    by_shape: Mapping[Shape, Sequence[int]],
) -> tuple[list[ShapePlan], dict[str, float]]:
    """Returns the shapes with the seconds of a step, and the seconds of evaluating each split."""
    replicates, task, limit = run.replicates, run.task, run.config.log_every
    state = steps.initial.create()
    if steps.shardings:
        state = jax.device_put(state, steps.shardings)
    timed = []
    for shape in shapes:

        def train(step: int) -> tuple[Any, int]:
            nonlocal state
            group = batch_group_at(replicates, step, limit)
            state = steps.train(state, group)
            return state.step, int(group.count)

        seconds = _median_seconds(train, by_shape[shape.lengths])
        timed.append(dataclasses.replace(shape, step_seconds=seconds))
    params = steps.evaluate.copy_to_devices(replicates[0].slice(state.params))
    dataset = replicates[0].dataset
    splits = {"validation": dataset.validation, "test": dataset.test}
    seconds = {
        name: len(replicates) * _split_seconds(task, steps.evaluate, params, split)
        if split
        else 0.0
        for name, split in splits.items()
    }
    return timed, seconds


def _split_seconds(task: Task, evaluate: CompiledFunction, params: Any, split: Split) -> float:
    """Returns the seconds of evaluating a split."""
    carry, total = task.initial_carry(split.batch_size), 0.0

    def call(step: int) -> tuple[Any, int]:
        nonlocal carry
        outputs, carry = evaluate((params, carry), split.batch_at(0, step))
        return outputs, 1

    groups = _group_steps(split.steps_per_epoch, lambda step: split.padded_shape_at(0, step))
    counts = _scale({shape: len(steps) for shape, steps in groups.items()}, split.steps_per_epoch)
    for shape, steps in groups.items():
        total += counts[shape] * _median_seconds(call, steps)
    return total


def _median_seconds(call: Callable[[int], tuple[Any, int]], steps: Sequence[int]) -> float:
    """Returns the seconds of a step in calls that follow each other as in the training loop.

    Args:
      call: of a step; returns arrays to wait for, and the number of steps that it took.
      steps: to call it with, again from the first after the last.
    """
    position, rounds = 0, []
    jax.block_until_ready(call(steps[0])[0])
    end = time.monotonic() + _MAX_SECONDS
    while not rounds or (len(rounds) < _ROUNDS and time.monotonic() < end):
        start, count, outputs = time.monotonic(), 0, None
        while not count or time.monotonic() - start < _ROUND_SECONDS:
            outputs, number = call(steps[position % len(steps)])
            position, count = position + 1, count + number
        jax.block_until_ready(outputs)
        rounds.append((time.monotonic() - start) / count)
    return statistics.median(rounds)


def _plan_exchange(
    count: int, run: UnstartedRun, steps: Steps, flops: float, step_seconds: float | None
) -> ExchangePlan:
    """Returns the exchange among a number of devices.

    Replicates are shared out first, and those of one group of devices add their gradients. A ring
    sends each array nearly twice from each device: its parts once to be added, and the sums once to
    be copied. Deterministic shards are copied to all devices and added there; arrays that are
    shared out (fsdp) are copied before each step.

    Args:
      count: of the devices.
      run: with the config and the trainable rows.
      steps: with the state.
      flops: of a step, of all devices.
      step_seconds: of a step on the devices of the run; None if not timed.
    """
    config, params = run.config, steps.initial.shapes.params
    replicates = math.gcd(count, config.replicates)
    group = count // replicates
    single = jax.eval_shape(run.replicates[0].slice, params)
    gradients = jax.eval_shape(lambda tree: trim_rows(tree, run.task.trainable_rows), single)
    reduced = tree_bytes(gradients) * config.replicates // replicates if group > 1 else 0
    sent = 2 * reduced * (group - 1) / group
    if config.deterministic_shards:
        sent = reduced * (group - 1)
    sent += _gathered_bytes(params, steps) / replicates * (1 - 1 / config.devices.fsdp)
    devices = run.partition.mesh.size if run.partition else 1
    seconds = step_seconds * devices / count if step_seconds else None
    return ExchangePlan(count, reduced, sent, flops / count, seconds)


def _gathered_bytes(params: Any, steps: Steps) -> int:
    """Returns the bytes of the parameters that devices share out and put together for each step."""
    if steps.shardings is None:
        return 0
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(steps.shardings.params), strict=True)
    return sum(tree_bytes(leaf) for leaf, sharding in pairs if FSDP in sharding.spec)
