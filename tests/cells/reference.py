"""Compares cells with the equations of their papers, written in NumPy."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import RNN

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 6
MASK = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "...####", "#.##.#.", ".......")
    ]
)
"""No padding, right padding, left padding, holes, and a row without a valid step."""

ZERO_KERNELS: Any = dict.fromkeys(("kernel_init", "recurrent_init"), nn.initializers.zeros)
"""Initializers for tests of biases alone: an orthogonal matrix takes long to compile."""


def random_like(shapes: Any, seed: int, scale: float = 0.6) -> Any:
    """Returns a tree of normal arrays of these shapes and dtypes, complex ones included."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        real, imaginary = scale * rng.standard_normal((2, *leaf.shape))
        is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        return (real + 1j * imaginary if is_complex else real).astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


def initial_params(cell: Any, inputs: int = INPUTS) -> Any:
    """Returns the parameters of a new cell, in NumPy arrays."""
    init = jax.jit(functools.partial(cell.init, method="project"))
    params = init(jax.random.key(0), jnp.zeros((1, inputs)))["params"]
    return jax.tree.map(np.asarray, params)


def random_sequence(cell: Any, inputs: int = INPUTS, image: tuple[int, ...] = ()) -> Any:
    """Returns random variables, inputs and an initial state of a layer of the cell."""
    x = random_like(jax.ShapeDtypeStruct((ROWS, TIME, *image, inputs), cell.param_dtype), 1)
    returned, variables = jax.eval_shape(RNN(cell).init_with_output, jax.random.key(0), x)
    return random_like(variables, 2), x, random_like(returned[0], 3)


def state_parts(state: Any) -> tuple[np.ndarray, ...]:
    """Returns the arrays of a state, in double precision."""
    return tuple(to_double(leaf) for leaf in jax.tree.leaves(state))


def to_double(leaf: Any) -> np.ndarray:
    """Converts an array to float64, or to complex128 if it is complex."""
    leaf = np.asarray(leaf)
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def run_equations(
    equations: Callable[..., Any],
    cell: Any,
    params: Any,
    state: tuple[np.ndarray, ...],
    x: np.ndarray,
    mask: np.ndarray,
    reverse: bool = False,
) -> Any:
    """Runs equations over the valid steps, in double precision.

    Args:
      equations: from the cell, its parameters, the arrays of its state and the inputs of a step to
        the new arrays of the state and the output.
      cell: whose attributes the equations read.
      params: of the cell.
      state: the initial one.
      x: `[rows, time, ...]`.
      mask: `[rows, time]`, True where a step is valid.
      reverse: whether the last step is the first to be read.

    Returns:
      The final state and the outputs.
    """
    params = jax.tree.map(to_double, params)
    outputs: list[Any] = [None] * x.shape[1]
    for time in sorted(range(x.shape[1]), reverse=reverse):
        new, output = equations(cell, params, state, to_double(x[:, time]))

        def select(value, default, time=time):
            valid = mask[:, time].reshape(-1, *[1] * (value.ndim - 1))
            return np.where(valid, value, default)

        state = tuple(select(*pair) for pair in zip(new, state, strict=True))
        outputs[time] = select(output, 0.0)
    return state, np.stack(outputs, axis=1)


def assert_matches_equations(
    cell: Any,
    equations: Callable[..., Any],
    inputs: int = INPUTS,
    image: tuple[int, ...] = (),
    state: Any = None,
    parts: Callable[[Any], tuple[np.ndarray, ...]] = state_parts,
    tolerance: float = 1e-6,
) -> None:
    """Fails unless both directions of the scan equal the equations under a ragged mask.

    Args:
      cell: the cell.
      equations: as `run_equations` takes them.
      inputs: number of input features.
      image: axes between time and features.
      state: initial state; random by default.
      parts: converts a state of the cell to that of the equations.
      tolerance: absolute, for values up to 1, and relative to larger ones.
    """
    variables, x, random_state = random_sequence(cell, inputs, image)
    state = random_state if state is None else state
    params = variables["params"]["cell"]

    @jax.jit
    def run(variables, x, state):
        layers = [RNN(cell, reverse, engine="scan") for reverse in (False, True)]
        return [layer.apply(variables, x, MASK, state) for layer in layers]

    masked_nan = x.copy()
    masked_nan[~MASK] = np.nan
    results: Any = run(variables, masked_nan, state)
    for reverse, (final, outputs) in zip((False, True), results, strict=True):
        expected_final, expected = run_equations(
            equations, cell, params, parts(state), x, MASK, reverse
        )
        for actual, desired in zip(
            (*parts(final), outputs), (*expected_final, expected), strict=True
        ):
            assert_close(actual, desired, tolerance)


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Fails unless arrays agree up to rounding relative to the largest value, or to 1."""
    largest = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Fails unless the quantiles of many values are those of the uniform distribution."""
    assert values.min() >= low
    assert values.max() <= high
    expected = np.linspace(low, high, values.size)
    np.testing.assert_allclose(np.sort(values, axis=None), expected, atol=0.05 * (high - low))


def assert_positive_option(cell: Any) -> None:
    """Fails unless `positive` keeps the outputs of a positive state at zero or above."""
    variables, x, state = random_sequence(cell)
    for positive, lowest in ((False, -0.1), (True, 0)):
        layer = RNN(cell.clone(positive=positive))
        _, outputs = jax.jit(layer.apply)(variables, 5 * x, None, abs(state))
        assert (outputs.min() > lowest) == positive
