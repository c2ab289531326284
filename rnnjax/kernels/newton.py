"""All states of a nonlinear recurrence at once, by Newton's method with a parallel linear solve."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.kernels.masking import where_mask

Step = Callable[[Any, Float[Array, "rows size"], Any], Float[Array, "rows size"]]
"""`step(params, states, projected)` returns the next states of rows that do not interact."""


class Settings(NamedTuple):
    """Static settings of `newton_states`.

    Attributes:
      max_iterations: corrections at most.
      tolerance: of the correction and the residual, relative to 1 + the row's largest state.
      damping: the Jacobians of the iterations are scaled by 1 - damping, in [0, 1).
      parts: of the Jacobians of the iterations: the state's size for full ones, 1 for their
        diagonal, or the number of equal parts of the state among which each unit has a block.
      gradient_parts: the same of the Jacobians of the gradient, which are exact.
      finish: rows that have not converged are finished step by step; otherwise they are NaN.
    """

    max_iterations: int
    tolerance: float
    damping: float
    parts: int
    gradient_parts: int
    finish: bool


class NewtonProblem(NamedTuple):
    """The arrays of a recurrence, read from the first step to the last.

    Attributes:
      params: of the step.
      projected: a pytree of arrays `[batch, time, ...]`.
      initial: `[batch, size]`, before the first step.
      reset_state: `[batch, size]`, or None without resets.
      mask: `[batch, time]`, True where a step is real; None if all are.
      resets: `[batch, time]`, True where a step begins from `reset_state`; None for nowhere.
    """

    params: Any
    projected: Any
    initial: jax.Array
    reset_state: jax.Array | None
    mask: jax.Array | None
    resets: jax.Array | None


class Solution(NamedTuple):
    """States `[batch, time, size]`, and the verdict on each row, `[batch]`.

    Attributes:
      states: after each step.
      iterations: corrections, that within the tolerance not counted.
      residual: the largest difference of a state from its step, relative to 1 + the row's largest
        state; NaN or infinite where the iterations overflowed.
      converged: whether the last correction and the residual are within the tolerance.
    """

    states: Float[Array, "batch time size"]
    iterations: Int[Array, " batch"]
    residual: Float[Array, " batch"]
    converged: Bool[Array, " batch"]


def newton_states(step: Step, settings: Settings, problem: NewtonProblem) -> Solution:
    r"""Solves :math:`s_t = f(s_{t-1}, x_t)` for all steps at once, under the mask rule.

    An iteration computes the residuals :math:`r_t = f(s_{t-1}, x_t) - s_t` and the Jacobians
    :math:`J_t` of all steps, solves :math:`\delta_t = J_t \delta_{t-1} + r_t` by an associative
    scan, and takes :math:`f(s_{t-1}, x_t) + J_t \delta_{t-1}` as the next states. A masked step is
    the identity, J = I; a step with a reset reads the reset state, J = 0. After k iterations the
    first k states are exact, unless products of Jacobians overflow.

    Rows are apart: each stops at its own iteration, and NaN of one reaches no other. The gradient
    is implicit and costs as much as one iteration, whatever their number:
    :math:`\lambda_t = g_t + J_{t+1}^\top \lambda_{t+1}`, and then one vector-Jacobian product of
    all steps. Reverse mode only. Beside the states, memory is batch * time * size * parts, several
    times over: that of the Jacobians.

    Source: Lim et al., Parallelizing non-linear sequential models over the sequence length, ICLR
    2024, arXiv:2309.12252 (DEER). With the diagonal alone, and damped: Gonzalez et al., Towards
    scalable and stable parallelization of nonlinear RNNs, NeurIPS 2024, arXiv:2407.19115.
    """
    solution: Any = _newton_states(step, settings, problem)
    return solution


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _newton_states(step, settings, problem):
    states, done = _first_states(problem), jnp.zeros(problem.initial.shape[0], bool)
    iterations = jnp.zeros(done.shape, jnp.int32)

    def is_active(carry):
        count, _, done, _ = carry
        return (count <= settings.max_iterations) & ~done.all()

    def iterate(carry):
        count, states, done, iterations = carry
        new, jacobians = _linearize(
            step, settings, problem, states, settings.parts, 1 - settings.damping
        )
        corrections = _solve(jacobians, _split(new - states, settings.parts), problem.resets)
        previous = jnp.pad(corrections, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        updated = new + _merge(_apply(jacobians, previous))
        updated = jnp.where(jnp.isfinite(updated), updated, jnp.nan_to_num(new, posinf=0, neginf=0))
        size = _largest(corrections) / (1 + _largest(updated))
        states = where_mask(done, states, updated)
        iterations = jnp.where(done, iterations, count)
        return count + 1, states, done | (size <= settings.tolerance), iterations

    _, states, done, iterations = jax.lax.while_loop(
        is_active, iterate, (jnp.int32(0), states, done, iterations)
    )
    residual = _largest(_advance(step, problem, previous_states(problem, states)) - states)
    residual = residual / (1 + _largest(states))
    converged = done & (residual <= settings.tolerance)
    if settings.finish:
        states = jax.lax.cond(
            converged.all(),
            lambda: states,
            lambda: where_mask(converged, states, _scan(step, problem)),
        )
    else:
        states = where_mask(converged, states, jnp.full_like(states, jnp.nan))
    return Solution(states, iterations, residual, converged)


def _forward(step, settings, problem):
    solution = newton_states(step, settings, problem)
    return solution, (problem, solution.states, solution.converged)


def _backward(step, settings, residuals, cotangents):
    problem, states, converged = residuals
    parts = settings.gradient_parts
    _, jacobians = _linearize(step, settings, problem, states, parts)
    # The Jacobian of the step that follows; the last one has none.
    following = jnp.pad(jacobians[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
    following = jnp.swapaxes(following, 2, 3)
    grad_states = _split(cotangents.states, parts)
    ends = None
    if problem.resets is not None:
        ends = jnp.pad(problem.resets[:, 1:], ((0, 0), (0, 1)))
    parallel = _solve(following, grad_states, ends, reverse=True)

    def finish():
        def step_back(grad, values):
            grad_state, factor, end = values
            product = _apply(factor, grad)
            if end is not None:
                product = where_mask(end, jnp.zeros_like(product), product)
            return (grad_state + product,) * 2

        values = jax.tree.map(_time_first, (grad_states, following, ends))
        grads = jax.lax.scan(step_back, jnp.zeros_like(grad_states[:, 0]), values, reverse=True)[1]
        return where_mask(converged, parallel, _time_first(grads))

    grads = _merge(jax.lax.cond(converged.all(), lambda: parallel, finish))

    def advance(params, projected, initial, reset_state):
        arrays = problem._replace(
            params=params, projected=projected, initial=initial, reset_state=reset_state
        )
        return _advance(step, arrays, previous_states(arrays, states))

    _, pull_back = jax.vjp(advance, *problem[:4])
    return (NewtonProblem(*pull_back(grads), mask=None, resets=None),)


_newton_states.defvjp(_forward, _backward)


def largest_lyapunov_exponent(
    step: Step, settings: Settings, problem: NewtonProblem, states: Float[Array, "batch time size"]
) -> Float[Array, " batch"]:
    r"""Estimates the largest Lyapunov exponent along each row's states.

    It is :math:`\log \|J_T \cdots J_1\| / T` over the real steps, the product renormalised on the
    way, the norm that of Frobenius of a unit's block relative to the identity's: of a step whose
    Jacobian is constant the logarithm of its spectral radius, up to log(parts) / T. Resets do not
    cut the product. Arguments as of `newton_states`, and the states after each step.
    """
    parts, previous = settings.gradient_parts, previous_states(problem, states)
    _, jacobians = _step_jacobians(step, settings, problem, previous, parts)
    identity = jnp.broadcast_to(_identity(jacobians), jacobians.shape)
    jacobians = where_mask(problem.mask, jacobians, identity)
    logarithms = jnp.zeros(states.shape[:2], states.dtype)
    while jacobians.shape[1] > 1:
        if jacobians.shape[1] % 2:
            jacobians = jnp.concatenate([jacobians, identity[:, :1]], axis=1)
            logarithms = jnp.pad(logarithms, ((0, 0), (0, 1)))
        jacobians = _multiply(jacobians[:, 1::2], jacobians[:, ::2])
        norm = jnp.abs(jacobians).max(axis=(2, 3, 4))
        logarithms = logarithms[:, 1::2] + logarithms[:, ::2] + jnp.log(norm)
        jacobians = jacobians / jnp.where(norm > 0, norm, 1)[..., None, None, None]
    norms = jnp.sqrt((jacobians[:, 0] ** 2).sum(axis=(1, 2)) / parts)
    exponents = logarithms[:, 0] + jnp.log(norms.max(axis=-1))
    if problem.mask is None:
        return exponents / states.shape[1]
    return exponents / jnp.maximum(problem.mask.sum(axis=1), 1).astype(exponents.dtype)


def _first_states(problem: NewtonProblem) -> jax.Array:
    """Returns the states before the first iteration: the initial state at every step."""
    time = jax.tree.leaves(problem.projected)[0].shape[1]
    return jnp.repeat(problem.initial[:, None], time, axis=1)


def previous_states(problem: NewtonProblem, states: jax.Array) -> jax.Array:
    """Returns the state that each step reads."""
    previous = jnp.concatenate([problem.initial[:, None], states[:, :-1]], axis=1)
    return _reset(problem, previous, problem.resets)


def _reset(problem: NewtonProblem, states: jax.Array, resets: jax.Array | None) -> jax.Array:
    """Replaces states by the reset state where there is a reset."""
    if resets is None:
        return states
    assert problem.reset_state is not None
    reset_state = problem.reset_state if states.ndim == 2 else problem.reset_state[:, None]
    return where_mask(resets, jnp.broadcast_to(reset_state, states.shape), states)


def _advance(step: Step, problem: NewtonProblem, previous: jax.Array) -> jax.Array:
    """Returns the state after each step from the state that it reads."""
    rows, projected = merge_steps(previous), jax.tree.map(merge_steps, problem.projected)
    new = step(problem.params, rows, projected).reshape(previous.shape)
    return where_mask(problem.mask, new, previous)


def _linearize(
    step: Step,
    settings: Settings,
    problem: NewtonProblem,
    states: jax.Array,
    parts: int,
    scale: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Returns the states after each step, and the Jacobians `[batch, time, parts, parts, units]`.

    That of a masked step is the identity, that of a step with a reset zero; the others are scaled.
    """
    previous = previous_states(problem, states)
    new, jacobians = _step_jacobians(step, settings, problem, previous, parts)
    identity = jnp.broadcast_to(_identity(jacobians), jacobians.shape)
    jacobians = where_mask(problem.mask, scale * jacobians, identity)
    if problem.resets is not None:
        jacobians = where_mask(problem.resets, jnp.zeros_like(jacobians), jacobians)
    return where_mask(problem.mask, new, previous), jacobians


