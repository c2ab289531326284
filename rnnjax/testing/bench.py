"""The programs that the checks share: each is compiled once and run on many numbers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import RNN
from rnnjax.testing.compare import EPSILON, host, named
from rnnjax.testing.masks import masks
from rnnjax.testing.subject import Subject, normal, recast

ROWS, STEPS = 6, 7
"""The size at which the checks look."""


class Given(NamedTuple):
    """What a run reads, and what is pulled back through it: (final state, outputs)."""

    variables: Any
    inputs: np.ndarray
    state: Any
    pulled: Any


class Result(NamedTuple):
    """What a run returns, and the gradients of what it read; None where nothing is asked."""

    final: Any = None
    outputs: Any = None
    parameters: Any = None
    inputs: Any = None
    state: Any = None

    def leaves(self) -> dict[str, Any]:
        """Returns the leaves by name, as an error calls them."""
        parameters = self.parameters
        if isinstance(parameters, dict):
            parameters = parameters.get("params", {}).get("cell", parameters)
        return named(
            {
                "final state": self.final,
                "outputs": self.outputs,
                "gradient of parameters": parameters,
                "gradient of inputs": self.inputs,
                "gradient of initial state": self.state,
            }
        )

    def rows(self, rows: Any) -> "Result":
        """Returns some rows; the gradients of parameters are of all rows, and left out."""
        picked = jax.tree.map(lambda leaf: leaf[rows], self._replace(parameters=None))
        return Result(*picked)


def moving(tree: Any) -> Any:
    """Returns a tree with None for the leaves that have no derivative."""
    return jax.tree.map(lambda leaf: leaf if _differentiable(leaf) else None, tree)


def joined(moves: Any, stays: Any) -> Any:
    """Returns a tree whose leaves without derivative are those of another."""
    return jax.tree.map(
        lambda leaf, other: other if leaf is None else leaf,
        moves,
        stays,
        is_leaf=lambda leaf: leaf is None,
    )


class Bench:
    """A subject, its random numbers, and its compiled programs."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.largest = 0.0
        self._programs: dict[Any, Callable] = {}
        self._kept: dict[Any, Any] = {}

    def program(self, name: Any, make: Callable[[], Callable]) -> Callable:
        """Returns the compiled function of this name."""
        if name not in self._programs:
            self._programs[name] = jax.jit(make(), compiler_options=_options())
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

    def begin(self, rows: int) -> Any:
        """Returns the cell's own initial state."""
        return self.kept(
            ("begin", rows), lambda: host(self.subject.begin(self.variables(), (rows,)))
        )

    def state(self, rows: int, seed: int = 3) -> Any:
        """Returns a random state: two steps from the cell's own, since not any numbers are one."""

        def make():
            state = self.begin(rows)
            inputs = self.inputs(rows, 2, seed)
            for step in range(2):
                state, _ = self.step(self.variables(), state, inputs[:, step])
            return host(state)

        return self.kept(("state", rows, seed), make)

    def step(self, variables: Any, state: Any, inputs: Any) -> Any:
        """Returns the next state and the output of a batch, compiled."""
        return self.program("step", lambda: self.subject.step)(
            variables=variables, state=state, inputs=inputs
        )

    def given(self, rows: int, steps: int) -> Given:
        """Returns what the runs of this size read."""

        def make():
            state = self.state(rows)
            outputs = jax.eval_shape(
                self.subject.step, self.variables(), state, self.inputs(rows, 1)[:, 0]
            )[1]
            sequences = jax.ShapeDtypeStruct((rows, steps, *outputs.shape[1:]), outputs.dtype)
            rng = np.random.default_rng(4)
            pulled = jax.tree.map(
                lambda leaf: normal(leaf.shape, leaf.dtype, rng), (moving(state), sequences)
            )
            return Given(in_layer(self.variables()), self.inputs(rows, steps), state, pulled)

        return self.kept(("given", rows, steps), make)

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
        given: Given,
        mask: Any,
        kind: str = "all given",
        precision: str = "float32",
    ) -> Result:
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

            def apply(variables, inputs, mask, state):
                return layer.apply(
                    variables,
                    inputs,
                    None if kind == "no mask" else mask,
                    None if kind == "own state" else state,
                )

            return pulling(apply)

        run = self.program(("run", engine, reverse, kind, precision), make)
        return host(run(given.variables, given.inputs, mask, given.state, given.pulled))

    def allowed_step(self, rows: int) -> dict[str, float]:
        """Returns how far float32 lets the next state and the output of a step be off."""

        def make():
            def run(given):
                return Result(*host(self.step(given.variables, given.state, given.inputs)))

            given = Given(self.variables(), self.inputs(rows, 1)[:, 0], self.state(rows), None)
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


def allowance(
    run: Callable[[Given], Result], given: Given, epsilon: float, times: float
) -> dict[str, float]:
    """Returns how far each leaf of a result may be off in a precision.

    Two right programs differ as if what they read had been rounded differently. So the run is
    repeated with all that it reads moved by an epsilon, up or down at random, four times: what that
    changes says how much this cell, at these numbers, makes of a rounding. An epsilon of the
    largest value is added, for what is rounded last.

    Args:
      run: gives the result.
      given: what it reads.
      epsilon: of the precision.
      times: how often that much, since a program rounds more than what it reads. The right cells of
        this package, of flax and of the tests need less than 1.
    """
    result = run(given).leaves()
    change = dict.fromkeys(result, 0.0)
    rng = np.random.default_rng(5)
    for _ in range(4):
        shaken = jax.tree.map(functools.partial(_shaken, rng=rng, epsilon=epsilon), given)
        for name, leaf in run(shaken).leaves().items():
            if _differentiable(leaf):
                off = np.abs(_wide(leaf) - _wide(result[name]))
                change[name] = max(change[name], float(off.max(initial=0.0)))
    return {
        name: times * (change[name] + epsilon * float(np.abs(_wide(leaf)).max(initial=0.0)))
        for name, leaf in result.items()
        if _differentiable(leaf)
    }


def in_layer(variables: Any) -> Any:
    """Returns the variables of a cell as the layer that runs it has them."""
    return {collection: {"cell": values} for collection, values in variables.items()}


def pulling(apply: Callable) -> Callable:
    """Returns a function that runs another and pulls gradients back through it.

    Leaves of the state that are no numbers of the calculus (counters, keys) pass by.
    """

    def run(variables, inputs, mask, state, pulled):
        def differentiable(variables_, inputs_, state_):
            final, outputs = apply(
                joined(variables_, variables), inputs_, mask, joined(state_, state)
            )
            return (moving(final), outputs), final

        (_, outputs), pull_back, final = jax.vjp(
            differentiable, moving(variables), inputs, moving(state), has_aux=True
        )
        pulled = jax.tree.map(
            lambda leaf, like: leaf.astype(like.dtype), pulled, (moving(final), outputs)
        )
        return Result(final, outputs, *pull_back(pulled))

    return run


@functools.cache
def _options() -> dict[str, Any] | None:
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


def _differentiable(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _shaken(leaf: Any, rng: np.random.Generator, epsilon: float) -> Any:
    if not _differentiable(leaf):
        return leaf
    signs = rng.choice([-1.0, 1.0], size=leaf.shape)
    return np.asarray(leaf * (1 + epsilon * signs)).astype(leaf.dtype)


def _wide(leaf: Any) -> np.ndarray:
    return np.asarray(leaf).astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)
