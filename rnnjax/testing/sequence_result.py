"""Arguments and results of one forward and backward pass, and the tolerance for rounding."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.testing.assertions import named_leaves


class SequenceArguments(NamedTuple):
    """Arguments of a forward and backward pass.

    The cotangents are those of (final state, outputs). The key is of the rng stream 'dropout';
    None makes the pass an evaluation.
    """

    variables: Any
    inputs: np.ndarray
    state: Any
    cotangents: Any
    key: Any = None


class SequenceResult(NamedTuple):
    """Final state and outputs, and the gradients of the arguments; None for parts not compared."""

    final: Any = None
    outputs: Any = None
    parameters: Any = None
    inputs: Any = None
    state: Any = None

    def leaves(self) -> dict[str, Any]:
        """Returns the leaves by the names that errors display."""
        parameters = self.parameters
        if isinstance(parameters, dict):
            parameters = parameters.get("params", {}).get("cell", parameters)
        return named_leaves(
            {
                "final state": self.final,
                "outputs": self.outputs,
                "gradient of parameters": parameters,
                "gradient of inputs": self.inputs,
                "gradient of initial state": self.state,
            }
        )

    def values(self) -> "SequenceResult":
        """Returns final state and outputs without the gradients."""
        return SequenceResult(self.final, self.outputs)

    def gradients(self) -> "SequenceResult":
        """Returns the gradients without final state and outputs."""
        return self._replace(final=None, outputs=None)

    def rows(self, rows: Any) -> "SequenceResult":
        """Selects rows of the batch; gradients of parameters sum over rows and are dropped."""
        return SequenceResult(
            *jax.tree.map(lambda leaf: leaf[rows], self._replace(parameters=None))
        )


def dropout_rngs(key: Any) -> dict[str, Any] | None:
    """Returns the `rngs` argument of `apply` for a dropout key; None for an evaluation."""
    return None if key is None else {"dropout": key}


def differentiable_leaves(tree: Any) -> Any:
    """Replaces the leaves that have no derivative by None."""
    return jax.tree.map(lambda leaf: leaf if _is_differentiable(leaf) else None, tree)


def merge_leaves(partial: Any, complete: Any) -> Any:
    """Fills the None leaves of a tree with those of another."""
    return jax.tree.map(
        lambda leaf, default: default if leaf is None else leaf,
        partial,
        complete,
        is_leaf=lambda leaf: leaf is None,
    )


def estimate_tolerances(
    run: Callable[[SequenceArguments], SequenceResult],
    arguments: SequenceArguments,
    epsilon: float,
    factor: float,
) -> dict[str, float]:
    """Estimates the rounding error of each leaf of a result in a precision.

    Two correct programs differ as if their arguments had been rounded differently. So the run is
    repeated four times with all arguments perturbed by an epsilon, up or down at random: the
    change of the result measures how much this cell, at these numbers, amplifies a rounding. An
    epsilon of the largest value is added for the last rounding.

    Args:
      run: computes the result.
      arguments: of the run.
      epsilon: of the precision.
      factor: multiple of that error, since a program rounds more than its arguments. The correct
        cells of this package, of flax and of the tests need 1 in float32, and less in bfloat16.
    """
    result = run(arguments).leaves()
    change = dict.fromkeys(result, 0.0)
    rng = np.random.default_rng(5)
    for _ in range(4):
        perturbed = jax.tree.map(functools.partial(_perturb, rng=rng, epsilon=epsilon), arguments)
        for name, leaf in run(perturbed).leaves().items():
            if _is_differentiable(leaf):
                difference = np.abs(_widen(leaf) - _widen(result[name]))
                change[name] = max(change[name], float(difference.max(initial=0.0)))
    return {
        name: factor * (change[name] + epsilon * float(np.abs(_widen(leaf)).max(initial=0.0)))
        for name, leaf in result.items()
        if _is_differentiable(leaf)
    }


def layer_variables(variables: Any) -> Any:
    """Nests the variables of a cell as in the layer that runs it."""
    return {collection: {"cell": values} for collection, values in variables.items()}


def with_gradients(apply: Callable) -> Callable:
    """Returns a function that runs `apply` and its vector-Jacobian product.

    Leaves of the state without derivative (counters) are passed through.
    """

    def run(variables, inputs, mask, state, cotangents, *rest):
        def differentiable(variables_, inputs_, state_):
            final, outputs = apply(
                merge_leaves(variables_, variables),
                inputs_,
                mask,
                merge_leaves(state_, state),
                *rest,
            )
            return (differentiable_leaves(final), outputs), final

        (_, outputs), vjp, final = jax.vjp(
            differentiable,
            differentiable_leaves(variables),
            inputs,
            differentiable_leaves(state),
            has_aux=True,
        )
        cotangents = jax.tree.map(
            lambda leaf, primal: leaf.astype(primal.dtype),
            cotangents,
            (differentiable_leaves(final), outputs),
        )
        return SequenceResult(final, outputs, *vjp(cotangents))

    return run


def _is_differentiable(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _perturb(leaf: Any, rng: np.random.Generator, epsilon: float) -> Any:
    if not _is_differentiable(leaf):
        return leaf
    signs = rng.choice([-1.0, 1.0], size=leaf.shape)
    return np.asarray(leaf * (1 + epsilon * signs)).astype(leaf.dtype)


def _widen(leaf: Any) -> np.ndarray:
    return np.asarray(leaf).astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)