def _step_jacobians(
    step: Step, settings: Settings, problem: NewtonProblem, previous: jax.Array, parts: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the same, without masks and resets, from the state that each step reads."""
    projected = jax.tree.map(merge_steps, problem.projected)
    rows = merge_steps(previous)
    new, jvp = jax.linearize(lambda rows: step(problem.params, rows, projected), rows)
    size = previous.shape[-1]
    units = size // parts

    def columns(tangents):
        """Returns the derivatives along tangents [parts, size]: [batch, time, out, in, units]."""
        derivatives = jax.vmap(lambda tangent: jvp(jnp.broadcast_to(tangent[None], rows.shape)))
        columns = derivatives(tangents).reshape(parts, *previous.shape[:2], parts, units)
        return columns.transpose(1, 2, 3, 0, 4)

    identity = jnp.eye(parts, dtype=previous.dtype)
    if parts in (settings.gradient_parts, size):
        jacobians = columns(jnp.repeat(identity, units, axis=1))
    else:

        def block(unit):
            one_hot = (jnp.arange(units) == unit).astype(previous.dtype)
            return columns(jnp.kron(identity, one_hot[None]))[..., unit]

        jacobians = jnp.moveaxis(jax.lax.map(block, jnp.arange(units)), 0, -1)
    return new.reshape(previous.shape), jacobians


def _scan(step: Step, problem: NewtonProblem) -> jax.Array:
    """Returns the state after each step, computed step by step."""

    def body(state, values):
        projected, mask, resets = values
        state = _reset(problem, state, resets)
        state = where_mask(mask, step(problem.params, state, projected), state)
        return state, state

    values = jax.tree.map(_time_first, (problem.projected, problem.mask, problem.resets))
    return _time_first(jax.lax.scan(body, problem.initial, values)[1])


def _solve(
    jacobians: jax.Array, values: jax.Array, cuts: jax.Array | None, reverse: bool = False
) -> jax.Array:
    """Returns x of the recurrence x_t = J_t x_{t-1} + b_t from zero, by an associative scan.

    Args:
      jacobians: `[batch, time, parts, parts, units]`.
      values: b, `[batch, time, parts, units]`.
      cuts: `[batch, time]`, True where J is zero, so that no NaN crosses; None if it nowhere is.
      reverse: from the last step to the first.
    """

    def combine(left, right):
        jacobian, value = _multiply(right[0], left[0]), _apply(right[0], left[1]) + right[1]
        if cuts is None:
            return jacobian, value
        cut = right[2]
        jacobian = where_mask(cut, right[0], jacobian)
        return jacobian, where_mask(cut, right[1], value), cut | left[2]

    elements = (jacobians, values) if cuts is None else (jacobians, values, cuts)
    return jax.lax.associative_scan(combine, elements, reverse=reverse, axis=1)[1]


def _multiply(left: jax.Array, right: jax.Array) -> jax.Array:
    """Returns the products of Jacobians `[..., parts, parts, units]`, a block for each unit."""
    if left.shape[-1] == 1:
        return jnp.matmul(left[..., 0], right[..., 0], precision="highest")[..., None]
    return (left[..., :, :, None, :] * right[..., None, :, :, :]).sum(axis=-3)


def _apply(jacobians: jax.Array, vectors: jax.Array) -> jax.Array:
    """Returns the products of Jacobians and vectors `[..., parts, units]`."""
    if jacobians.shape[-1] == 1:
        return jnp.matmul(jacobians[..., 0], vectors, precision="highest")
    return (jacobians * vectors[..., None, :, :]).sum(axis=-2)


def _identity(jacobians: jax.Array) -> jax.Array:
    """Returns the identity `[1, 1, parts, parts, 1]`."""
    return jnp.eye(jacobians.shape[2], dtype=jacobians.dtype)[None, None, :, :, None]


def _split(states: jax.Array, parts: int) -> jax.Array:
    return states.reshape(*states.shape[:2], parts, -1)


def _merge(states: jax.Array) -> jax.Array:
    return states.reshape(*states.shape[:2], -1)


def merge_steps(values: jax.Array) -> jax.Array:
    """Merges the axes of rows and steps."""
    return values.reshape(-1, *values.shape[2:])


def _time_first(values: jax.Array) -> jax.Array:
    return jnp.swapaxes(values, 0, 1)


def _largest(values: jax.Array) -> jax.Array:
    """Returns the largest absolute value of each row."""
    return jnp.abs(values).max(axis=tuple(range(1, values.ndim)))
