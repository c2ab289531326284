"""Watching a training: event files of TensorBoard, and a trace of JAX's profiler."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import Config
from rnnjax.data.batches import BatchGroup
from rnnjax.errors import InputError
from rnnjax.reporting.event_files import EventFiles
from rnnjax.reporting.progress import write_message
from rnnjax.tasks import Task
from rnnjax.training.global_arrays import to_host
from rnnjax.training.processes import is_first, num_processes
from rnnjax.training.replicates import Replicate
from rnnjax.training.state import DROPOUT, TrainState

FOLDER, TRACE = "tensorboard", "profile"
"""Folders in that of a run: of event files, and of the profiler's trace."""


class Watch:
    """Writes event files and a trace while a training runs, and nothing unless the config asks.

    Neither changes a result. Beside the metrics, event files have the norms of parameters and of
    gradients by layer, examples a second, the seconds of a step by part, the share of padding and
    the memory of a GPU, each time that metrics are logged, and texts that the network writes after
    each validation. The gradients are those of the last batch at the parameters after it, computed
    once more. So that its time can be told from that of the other parts, a step ends before the
    next batch is made. The first of several processes writes.
    """

    def __init__(self, config: Config, task: Task, replicates: Sequence[Replicate]):
        """Takes the config, the task and the replicates of the run."""
        self._replicates, self._task = replicates, task
        self._events = [
            EventFiles(replicate.folder.path / FOLDER)
            for replicate in replicates
            if config.tensorboard and is_first()
        ]
        self._has_events = config.tensorboard
        self._gradients = jax.jit(jax.grad(task.loss, has_aux=True))
        self._trace_path = replicates[0].folder.path / TRACE
        self._calls, self._is_tracing = 0, False
        self._untraced_steps = config.profile if is_first() else 0
        self._restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop_trace()
        for events in self._events:
            events.close()

    def begin_call(self) -> None:
        """Starts the trace before the second call of the training step, which compiles nothing."""
        self._calls += 1
        if self._calls == 2 and self._untraced_steps:
            try:
                jax.profiler.start_trace(self._trace_path)
            except RuntimeError as error:  # a profiler is running already
                raise InputError(
                    f"config.profile: the trace cannot be started ({error}); expected 0 where a "
                    "profiler is running already"
                ) from error
            self._is_tracing = True

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of its body to that of a part of the training: 'batches', 'validation'."""
        start = time.monotonic()
        yield
        self._seconds[name] += time.monotonic() - start

    def end_call(self, state: TrainState, steps: int, examples: int) -> None:
        """Counts steps, and stops the trace once it has those that the config asks for."""
        if self._has_events:
            with self.part("step"):
                jax.block_until_ready(state)
        self._steps += steps
        self._examples += examples
        if self._is_tracing:
            self._untraced_steps -= steps
            if self._untraced_steps <= 0:
                jax.block_until_ready(state.params)
                self._stop_trace()

    def log_metrics(self, index: int, step: int, split: str, values: dict[str, float]) -> None:
        """Writes the metrics of a replicate to its event files."""
        if self._events:
            self._events[index].write(step, split, values)

    def log_texts(self, index: int, step: int, params: Any) -> None:
        """Writes texts of the parameters of a replicate to its event files."""
        if self._events:
            replicate = self._replicates[index]
            if num_processes() > 1:
                params = jax.tree.map(to_host, params)
            texts = self._task.example_texts(replicate.config, replicate.dataset, params)
            self._events[index].write_texts(step, texts)

    def log_state(self, step: int, state: TrainState, group: BatchGroup) -> None:
        """Writes norms, speed, padding and memory after a step, with the batches of its call."""
        if not self._has_events:
            return
        params, carry = state.params, state.carry
        if num_processes() > 1:
            params, carry = jax.tree.map(to_host, (params, carry))
        if not is_first():
            return
        last = int(group.count) - 1
        seconds = max(time.monotonic() - self._start, 1e-9)
        parts = {**self._seconds, "other": seconds - sum(self._seconds.values())}
        step_seconds = {name: value / self._steps for name, value in parts.items()}
        for replicate, events in zip(self._replicates, self._events, strict=True):
            own_params = replicate.slice(params)
            batch = jax.tree.map(lambda leaf: leaf[last], replicate.slice(group.batches))
            key = jax.random.fold_in(jax.random.key(replicate.config.seed), DROPOUT)
            gradients, _ = self._gradients(
                own_params, batch, replicate.slice(carry), jax.random.fold_in(key, step - 1)
            )
            events.write(step, "parameter_norm", layer_norms(own_params))
            events.write(step, "gradient_norm", layer_norms(gradients))
            speed = {f"{self._task.throughput_unit}_per_second": self._examples / seconds}
            events.write(step, "step_seconds", step_seconds)
            events.write(step, "resources", {**speed, **padding_share(batch), **_memory()})
        self._restart()

    def _restart(self) -> None:
        """Counts steps, examples and seconds from here on."""
        self._steps, self._examples, self._start = 0, 0, time.monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def _stop_trace(self) -> None:
        if self._is_tracing:
            self._is_tracing = False
            with contextlib.suppress(RuntimeError):
                jax.profiler.stop_trace()
            write_message(f"profile: {self._trace_path}")


def layer_norms(params: Any) -> dict[str, float]:
    """Returns the Euclidean norm of the arrays of each layer, by the first names of their paths."""
    squares: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *layer, name = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        key = "/".join(layer[:2]) or name
        squares[key] = squares.get(key, 0.0) + jnp.sum(jnp.square(leaf.astype(jnp.float32)))
    return {key: float(value) ** 0.5 for key, value in squares.items()}


def padding_share(batch: Any) -> dict[str, float]:
    """Returns the share of the masked steps of a batch, 'padding'; nothing without a mask."""
    masks = [value for name, value in batch._asdict().items() if name.endswith("mask")]
    size = sum(np.size(mask) for mask in masks)
    return {"padding": 1.0 - sum(int(np.sum(mask)) for mask in masks) / size} if size else {}


def _memory() -> dict[str, float]:
    """Returns the largest memory in use so far, where the device counts it."""
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {} if peak is None else {"peak_memory_gib": peak / 2**30}
