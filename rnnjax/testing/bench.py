"""Speed and memory of a cell in each of its engines, beside the simple cell and the GRU."""

import dataclasses
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import GRUCell, SimpleCell
from rnnjax.cells.base import inner_cells
from rnnjax.errors import InputError
from rnnjax.layers import RNN, available_engines
from rnnjax.layers.validation import require_cell
from rnnjax.testing.cell_adapter import describe_cell, normal_noise

GPU_ENGINES = ("pallas", "cudnn")

MIN_ROUNDS, MAX_ROUNDS = 5, 41
TIMING_SECONDS = 20.0
"""Seconds after which no further round begins."""

SHORTEST_SAMPLE = 5e-3
"""Seconds of one sample: a shorter program runs several times."""


@dataclasses.dataclass(frozen=True)
class BenchSizes:
    """The sizes of a benchmark.

    Attributes:
      batch: number of rows.
      time: number of steps.
      inputs: sizes of the feature axes of one step.
    """

    batch: int = 16
    time: int = 128
    inputs: tuple[int, ...] = (64,)


@dataclasses.dataclass(frozen=True)
class BenchRow:
    """The cost of a cell in an engine.

    Attributes:
      cell: its constructor call.
      engine: of the layer.
      parameters: number of parameters.
      forward_ms: median milliseconds of a forward pass.
      training_ms: of a forward and a backward pass.
      training_ratio: `training_ms` over that of the GRU's scan, the median of the rounds' ratios.
      forward_bytes: of the temporaries of a forward pass; None where the compiler does not say.
      training_bytes: of a forward and a backward pass.
    """

    cell: str
    engine: str
    parameters: int
    forward_ms: float
    training_ms: float
    training_ratio: float
    forward_bytes: int | None
    training_bytes: int | None


@dataclasses.dataclass(frozen=True)
class BenchReport:
    """The result of a benchmark, printed as a table.

    Attributes:
      sizes: of the benchmark.
      device: kind of the device.
      rounds: number of samples of each program.
      rows: a row for each cell and engine.
      refused: reasons by the engines of the cell that did not run.
    """

    sizes: BenchSizes
    device: str
    rounds: int
    rows: tuple[BenchRow, ...]
    refused: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as plain data: strings, numbers, lists and dicts."""
        return dataclasses.asdict(self) | {"rows": [dataclasses.asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        header = ("cell", "engine", "parameters", "forward", "with backward", "/ GRU scan")
        header += ("temporaries", "with backward")
        units = ("", "", "", "ms", "ms", "", "MiB", "MiB")
        cells = [
            (
                row.cell,
                row.engine,
                f"{row.parameters:,}",
                f"{row.forward_ms:.2f}",
                f"{row.training_ms:.2f}",
                f"{row.training_ratio:.2f}",
                _mebibytes(row.forward_bytes),
                _mebibytes(row.training_bytes),
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(header, units, *cells, strict=True)]
        lines = [
            "  ".join(
                f"{text:{'<' if index < 2 else '>'}{width}}"
                for index, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in (header, units, *cells)
        ]
        sizes, inputs = self.sizes, "x".join(map(str, self.sizes.inputs))
        lines.append(
            f"batch {sizes.batch}, time {sizes.time}, inputs {inputs}; medians of {self.rounds} "
            f"alternated rounds on {self.device}; memory is that of temporaries"
        )
        lines += [f"engine {engine} not run: {why}" for engine, why in self.refused.items()]
        return "\n".join(lines)


def bench_cell(
    cell: nn.Module,
    sizes: BenchSizes = BenchSizes(),
    on_progress: Callable[[str], None] = lambda message: None,
) -> BenchReport:
    """Measures a cell in each engine that this machine has, beside SimpleCell and GRUCell.

    The other two have the cell's `features`; where it reads several feature axes, they read them
    as one. All programs run in turn in each round, without a mask and without dropout.

    Args:
      cell: of this package, of flax, or a user's.
      sizes: of the inputs.
      on_progress: called with a line of text now and then.

    Raises:
      InputError: it is no cell, or refuses the inputs, or no engine runs it on this machine.
    """
    require_cell(cell)
    widths = (getattr(inner, "features", None) for inner in inner_cells(cell))
    features = next((width for width in widths if isinstance(width, int)), math.prod(sizes.inputs))
    peers = [SimpleCell(features), GRUCell(features)]
    inputs = normal_noise((sizes.batch, sizes.time, *sizes.inputs), np.float32, 1)
    flat = inputs.reshape(sizes.batch, sizes.time, -1)
    refused: dict[str, str] = {}
    contenders = list(_compile_engines(cell, inputs, refused, on_progress))
    if not contenders:
        reasons = "; ".join(f"{engine}: {why}" for engine, why in refused.items())
        raise InputError(f"given {describe_cell(cell)}, which no engine runs here ({reasons})")
    for peer in peers:
        if peer != cell:
            contenders += _compile_engines(peer, flat, {}, on_progress)
    rounds = _time_rounds(contenders, on_progress)
    reference = next(one for one in contenders if one.cell == peers[1] and one.engine == "scan")
    rows = tuple(contender.row(reference) for contender in contenders)
    return BenchReport(sizes, _describe_device(), rounds, rows, refused)


@dataclasses.dataclass
class _Program:
    """A compiled program, its arguments, and the seconds that it took in each round."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    memory: int | None
    repeats: int = 1
    samples: list[float] = dataclasses.field(default_factory=list)

    def sample(self) -> float:
        """Runs the program some times, and returns the seconds of one."""
        start = time.perf_counter()
        for _ in range(self.repeats):
            jax.block_until_ready(self.run(*self.arguments))
        return (time.perf_counter() - start) / self.repeats


