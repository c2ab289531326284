"""Results and gradients of a layer on random arrays, compiled without optimisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import RNN
from rnnjax.testing.harness import compiler_options

INPUTS = 3


def random_like(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )


def jit_fast(function: Any) -> Any:
    """Returns a jitted function compiled without optimisation, to run once."""
    return jax.jit(function, compiler_options=compiler_options())


def run_with_gradients(layer: RNN, rows: int, steps: int, mask: np.ndarray | None) -> Any:
    """Returns final state and outputs, and the gradients of everything that the layer reads."""
    inputs = random_like(jax.ShapeDtypeStruct((rows, steps, INPUTS), jnp.float32), 1)
    scan_layer = layer.clone(engine="scan")
    returned, variables = jax.eval_shape(scan_layer.init_with_output, jax.random.key(0), inputs)

    @jit_fast
    def run(mask, *arguments):
        outputs, pull_back = jax.vjp(
            lambda variables, inputs, state: layer.apply(variables, inputs, mask, state), *arguments
        )
        return outputs, pull_back(random_like(returned, 4))

    return run(mask, random_like(variables, 2), inputs, random_like(returned[0], 3))


def require_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Fails unless two trees have the same dtypes, and values but for rounding."""

    def compare(actual_leaf, expected_leaf):
        assert actual_leaf.dtype == expected_leaf.dtype
        actual_leaf, expected_leaf = (
            np.asarray(leaf, np.float32) for leaf in (actual_leaf, expected_leaf)
        )
        np.testing.assert_allclose(actual_leaf, expected_leaf, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, actual, expected)
    assert all(np.asarray(leaf, np.float32).any() for leaf in jax.tree.leaves(expected))
