"""The engine 'newton': all steps of a cell at once, its options, and the verdict on each row."""

import dataclasses
import math
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import is_broadcast, jacobian_structure, state_parts
from rnnjax.cells.dtypes import with_dtypes
from rnnjax.errors import InputError
from rnnjax.kernels import newton as kernel
from rnnjax.kernels.masking import where_mask, zero_masked

NEWTON = "newton"
"""The collection of verdicts on rows: `layer.apply(variables, inputs, mutable="newton")`."""

Jacobian = Literal["dense", "blocks", "diagonal"]

_DEFAULT_ITERATIONS = 100
_TOLERANCES = {"float32": 1e-5, "float64": 1e-10}


@dataclasses.dataclass(frozen=True)
class Newton:
    """Options of the engine 'newton': `RNN(cell, engine=Newton(max_iterations=20))`.

    Attributes:
      max_iterations: corrections at most; None for the number of steps, but at most 100. As many as
        there are steps are always enough, unless the numbers overflow.
      tolerance: of the last correction and of the residual, relative to 1 + the row's largest
        state; None for 1e-5 in float32 and 1e-10 in float64. The last correction leaves an error of
        about its square.
      jacobian: 'dense' is Newton's method, 'blocks' takes of each unit the block over the parts of
        the state, 'diagonal' the diagonal alone (quasi-Newton: cheaper iterations, and more of
        them); None for the exact ones of the cell's structure. The gradient always has these.
      damping: the Jacobians are scaled by 1 - damping, in [0, 1): slower, and more stable where
        the steps expand.
      unconverged: 'scan' computes the rows that have not converged step by step. 'error' makes
        them NaN, and outside of `jax.jit` raises an `InputError`: under it a program cannot raise,
        and NaN reaches every loss; a callback to the host, which could, stalls the device and has
        no place in an exported program.

    Raises:
      InputError: an option is out of its range.
    """

    max_iterations: int | None = None
    tolerance: float | None = None
    jacobian: Jacobian | None = None
    damping: float = 0.0
    unconverged: Literal["scan", "error"] = "scan"

    def __post_init__(self):
        requirements = {
            "max_iterations": (
                self.max_iterations is None
                or (type(self.max_iterations) is int and self.max_iterations > 0),
                "None or 1 or more",
            ),
            "tolerance": (self.tolerance is None or self.tolerance > 0, "None or a number above 0"),
            "jacobian": (
                self.jacobian in (None, *get_args(Jacobian)),
                f"None or one of {', '.join(get_args(Jacobian))}",
            ),
            "damping": (0 <= self.damping < 1, "a number in [0, 1)"),
            "unconverged": (self.unconverged in ("scan", "error"), "'scan' or 'error'"),
        }
        for name, (is_valid, expected) in requirements.items():
            if not is_valid:
                raise InputError(
                    f"Newton.{name}: given {getattr(self, name)!r}, expected {expected}"
                )


class Verdict(NamedTuple):
    """The verdict on each row, `[batch]`, as the collection 'newton' has it.

    Attributes:
      iterations: corrections, that within the tolerance not counted.
      residual: the largest difference of a state from its step, relative to 1 + the row's largest
        state; NaN or infinite where the iterations overflowed.
      converged: whether the last correction and the residual are within the tolerance.
      lyapunov_exponent: an estimate of the largest one, `kernels.newton.largest_lyapunov_exponent`.
    """

    iterations: jax.Array
    residual: jax.Array
    converged: jax.Array
    lyapunov_exponent: jax.Array | None


def require_smooth(cell: nn.Module, state: State) -> None:
    """Checks that every part of a state has a derivative.

    Raises:
      InputError: one is an integer or a boolean.
    """
    for part, leaf in state_parts(state).items():
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            name = f"the part {part!r} of the state" if part else "the state"
            raise InputError(
                f"engine: given 'newton', and {name} of {type(cell).__name__} is an integer "
                f"({leaf.dtype}), which has no derivative; expected 'scan' or 'auto'"
            )