@dataclasses.dataclass
class _Contender:
    """A cell in an engine, compiled forward and with its gradients."""

    cell: nn.Module
    engine: str
    parameters: int
    forward: _Program
    training: _Program

    def row(self, reference: "_Contender") -> BenchRow:
        """Returns the medians of the samples."""
        pairs = zip(self.training.samples, reference.training.samples, strict=True)
        library = "flax " if isinstance(self.cell, nn.RNNCellBase) else ""
        return BenchRow(
            library + describe_cell(self.cell),
            self.engine,
            self.parameters,
            1e3 * statistics.median(self.forward.samples),
            1e3 * statistics.median(self.training.samples),
            statistics.median(seconds / expected for seconds, expected in pairs),
            self.forward.memory,
            self.training.memory,
        )


def _compile_engines(
    cell: nn.Module,
    inputs: np.ndarray,
    refused: dict[str, str],
    on_progress: Callable[[str], None],
) -> Iterator[_Contender]:
    """Yields the cell in each engine of this machine, and fills in the reasons for the others."""
    for engine in available_engines(cell):
        if engine in GPU_ENGINES and jax.default_backend() != "gpu":
            refused[engine] = f"it needs an NVIDIA GPU, and JAX runs on {jax.default_backend()}"
            continue
        on_progress(f"compiling {describe_cell(cell)}, engine {engine}")
        try:
            yield _compile(cell, engine, inputs)
        except InputError as error:
            if engine == "scan":
                raise
            refused[engine] = str(error)
        except Exception as error:  # An exception of any kind from a cell.
            raise InputError(
                f"{describe_cell(cell)} raised {type(error).__name__} in the engine {engine}: "
                f"{error}; check it without --bench first, which shows where"
            ) from error


def _compile(cell: nn.Module, engine: Any, inputs: np.ndarray) -> _Contender:
    layer = RNN(cell, engine=engine)
    variables = jax.jit(layer.init)(jax.random.key(0), inputs)

    def forward(variables: Any, inputs: Any) -> Any:
        return layer.apply(variables, inputs)

    outputs = jax.eval_shape(forward, variables, inputs)[1]
    probe = normal_noise(outputs.shape, np.float32, 2)

    def loss(variables, inputs):
        return jnp.vdot(forward(variables, inputs)[1].astype(jnp.float32), probe)

    def gradients(variables, inputs):
        # Counters among the variables have no gradient.
        return jax.value_and_grad(loss, argnums=(0, 1), allow_int=True)(variables, inputs)

    programs = []
    for function in (forward, gradients):
        compiled = jax.jit(function).lower(variables, inputs).compile()
        analysis = compiled.memory_analysis()
        memory = getattr(analysis, "temp_size_in_bytes", None)
        programs.append(_Program(compiled, (variables, jnp.asarray(inputs)), memory))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
    return _Contender(cell, engine, count, *programs)


def _time_rounds(contenders: list[_Contender], on_progress: Callable[[str], None]) -> int:
    """Runs all programs in turn, in alternating order, and returns the number of rounds."""
    programs = [program for one in contenders for program in (one.forward, one.training)]
    for program in programs:
        program.sample()  # The first run is slower.
        program.repeats = max(1, math.ceil(SHORTEST_SAMPLE / program.sample()))
    start = time.monotonic()
    for number in range(1, MAX_ROUNDS + 1):
        for program in programs if number % 2 else reversed(programs):
            program.samples.append(program.sample())
        if number in (1, 3, MAX_ROUNDS) or number % 10 == 0:
            on_progress(f"round {number} of at most {MAX_ROUNDS}")
        if number >= MIN_ROUNDS and time.monotonic() - start > TIMING_SECONDS:
            return number
    return MAX_ROUNDS


def _describe_device() -> str:
    device = jax.devices()[0]
    return f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind


def _mebibytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.2f}"
