"""A layer run forward and back on random numbers, compiled fast rather than well."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import RNN
from rnnjax.testing.harness import compiler_options

INPUTS = 3


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )


def fast(function: Any) -> Any:
    """Returns a jitted function whose compiling is not optimised: it runs once."""
    return jax.jit(function, compiler_options=compiler_options())


def cotangents(layer: RNN, rows: int, steps: int, mask: np.ndarray | None) -> Any:
    """Returns final state and outputs, and the gradients of everything that the layer reads."""
    inputs = drawn(jax.ShapeDtypeStruct((rows, steps, INPUTS), jnp.float32), 1)
    plain = layer.clone(engine="scan")
    returned, variables = jax.eval_shape(plain.init_with_output, jax.random.key(0), inputs)

    @fast
    def run(mask, *given):
        outputs, pull_back = jax.vjp(
            lambda variables, inputs, state: layer.apply(variables, inputs, mask, state), *given
        )
        return outputs, pull_back(drawn(returned, 4))

    return run(mask, drawn(variables, 2), inputs, drawn(returned[0], 3))


def require_close(found: Any, expected: Any, tolerance: float) -> None:
    """Fails unless two trees have the same dtypes, and values but for rounding."""

    def compare(one, other):
        assert one.dtype == other.dtype
        one, other = (np.asarray(each, np.float32) for each in (one, other))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, found, expected)
    assert all(np.asarray(leaf, np.float32).any() for leaf in jax.tree.leaves(expected))