def run_newton(
    cell: nn.Module,
    options: Newton,
    inputs: jax.Array,
    mask: jax.Array | None,
    state: State,
    reverse: bool,
    resets: jax.Array | None,
    reset_state: State | None,
    estimate_exponent: bool,
) -> tuple[State, jax.Array, Verdict]:
    """Runs a cell of a layer over time; the arguments are those of `RNN`.

    Returns:
      The final state, the outputs, and the verdict on each row.

    Raises:
      InputError: the steps draw random numbers, or a row has not converged where an error is asked
        for, outside of `jax.jit`.
    """
    projected = cell.project(inputs) if isinstance(cell, AbstractCell) else inputs
    run = _StepFunction(cell, state, projected)
    if cell.has_rng("dropout"):
        run.require_no_draws()
    time = inputs.shape[1]
    dtype = run.layout.dtype
    parts = run.layout.parts(jacobian_structure(cell))
    settings = kernel.Settings(
        max_iterations=options.max_iterations or min(time, _DEFAULT_ITERATIONS),
        tolerance=options.tolerance or _TOLERANCES[dtype.name],
        damping=options.damping,
        parts=run.layout.parts(options.jacobian) if options.jacobian else parts,
        gradient_parts=parts,
        finish=options.unconverged == "scan",
    )

    def order(values):
        return jax.tree.map(lambda leaf: leaf[:, ::-1] if reverse else leaf, values)

    steps, shared = run.steps(projected)
    problem = kernel.Problem(
        params=(run.params(cell), shared),
        projected=order(steps),
        initial=run.layout.flatten(state),
        reset_state=None if resets is None else run.layout.flatten(reset_state),
        mask=order(mask),
        resets=order(resets),
    )
    solution = kernel.newton_states(run.advance, settings, problem)
    if options.unconverged == "error":
        _require_converged(solution, settings)
    exponent = None
    if estimate_exponent:
        detached = jax.tree.map(jax.lax.stop_gradient, (problem, solution.states))
        exponent = kernel.largest_lyapunov_exponent(run.advance, settings, *detached)
    outputs = run.outputs(problem, solution.states)
    if options.unconverged == "error":
        outputs = where_mask(solution.converged, outputs, jnp.full_like(outputs, jnp.nan))
    outputs = zero_masked(order(outputs), mask)
    verdict = Verdict(
        iterations=solution.iterations,
        residual=jax.lax.stop_gradient(solution.residual),
        converged=solution.converged,
        lyapunov_exponent=exponent,
    )
    return run.layout.unflatten(solution.states[:, -1], narrow=True), outputs, verdict


class _Layout:
    """A state as a vector of real numbers for each row, part after part.

    A complex part is two real ones.
    """

    def __init__(self, state: State):
        leaves, self.structure = jax.tree.flatten(state)
        self.shapes = [leaf.shape[1:] for leaf in leaves]
        self.dtypes = [leaf.dtype for leaf in leaves]
        self.complex = [jnp.issubdtype(dtype, jnp.complexfloating) for dtype in self.dtypes]
        is_wide = any(jnp.finfo(dtype).bits == 64 for dtype in self.dtypes)
        self.dtype = np.dtype(np.float64 if is_wide else np.float32)
        counts = [
            math.prod(shape)
            for shape, is_complex in zip(self.shapes, self.complex, strict=True)
            for _ in range(1 + is_complex)
        ]
        self.counts, self.size = counts, sum(counts)

    def parts(self, jacobian: Jacobian) -> int:
        """Returns the parts of the Jacobians: full ones where the state's parts are not alike."""
        if jacobian == "diagonal":
            return 1
        is_uniform = jacobian == "blocks" and len(set(self.counts)) == 1
        return len(self.counts) if is_uniform else self.size

    def flatten(self, state: State) -> jax.Array:
        """Returns the vectors `[rows, size]` of a state."""
        vectors = []
        for leaf, is_complex in zip(jax.tree.leaves(state), self.complex, strict=True):
            halves = (leaf.real, leaf.imag) if is_complex else (leaf,)
            vectors += [half.reshape(leaf.shape[0], -1).astype(self.dtype) for half in halves]
        return jnp.concatenate(vectors, axis=1)

    def unflatten(self, vectors: jax.Array, narrow: bool = False) -> State:
        """Returns the state of vectors, in the dtypes of the solution or the state's own."""
        pieces = iter(jnp.split(vectors, np.cumsum(self.counts)[:-1], axis=1))
        leaves = []
        for shape, dtype, is_complex in zip(self.shapes, self.dtypes, self.complex, strict=True):
            piece = next(pieces)
            piece = jax.lax.complex(piece, next(pieces)) if is_complex else piece
            piece = piece.reshape(-1, *shape)
            leaves.append(piece.astype(dtype) if narrow else piece)
        return jax.tree.unflatten(self.structure, leaves)


