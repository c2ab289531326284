"""Changes of a config by which its training step fits into memory, each compiled and measured."""

import dataclasses
import math
from typing import Any

import jax

from rnnjax.config import Config, load_config
from rnnjax.errors import InputError
from rnnjax.tasks.registry import find_task
from rnnjax.training.launch import build_steps
from rnnjax.training.planning import UnstartedRun
from rnnjax.training.program_costs import ProgramMemory
from rnnjax.training.replicates import batch_group_at
from rnnjax.training.run_plan import RunPlan

_MAX_BATCH_SIZE = 2**16
_TRIES = 4
"""Batch sizes that are compiled after the estimate, each a tenth smaller."""


@dataclasses.dataclass(frozen=True)
class Remedy:
    """A change of the config.

    Attributes:
      changes: values by key.
      peak: bytes of the training step with them, by XLA's analysis, with `overhead`.
      fits: whether that is within the limit.
    """

    changes: dict[str, Any]
    peak: int
    fits: bool


@dataclasses.dataclass(frozen=True)
class MemoryFit:
    """The memory of a run against that of a device.

    Attributes:
      limit: bytes of the device.
      peak: bytes of the run.
      remedies: changes that were measured: the largest batch size that fits, and rematerialization
        where the run does not fit; without a batch size if not even one row fits.
    """

    limit: int
    peak: int
    remedies: list[Remedy]

    @property
    def fits(self) -> bool:
        """Whether the run fits as it is."""
        return self.peak <= self.limit


def fit_memory(run: UnstartedRun, plan: RunPlan, limit: int, overhead: int) -> MemoryFit:
    """Measures what fits into a device.

    Args:
      run: that is not started.
      plan: of the run.
      limit: bytes of the device.
      overhead: bytes that count beside the arrays of the program: the process, the code.
    """
    search = _Search(run, plan, limit - overhead)
    peak = plan.memory.peak - plan.memory.process - plan.memory.code
    remedies = [search.largest_batch_size({})]
    if peak > limit - overhead and run.config.task_schema.reads("model.remat"):
        remat = {"model.remat": True}
        remedies.insert(0, search.measure(remat))
        if remedies[0] and not remedies[0].fits:
            remedies.append(search.largest_batch_size(remat))
    measured = [
        dataclasses.replace(remedy, peak=remedy.peak + overhead) for remedy in remedies if remedy
    ]
    return MemoryFit(limit, peak + overhead, measured)


class _Search:
    """Compiles the training step of changed configs for the longest batches of a run."""

    def __init__(self, run: UnstartedRun, plan: RunPlan, limit: int):
        self._run, self._limit = run, limit
        self._lengths = max((shape.lengths for shape in plan.shapes), key=sum)
        split, seed = run.replicates[0].dataset.train, run.replicates[0].config.seed
        steps = range(split.steps_per_epoch)
        self._step = next(s for s in steps if split.padded_shape_at(seed, s) == self._lengths)

    def measure(self, changes: dict[str, Any]) -> Remedy | None:
        """Returns a change with its memory; None if the config refuses it or has it already."""
        try:
            config = load_config(self._run.config, changes)
        except InputError:
            return None
        if config == self._run.config and "batch_size" not in changes:
            return None
        peak = self._peak(config)
        return Remedy(changes, peak, peak <= self._limit)

    def largest_batch_size(self, changes: dict[str, Any]) -> Remedy | None:
        """Returns the largest batch size that fits, by a line through two of them."""
        config = self._run.config
        multiple = max(config.deterministic_shards, config.devices.data, 1)
        small, large = max(config.batch_size // 2, 1), config.batch_size
        large = large if large > small else small + 1
        peaks = [self._peak(load_config(config, {**changes, "batch_size": small}))]
        peaks.append(self._peak(load_config(config, {**changes, "batch_size": large})))
        slope = max((peaks[1] - peaks[0]) / (large - small), 1.0)
        size = small + (self._limit - peaks[0]) / slope
        for _ in range(_TRIES):
            rows = min(math.floor(size / multiple) * multiple, _MAX_BATCH_SIZE)
            if rows < 1:
                return None
            remedy = self.measure({**changes, "batch_size": rows})
            if remedy and remedy.fits:
                return remedy
            size = 0.9 * rows
        return None

    def _peak(self, config: Config) -> int:
        """Returns the bytes of the arrays of a training step."""
        run = self._run
        dataset = run.replicates[0].dataset
        task_class, metadata = find_task(config.task), dataset.describe()
        vocab_size = max(replicate.dataset.vocab_size for replicate in run.replicates)
        task = task_class.from_config(config, vocab_size, metadata)
        steps = build_steps(config, run.partition, run.replicates, task)
        group = batch_group_at(run.replicates, self._step, 1)
        axis = 1 + (config.replicates > 1)

        def resize(leaf: Any) -> jax.ShapeDtypeStruct:
            shape = (*leaf.shape[:axis], config.batch_size, *leaf.shape[axis + 1 :])
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        resized = group._replace(batches=jax.tree.map(resize, group.batches))
        memory = ProgramMemory.of(steps.train.compile(steps.initial.shapes, resized))
        return memory.peak
