"""Devices of a run: rows of a batch, replicates and large arrays are shared out among them.

Each device computes the loss and the gradients of its rows (`jax.shard_map`), and these are added.
The loss of a batch is the mean of the losses of its shards, by their weights, which is that of the
whole batch where `Task.loss` is a weighted mean. Rows of weight zero fill a batch up to a multiple
of the number of shards.
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rnnjax.config import Config
from rnnjax.data.batches import BatchGroup
from rnnjax.errors import InputError
from rnnjax.kernels.row_keys import row_key
from rnnjax.tasks import Task
from rnnjax.training.processes import num_processes
from rnnjax.training.state import TrainState
from rnnjax.training.trainable_rows import trim_rows

REPLICATE, DATA, FSDP = "replicate", "data", "fsdp"
"""The axes of the mesh: replicates, rows, and rows whose devices share out large arrays."""
_ROWS = (DATA, FSDP)
_SUMMED, _COMMON = -1, -2
"""In place of the axis of the rows: an array is a sum over rows, or the same for all of them."""
_LARGE = 2**16
"""Elements of an array from which on it is shared out by `devices.fsdp`."""


@dataclasses.dataclass(frozen=True)
class Partition:
    """The devices of a run, and the shards of a batch.

    Attributes:
      mesh: of the devices, with the axes `REPLICATE`, `DATA` and `FSDP`.
      num_shards: of a batch, added in pairs in a fixed order (`deterministic_shards`); 0 for one a
        device, added by XLA.
    """

    mesh: Mesh
    num_shards: int = 0

    @property
    def _devices_of_rows(self) -> int:
        return self.mesh.shape[DATA] * self.mesh.shape[FSDP]

    @property
    def _multiple(self) -> int:
        """A number of which the rows of a batch are a multiple, once it is filled up."""
        return self.num_shards or self._devices_of_rows

    def for_evaluation(self) -> "Partition":
        """Returns the partition of one network's evaluation, which all devices share."""
        return Partition(_make_mesh(self.mesh.devices.ravel(), 1, 1), self.num_shards)

    def sharding(self, *axes: Any) -> NamedSharding:
        """Returns the sharding of arrays by the mesh axis of each array axis; none: a full copy."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def shard_rows(self, num_rows: int, axis: int, *leading: Any) -> NamedSharding:
        """Returns the sharding of arrays with rows, which has to be even: otherwise a full copy."""
        if num_rows % self._multiple:
            return self.sharding(*leading)
        free = [None] * (axis - len(leading))
        return self.sharding(*leading, *free, _ROWS)

    def shard_group(self, num_rows: int, is_replicated: bool) -> BatchGroup:
        """Returns the shardings of a group of batches."""
        leading = (REPLICATE,) if is_replicated else ()
        batches = self.shard_rows(num_rows, len(leading) + 1, *leading)
        return BatchGroup(batches, self.sharding())  # pyright: ignore[reportArgumentType]

    def shard_state(self, task: Task, num_rows: int, num_replicates: int, state: Any) -> TrainState:
        """Returns the shardings of a training state.

        Args:
          task: with the carry and the trainable rows.
          num_rows: of a batch.
          num_replicates: of several, arrays have a leading replicate axis.
          state: with shapes.
        """
        leading = (REPLICATE,) if num_replicates > 1 else ()

        def shard_parameter(leaf: Any, trimmed: Any) -> NamedSharding:
            shape, num_devices = np.minimum(leaf.shape, trimmed.shape), self.mesh.shape[FSDP]
            whole = np.array(leaf.shape)
            divisible = (shape % num_devices == 0) & (whole % num_devices == 0)
            divisible[: len(leading)] = False
            if num_devices == 1 or math.prod(shape) < _LARGE or not divisible.any():
                return self.sharding(*leading)
            axis = int(np.argmax(np.where(divisible, shape, 0)))
            return self.sharding(*leading, *[None] * (axis - len(leading)), FSDP)

        trim = jax.vmap if leading else lambda function: function
        trimmed = jax.eval_shape(trim(lambda tree: trim_rows(tree, task.trainable_rows)), state)
        shardings = jax.tree.map(shard_parameter, state, trimmed)
        axes = _row_axes(task.initial_carry, num_rows, other=_COMMON)
        carry = jax.tree.map(
            lambda axis: (
                self.sharding(*leading)
                if axis == _COMMON
                else self.shard_rows(num_rows, axis + len(leading), *leading)
            ),
            axes,
        )
        return shardings.replace(carry=carry)

    def gradient(self, task: Task) -> Callable[..., Any]:
        """Returns `(params, batch, carry, key) -> (gradients, (sums, carry))` of the loss.

        With deterministic shards each has a key of dropout folded in; otherwise dropout is that of
        the batch on one device, bit for bit.
        """
        mean_gradient = jax.grad(task.loss, has_aux=True)

        def gradient(params: Any, batch: Any, carry: Any, key: jax.Array) -> Any:
            def shard_gradient(index: Any, params: Any, batch: Any, carry: Any, key: Any) -> Any:
                fold = jax.random.fold_in if self.num_shards else row_key
                gradients, (sums, carry) = mean_gradient(params, batch, carry, fold(key, index))
                weight = sums["weight"]  # zero in a shard of filling rows, whose mean is NaN
                weighted = jax.tree.map(
                    lambda leaf: jnp.where(weight > 0, leaf * weight, 0).astype(leaf.dtype),
                    gradients,
                )
                return weighted, sums, carry

            num_rows = len(batch.weights)
            axes = _row_axes(task.initial_carry, num_rows, other=_COMMON)
            weighted, sums, new_carry = self._map_shards(
                shard_gradient,
                num_rows,
                (params, batch, carry, key),
                (_COMMON, 0, axes, _COMMON),
                (_SUMMED, _SUMMED, axes),
            )
            gradients = jax.tree.map(lambda leaf: leaf / sums["weight"], weighted)
            return gradients, (sums, new_carry)

        return gradient

    def evaluate_batch(self, task: Task, params: Any, batch: Any, carry: Any) -> tuple[Any, Any]:
        """Returns `Task.evaluate_batch`: outputs with rows as they are, others added up."""

        def evaluate(rows: int) -> Any:
            def resize(leaf: Any) -> Any:
                return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype)

            shapes = jax.tree.map(resize, batch)
            return jax.eval_shape(task.evaluate_batch, params, shapes, task.initial_carry(rows))[0]

        def evaluate_shard(index: Any, params: Any, batch: Any, carry: Any) -> Any:
            del index
            return task.evaluate_batch(params, batch, carry)

        num_rows = len(batch.weights)
        axes = _row_axes(task.initial_carry, num_rows, other=_COMMON)
        return self._map_shards(
            evaluate_shard,
            num_rows,
            (params, batch, carry),
            (_COMMON, 0, axes),
            (_row_axes(evaluate, num_rows, other=_SUMMED), axes),
        )

    def _map_shards(
        self,
        function: Callable[..., Any],
        num_rows: int,
        inputs: tuple[Any, ...],
        input_axes: tuple[Any, ...],
        output_axes: tuple[Any, ...],
    ) -> Any:
        """Calls a function on each shard, and joins its outputs.

        Args:
          function: of the index of a shard and its inputs.
          num_rows: of the batch.
          inputs: arrays.
          input_axes: a prefix of the inputs: the axis of the rows, or `_COMMON`.
          output_axes: a prefix of the outputs: the axis of the rows, `_SUMMED` or `_COMMON`.
        """
        devices, shards = self._devices_of_rows, self.num_shards
        filled = math.ceil(num_rows / self._multiple) * self._multiple
        input_axes = _broadcast_prefix(input_axes, inputs)

        def call_on_device(*inputs: Any) -> Any:
            device = jax.lax.axis_index(_ROWS)
            if shards:
                outputs = _call_in_turn(
                    function, shards // devices, device, inputs, input_axes, output_axes
                )
            else:
                outputs = function(device, *inputs)

            def join(axis: int, leaf: jax.Array) -> jax.Array:
                if axis != _SUMMED:
                    return leaf
                if not shards:
                    return jax.lax.psum(leaf, _ROWS)
                return _add_pairs(jax.lax.all_gather(_add_pairs(leaf), _ROWS))

            return jax.tree.map(join, _broadcast_prefix(output_axes, outputs), outputs)

        def spec(axis: int) -> PartitionSpec:
            return PartitionSpec() if axis < 0 else PartitionSpec(*[None] * axis, _ROWS)

        mapped = jax.shard_map(
            call_on_device,
            mesh=self.mesh,
            in_specs=jax.tree.map(spec, input_axes),
            out_specs=jax.tree.map(spec, output_axes),
            check_vma=False,
        )
        outputs = mapped(*_resize_rows(inputs, input_axes, filled))
        return _resize_rows(outputs, _broadcast_prefix(output_axes, outputs), num_rows)


def _call_in_turn(
    function: Callable[..., Any],
    count: int,
    device: jax.Array,
    inputs: tuple[Any, ...],
    input_axes: Any,
    output_axes: Any,
) -> Any:
    """Calls a function on each shard of a device in a loop, and stacks the sums.

    XLA compiles the body of a loop the same for any number of shards, unless it knows that there is
    one: the barrier hides the number.
    """

    def slice_shard(axis: int, leaf: jax.Array, index: Any) -> jax.Array:
        if axis < 0:
            return leaf
        rows = leaf.shape[axis] // count
        return jax.lax.dynamic_slice_in_dim(leaf, index * rows, rows, axis)

    def call(index: Any) -> Any:
        shard = jax.tree.map(lambda axis, leaf: slice_shard(axis, leaf, index), input_axes, inputs)
        return function(device * count + index, *shard)

    shapes = jax.eval_shape(call, jnp.int32(0))
    axes = _broadcast_prefix(output_axes, shapes)

    def allocate(axis: int, leaf: Any) -> jax.Array:
        shape = list(leaf.shape)
        if axis == _SUMMED:
            shape.insert(0, count)
        elif axis >= 0:
            shape[axis] *= count
        return jnp.zeros(shape, leaf.dtype)

    def body(index: Any, outputs: Any) -> Any:
        def store(axis: int, whole: jax.Array, leaf: jax.Array) -> jax.Array:
            if axis == _COMMON:
                return leaf
            if axis == _SUMMED:
                return jax.lax.dynamic_update_index_in_dim(whole, leaf, index, 0)
            start = index * leaf.shape[axis]
            return jax.lax.dynamic_update_slice_in_dim(whole, leaf, start, axis)

        return jax.tree.map(store, axes, outputs, call(index))

    hidden_count = jax.lax.optimization_barrier(jnp.int32(count))
    return jax.lax.fori_loop(0, hidden_count, body, jax.tree.map(allocate, axes, shapes))


def _add_pairs(values: jax.Array) -> jax.Array:
    """Adds along the first axis, a power of two long, neighbours first."""
    while len(values) > 1:
        values = values[0::2] + values[1::2]
    return values[0]


def _broadcast_prefix(prefix: Any, tree: Any) -> Any:
    """Returns a pytree like another, with the leaf of the prefix for each leaf."""
    return jax.tree.broadcast(prefix, tree)


def _row_axes(make: Callable[[int], Any], num_rows: int, other: int) -> Any:
    """Returns the axis of the rows in each array that a function makes, from two numbers of rows.

    Args:
      make: returns arrays for a number of rows.
      num_rows: of a batch.
      other: for arrays without rows.
    """
    few, many = (jax.eval_shape(lambda rows=rows: make(rows)) for rows in (num_rows, num_rows + 1))

    def row_axis(small: Any, large: Any) -> int:
        is_same = np.equal(small.shape, large.shape)
        return other if is_same.all() else int(np.argmin(is_same))

    return jax.tree.map(row_axis, few, many)


def _resize_rows(tree: Any, axes: Any, num_rows: int) -> Any:
    """Returns arrays with another number of rows: cut, or filled with zeros."""

    def resize(axis: int, leaf: jax.Array) -> jax.Array:
        if axis < 0 or leaf.shape[axis] == num_rows:
            return leaf
        if leaf.shape[axis] > num_rows:
            return jax.lax.slice_in_dim(leaf, 0, num_rows, axis=axis)
        widths = [(0, 0)] * leaf.ndim
        widths[axis] = (0, num_rows - leaf.shape[axis])
        return jnp.pad(leaf, widths)

    return jax.tree.map(resize, axes, tree)


def prepare_devices(config: Config) -> None:
    """Splits the CPU into as many devices as a config asks for, if JAX has not started yet.

    XLA multiplies matrices inside of a loop over time in one thread a device, so that several of
    them use more cores.
    """
    count = max(config.devices.data, config.devices.fsdp) // num_processes()
    if count > 1 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # It raises if JAX has started; `make_partition` sees whether there are enough.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


def make_partition(config: Config) -> Partition | None:
    """Returns the partition of a config; None for one device and one shard, the whole batch.

    Raises:
      InputError: the machine has fewer devices than the config asks for.
    """
    available, processes = jax.devices(), num_processes()
    count = config.devices.data or _default_count(config, available)
    if count > len(available):
        kind = available[0].platform
        remedy = (
            "in Python, call jax.config.update('jax_num_cpu_devices', "
            f"{count}) before anything else uses JAX, or train by the command"
            if kind == "cpu"
            else f"expected at most {len(available)}"
        )
        raise InputError(
            f"config.devices.data: given {count}, and JAX has {len(available)} {kind} "
            f"device{'s' * (len(available) > 1)}; {remedy}"
        )
    if processes > 1:
        _check_processes(config, count)
    if count == 1 and not config.deterministic_shards:
        return None
    devices = [
        device
        for index in range(processes)
        for device in jax.local_devices(process_index=index)[: count // processes]
    ]
    # The replicates of several processes are not shared out: each process needs their metrics.
    replicates = math.gcd(count // config.devices.fsdp, config.replicates) if processes == 1 else 1
    mesh = _make_mesh(devices, replicates, config.devices.fsdp)
    return Partition(mesh, config.deterministic_shards)


def _check_processes(config: Config, count: int) -> None:
    """Raises InputError if processes cannot share out the devices, or the batch among them."""
    processes, shards = num_processes(), config.deterministic_shards
    if count % processes or count > config.batch_size or (shards and shards % count):
        multiple = f", and a divisor of config.deterministic_shards={shards}" if shards else ""
        raise InputError(
            f"config.devices.data: {count} devices, of {processes} processes; expected a multiple "
            f"of the processes, at most config.batch_size={config.batch_size}{multiple}: set it, "
            "or start another number of processes"
        )


def _default_count(config: Config, available: list[Any]) -> int:
    """Returns the number of devices of a config that names none: all but those of a CPU."""
    fsdp, processes = config.devices.fsdp, num_processes()
    if available[0].platform == "cpu":
        return max(fsdp, processes)
    rows = config.batch_size * (config.replicates if processes == 1 else 1)
    count = min(len(available), rows)
    if config.deterministic_shards:
        count = math.gcd(2 ** int(math.log2(count)), config.deterministic_shards)
    multiple = math.lcm(fsdp, processes)
    return max(count // multiple, 1) * multiple


def _make_mesh(devices: Any, replicates: int, fsdp: int) -> Mesh:
    devices = list(devices)
    shape = (replicates, len(devices) // replicates // fsdp, fsdp)
    axes = (REPLICATE, DATA, FSDP)
    return jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * 3, devices=devices)