class _StepFunction:
    """The steps of a cell as a function of arrays, in the dtype in which the states are solved.

    Attributes:
      layout: of the state.
    """

    def __init__(self, cell: nn.Module, state: State, projected: Any):
        self.layout = _Layout(state)
        self._name = type(cell).__name__
        self._cell = cell.copy(parent=None, name=None)
        dtype = self.layout.dtype
        self._wide_cell = with_dtypes(self._cell, dtype=dtype, param_dtype=dtype) or self._cell
        leaves, self._structure = jax.tree.flatten(projected, is_leaf=is_broadcast)
        self._is_shared = [is_broadcast(leaf) for leaf in leaves]
        first = [leaf if is_broadcast(leaf) else leaf[:, 0] for leaf in leaves]
        arguments = (
            cell.variables.get("params", {}),
            state,
            jax.tree.unflatten(self._structure, first),
        )
        self._arguments = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments
        )
        self._output_dtype = jax.eval_shape(self._derivative, *self._arguments).dtype

    def params(self, cell: nn.Module) -> Any:
        """Returns the parameters of the cell of a layer."""
        return jax.tree.map(self._widen, cell.variables.get("params", {}))

    def steps(self, projected: Any) -> tuple[list[jax.Array], list[Any]]:
        """Returns the arrays of a projection that have a time axis, and those that have none."""
        leaves = jax.tree.leaves(projected, is_leaf=is_broadcast)
        flagged = list(zip(leaves, self._is_shared, strict=True))
        steps = [self._widen(leaf) for leaf, is_shared in flagged if not is_shared]
        return steps, [jax.tree.map(self._widen, leaf) for leaf, is_shared in flagged if is_shared]

    def advance(self, params: Any, vectors: jax.Array, steps: list[jax.Array]) -> jax.Array:
        """Returns the vectors after one step of rows that do not interact."""
        return self.layout.flatten(self._run(params, vectors, steps)[0])

    def outputs(self, problem: kernel.Problem, states: jax.Array) -> jax.Array:
        """Returns the outputs of all steps from the solved states."""
        previous = kernel.previous_states(problem, states)
        merge = kernel.merge_steps
        steps = jax.tree.map(merge, problem.projected)
        outputs = self._run(problem.params, merge(previous), steps)[1]
        return outputs.reshape(*previous.shape[:2], *outputs.shape[1:]).astype(self._output_dtype)

    def _derivative(self, params: Any, state: State, projected: Any) -> jax.Array:
        """Returns the output of a step whose derivative is taken.

        Raises:
          InputError: there is none in forward mode.
        """

        def step(state):
            return _step(self._cell, params, state, projected)

        try:
            (_, output), jvp = jax.linearize(step, state)
            # Only under vmap does a derivative for reverse mode alone raise while it is traced.
            jax.vmap(jvp)(jax.tree.map(lambda leaf: leaf[None], state))
            return output
        except TypeError as error:
            if "forward-mode" not in str(error):  # jax.custom_vjp's message
                raise
            raise InputError(
                f"engine: given 'newton', and the derivative of a step of {self._name} is written "
                "by jax.custom_vjp, for reverse mode alone, and Jacobians need forward mode; "
                "expected 'scan' or 'auto', or a step whose derivative is written by jax.custom_jvp"
            ) from error

    def require_no_draws(self) -> None:
        """Checks that a step draws no random numbers in training.

        Raises:
          InputError: it draws from the rng stream 'dropout'.
        """

        def step(key, *arrays):
            return _step(self._cell, *arrays, rngs={"dropout": key})

        jaxpr = jax.make_jaxpr(step)(jax.random.key(0), *self._arguments).jaxpr
        if any(variable is jaxpr.invars[0] for eqn in jaxpr.eqns for variable in eqn.invars):
            raise InputError(
                f"engine: given 'newton', and a step of {self._name} draws random numbers in "
                "training, so that its states are no fixed equations; expected 'scan' or 'auto'"
            )

    def _run(self, params: Any, vectors: jax.Array, steps: list[jax.Array]) -> tuple[State, Any]:
        variables, shared = params
        of_steps, of_shared = iter(steps), iter(shared)
        leaves = [next(of_shared if is_shared else of_steps) for is_shared in self._is_shared]
        projected = jax.tree.unflatten(self._structure, leaves)
        return _step(self._wide_cell, variables, self.layout.unflatten(vectors), projected)

    def _widen(self, leaf: jax.Array) -> jax.Array:
        is_narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
        return leaf.astype(self.layout.dtype) if is_narrow else leaf


def _step(cell: nn.Module, params: Any, state: State, projected: Any, rngs: Any = None) -> Any:
    """Returns the next state and the output of an unbound cell."""
    method = "step" if isinstance(cell, AbstractCell) else None
    return cell.apply({"params": params}, state, projected, rngs=rngs, method=method)


def _require_converged(solution: kernel.Solution, settings: kernel.Settings) -> None:
    """Checks outside of `jax.jit` that every row has converged.

    Raises:
      InputError: one has not.
    """
    if isinstance(solution.converged, Tracer) or solution.converged.all():
        return
    rows = np.flatnonzero(~np.asarray(solution.converged))
    raise InputError(
        f"engine: given 'newton', and {len(rows)} of {len(solution.converged)} rows have not "
        f"converged within {settings.max_iterations} iterations, row {rows[0]} with a residual of "
        f"{float(solution.residual[rows[0]]):.2g}; take unconverged='scan', more iterations, some "
        "damping, or the engine 'scan'"
    )
