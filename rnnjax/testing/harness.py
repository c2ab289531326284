"""Compiled programs and random arguments that all checks of a cell share."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.dtypes import with_dtypes
from rnnjax.layers import RNN
from rnnjax.testing.assertions import EPSILON, to_numpy
from rnnjax.testing.cell_adapter import CellAdapter, normal_noise
from rnnjax.testing.mask_patterns import generate_masks
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    differentiable_leaves,
    dropout_rngs,
    estimate_tolerances,
    layer_variables,
    with_gradients,
)

ROWS, STEPS = 6, 7
"""The default size of a batch."""

DROPOUT_SEED, ALTERNATIVE_SEED = 11, 12
"""Seeds of the dropout key: the default, and one to compare with."""


class Harness:
    """Compiles and caches the programs, variables and arguments of a cell.

    Attributes:
      adapter: the cell.
      largest_deviation: the largest difference so far, as a fraction of its tolerance.
    """

    def __init__(self, adapter: CellAdapter):
        self.adapter = adapter
        self.largest_deviation = 0.0
        self._programs: dict[Any, Callable] = {}
        self._cache: dict[Any, Any] = {}

    def compiled(self, name: Any, make: Callable[[], Callable]) -> Callable:
        """Returns the jitted function of this name, made on first use."""
        if name not in self._programs:
            self._programs[name] = jax.jit(make(), compiler_options=compiler_options())
        return self._programs[name]

    def cached(self, name: Any, compute: Callable[[], Any]) -> Any:
        """Returns the value of this name, computed on first use."""
        if name not in self._cache:
            self._cache[name] = compute()
        return self._cache[name]

    def variables(self, seed: int = 2) -> Any:
        """Returns initialized variables of the cell plus noise."""
        return self.cached(
            ("variables", seed), lambda: self.adapter.add_noise(self.init(ROWS)[1], seed)
        )

    def init(self, rows: int) -> Any:
        """Returns the result of `CellAdapter.init` for a batch."""
        return self.cached(("init", rows), lambda: self.adapter.init(rows))

    def inputs(self, rows: int, steps: int, seed: int = 1) -> np.ndarray:
        """Returns random inputs."""
        return normal_noise((rows, steps, *self.adapter.inputs), np.float32, [seed, rows, steps])

    def initial_state(self, rows: int, dropout_seed: int | None = None) -> Any:
        """Returns the cell's default initial state, in training with a dropout seed."""

        def compute():
            rngs = dropout_rngs(None if dropout_seed is None else jax.random.key(dropout_seed))
            return to_numpy(self.adapter.initial_state(self.variables(), (rows,), rngs))

        return self.cached(("initial state", rows, dropout_seed), compute)

    def state(self, rows: int, seed: int = 3, training: bool = False) -> Any:
        """Returns a reachable state: two random steps from the default initial state."""

        def compute():
            state = self.initial_state(rows, DROPOUT_SEED if training else None)
            inputs = self.inputs(rows, 2, seed)
            for step in range(2):
                state, _ = self.step(self.variables(), state, inputs[:, step])
            return to_numpy(state)

        return self.cached(("state", rows, seed, training), compute)

    def step(self, variables: Any, state: Any, inputs: Any, key: Any = None) -> Any:
        """Runs one compiled step of a batch: the next state and the output.

        Args:
          variables: of the cell.
          state: of the batch.
          inputs: of the step.
          key: of dropout; None for an evaluation.
        """

        def step(variables, state, inputs, key):
            return self.adapter.step(variables, state, inputs, dropout_rngs(key))

        return self.compiled("step", lambda: step)(variables, state, inputs, key)

    def arguments(self, rows: int, steps: int, training: bool = False) -> SequenceArguments:
        """Returns the default arguments of a run of this size."""

        def compute():
            state = self.state(rows, training=training)
            output = jax.eval_shape(
                self.adapter.step, self.variables(), state, self.inputs(rows, 1)[:, 0]
            )[1]
            outputs = jax.ShapeDtypeStruct((rows, steps, *output.shape[1:]), output.dtype)
            rng = np.random.default_rng(4)
            cotangents = jax.tree.map(
                lambda leaf: normal_noise(leaf.shape, leaf.dtype, rng),
                (differentiable_leaves(state), outputs),
            )
            return SequenceArguments(
                layer_variables(self.variables()),
                self.inputs(rows, steps),
                state,
                cotangents,
                jax.random.key(DROPOUT_SEED) if training else None,
            )

        return self.cached(("arguments", rows, steps, training), compute)

    def cell(self, precision: str) -> nn.Module | None:
        """Returns the cell in a precision; None if its dtype cannot be set."""
        if precision == "float32":
            return self.adapter.cell
        if precision == "float64":
            wide = with_dtypes(self.adapter.cell, param_dtype=jnp.float64)
            # The dtype of the parameters alone does not widen a computation in a set dtype.
            return None if wide is None else with_dtypes(wide, dtype=None) or wide
        return with_dtypes(self.adapter.cell, dtype=jnp.bfloat16)

    def run(
        self,
        engine: Any,
        reverse: bool,
        arguments: SequenceArguments,
        mask: np.ndarray | None,
        precision: str = "float32",
        pass_state: bool = True,
        resets: np.ndarray | None = None,
    ) -> SequenceResult:
        """Runs the layer forward and backward.

        Args:
          engine: of the layer.
          reverse: of the layer.
          arguments: inputs, state, variables and cotangents.
          mask: `[rows, steps]`, or None for no mask.
          precision: of the cell.
          pass_state: pass the initial state; otherwise the layer uses the cell's default.
          resets: `[rows, steps]`, or None for none.
        """

        def make():
            cell = self.cell(precision)
            assert cell is not None
            layer = RNN(cell, reverse=reverse, engine=engine)

            def apply(variables, inputs, mask, state, key, resets):
                initial_state = state if pass_state else None
                rngs = dropout_rngs(key)
                return layer.apply(variables, inputs, mask, initial_state, resets, rngs=rngs)

            return with_gradients(apply)

        run = self.compiled(("run", engine, reverse, pass_state, precision), make)
        variables, inputs, state, cotangents, key = arguments
        return to_numpy(run(variables, inputs, mask, state, cotangents, key, resets))

    def step_tolerances(self, rows: int) -> dict[str, float]:
        """Returns the float32 tolerances of the next state and the output of a step."""

        def compute():
            def run(arguments):
                variables, inputs, state, *_ = arguments
                return SequenceResult(*to_numpy(self.step(variables, state, inputs)))

            arguments = SequenceArguments(
                self.variables(), self.inputs(rows, 1)[:, 0], self.state(rows), None
            )
            return estimate_tolerances(run, arguments, EPSILON, factor=32)

        return self.cached(("step tolerances", rows), compute)

    def tolerances(self, rows: int, steps: int) -> dict[str, float]:
        """Returns the float32 tolerances of the leaves of a result, in either direction."""

        def compute():
            arguments, mask = self.arguments(rows, steps), generate_masks(rows, steps)[0]

            def estimate(reverse):
                def run(arguments):
                    return self.run("scan", reverse, arguments, mask)

                return estimate_tolerances(run, arguments, EPSILON, factor=32)

            forward, backward = estimate(False), estimate(True)
            return {name: max(forward[name], backward[name]) for name in forward}

        return self.cached(("tolerances", rows, steps), compute)


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Returns options of XLA that make compiling four times as fast.

    A cell needs some fifteen programs, each of which runs for microseconds: optimizing them takes
    longer than all else. Their results are the same.
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
    except jax.errors.JaxRuntimeError:  # XLA renames its options without notice.
        return None
    return options
