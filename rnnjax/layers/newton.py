"""The engine 'newton': all steps of a cell at once, its options, and the verdict on each row."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import jacobian_structure, state_parts
from rnnjax.errors import InputError
from rnnjax.kernels import newton as kernel
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.layers.step_function import Jacobian, StepFunction

NEWTON = "newton"
"""The collection of verdicts on rows: `layer.apply(variables, inputs, mutable="newton")`."""

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
    run = StepFunction(cell, cell.variables.get("params", {}), state, projected)
    run.require_forward_mode("engine: given 'newton', and ", "'scan' or 'auto', or ")
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
    problem = kernel.NewtonProblem(
        params=(run.params, shared),
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
