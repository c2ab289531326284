"""The programs that the checks share: each is compiled once and run on many numbers."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import RNN
from rnnjax.testing.cell_adapter import CellAdapter, normal, recast
from rnnjax.testing.comparison import EPSILON, host
from rnnjax.testing.mask_patterns import masks
from rnnjax.testing.sequence_result import (
    SequenceInputs,
    SequenceResult,
    allowance,
    in_layer,
    moving,
    pulling,
    stream_of,
)

ROWS, STEPS = 6, 7
"""The size at which the checks look."""

KEY, OTHER_KEY = 11, 12
"""The seeds of training: that of every run but the few that try another."""


class Harness:
    """A subject, its random numbers, and its compiled programs."""

    def __init__(self, subject: CellAdapter):
        self.subject = subject
        self.largest = 0.0
        self._programs: dict[Any, Callable] = {}
        self._kept: dict[Any, Any] = {}

    def program(self, name: Any, make: Callable[[], Callable]) -> Callable:
        """Returns the compiled function of this name."""
        if name not in self._programs:
            self._programs[name] = jax.jit(make(), compiler_options=compiler_options())
        return self._programs[name]

    def kept(self, name: Any, make: Callable[[], Any]) -> Any:
        """Returns a value that is made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def variables(self, seed: int = 2) -> Any:
        """Returns random variables of the cell."""
        return self.kept(("variables", seed), lambda: self.subject.noisy(self.init(ROWS)[1], seed))

    def init(self, rows: int) -> Any:
        """Returns what `Subject.init` returns for a batch."""
        return self.kept(("init", rows), lambda: self.subject.init(rows))

    def inputs(self, rows: int, steps: int, seed: int = 1) -> np.ndarray:
        """Returns random inputs."""
        return normal((rows, steps, *self.subject.inputs), np.float32, [seed, rows, steps])

    def begin(self, rows: int, key: int | None = None) -> Any:
        """Returns the cell's own initial state, in training by the seed of its key."""

        def make():
            rngs = stream_of(None if key is None else jax.random.key(key))
            return host(self.subject.begin(self.variables(), (rows,), rngs))

        return self.kept(("begin", rows, key), make)

    def state(self, rows: int, seed: int = 3, training: bool = False) -> Any:
        """Returns a random state: two steps from the cell's own, since not any numbers are one."""

        def make():
            state = self.begin(rows, KEY if training else None)
            inputs = self.inputs(rows, 2, seed)
            for step in range(2):
                state, _ = self.step(self.variables(), state, inputs[:, step])
            return host(state)

        return self.kept(("state", rows, seed, training), make)

    def step(self, variables: Any, state: Any, inputs: Any) -> Any:
        """Returns the next state and the output of a batch, compiled."""
        return self.program("step", lambda: self.subject.step)(
            variables=variables, state=state, inputs=inputs
        )

    def given(self, rows: int, steps: int, training: bool = False) -> SequenceInputs:
        """Returns what the runs of this size read."""

        def make():
            state = self.state(rows, training=training)
            outputs = jax.eval_shape(
                self.subject.step, self.variables(), state, self.inputs(rows, 1)[:, 0]
            )[1]
            sequences = jax.ShapeDtypeStruct((rows, steps, *outputs.shape[1:]), outputs.dtype)
            rng = np.random.default_rng(4)
            cotangents = jax.tree.map(
                lambda leaf: normal(leaf.shape, leaf.dtype, rng), (moving(state), sequences)
            )
            key = jax.random.key(KEY) if training else None
            return SequenceInputs(
                in_layer(self.variables()), self.inputs(rows, steps), state, cotangents, key
            )

        return self.kept(("given", rows, steps, training), make)

    def cell(self, precision: str) -> nn.Module | None:
        """Returns the cell in a precision; None if it cannot be had."""
        if precision == "float32":
            return self.subject.cell
        if precision == "float64":
            wide = recast(self.subject.cell, param_dtype=jnp.float64)
            # Parameters alone do not widen what a cell computes in a dtype that it was given.
            return None if wide is None else recast(wide, dtype=None) or wide
        return recast(self.subject.cell, dtype=jnp.bfloat16)

    def run(
        self,
        engine: Any,
        reverse: bool,
        given: SequenceInputs,
        mask: Any,
        kind: str = "all given",
        precision: str = "float32",
    ) -> SequenceResult:
        """Runs the layer forward and its derivative back.

        Args:
          engine: of the layer.
          reverse: of the layer.
          given: what it reads.
          mask: what it obeys.
          kind: 'no mask' and 'own state' leave out the mask and the initial state.
          precision: of the cell.
        """

        def make():
            cell = self.cell(precision)
            assert cell is not None
            layer = RNN(cell, reverse=reverse, engine=engine)

            def apply(variables, inputs, mask, state, key):
                return layer.apply(
                    variables,
                    inputs,
                    None if kind == "no mask" else mask,
                    None if kind == "own state" else state,
                    rngs=stream_of(key),
                )

            return pulling(apply)

        run = self.program(("run", engine, reverse, kind, precision), make)
        return host(
            run(given.variables, given.inputs, mask, given.state, given.cotangents, given.key)
        )

    def allowed_step(self, rows: int) -> dict[str, float]:
        """Returns how far float32 lets the next state and the output of a step be off."""

        def make():
            def run(given):
                return SequenceResult(*host(self.step(given.variables, given.state, given.inputs)))

            given = SequenceInputs(
                self.variables(), self.inputs(rows, 1)[:, 0], self.state(rows), None
            )
            return allowance(run, given, EPSILON, times=32)

        return self.kept(("allowed in a step", rows), make)

    def allowed(self, rows: int, steps: int) -> dict[str, float]:
        """Returns how far float32 lets each leaf of a result be off."""

        def make():
            given, full = self.given(rows, steps), masks(rows, steps)[0]

            def of(reverse):
                def run(given):
                    return self.run("scan", reverse, given, full)

                return allowance(run, given, EPSILON, times=32)

            both = of(False), of(True)
            return {name: max(each[name] for each in both) for name in both[0]}

        return self.kept(("allowed", rows, steps), make)


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Returns what makes compiling four times as fast.

    A cell needs some fifteen programs, each of which runs for microseconds: making them fast takes
    longer than all else. What they compute is the same.
    """
    options = {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_parallel_codegen_split_count": 1,
    }
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:  # They are XLA's, which renames them as it likes.
        return None
    return options
