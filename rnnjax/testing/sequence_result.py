"""What a run reads and returns, its gradients, and how far rounding may move them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.testing.comparison import named


class SequenceInputs(NamedTuple):
    """What a run reads, and what is pulled back through it: (final state, outputs).

    The key is of the rng stream 'dropout'; None makes the run an evaluation.
    """

    variables: Any
    inputs: np.ndarray
    state: Any
    cotangents: Any
    key: Any = None


class SequenceResult(NamedTuple):
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

    def rows(self, rows: Any) -> "SequenceResult":
        """Returns some rows; the gradients of parameters are of all rows, and left out."""
        picked = jax.tree.map(lambda leaf: leaf[rows], self._replace(parameters=None))
        return SequenceResult(*picked)


def stream_of(key: Any) -> dict[str, Any] | None:
    """Returns the rng streams of a run with a key; None for an evaluation."""
    return None if key is None else {"dropout": key}


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


def allowance(
    run: Callable[[SequenceInputs], SequenceResult],
    given: SequenceInputs,
    epsilon: float,
    times: float,
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
        this package, of flax and of the tests need 1 in float32, and less in bfloat16.
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

    Leaves of the state that are no numbers of the calculus (counters) pass by.
    """

    def run(variables, inputs, mask, state, cotangents, *rest):
        def differentiable(variables_, inputs_, state_):
            final, outputs = apply(
                joined(variables_, variables), inputs_, mask, joined(state_, state), *rest
            )
            return (moving(final), outputs), final

        (_, outputs), pull_back, final = jax.vjp(
            differentiable, moving(variables), inputs, moving(state), has_aux=True
        )
        cotangents = jax.tree.map(
            lambda leaf, like: leaf.astype(like.dtype), cotangents, (moving(final), outputs)
        )
        return SequenceResult(final, outputs, *pull_back(cotangents))

    return run


def _differentiable(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _shaken(leaf: Any, rng: np.random.Generator, epsilon: float) -> Any:
    if not _differentiable(leaf):
        return leaf
    signs = rng.choice([-1.0, 1.0], size=leaf.shape)
    return np.asarray(leaf * (1 + epsilon * signs)).astype(leaf.dtype)


def _wide(leaf: Any) -> np.ndarray:
    return np.asarray(leaf).astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)
