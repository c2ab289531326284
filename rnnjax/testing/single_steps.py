"""The oracle of larger batches: single steps of single rows, in one program for all sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import is_broadcast
from rnnjax.testing.assertions import to_numpy
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.mask_patterns import align_axes
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    layer_variables,
    with_gradients,
)

SHORT = 8
"""Steps of the program for short sequences."""


def single_steps(case: CheckCase) -> SequenceResult:
    """Returns the oracle: a scan over steps of one row, for each row of the batch."""
    key = ("single steps", case.reverse, case.mask.shape, case.mask.tobytes())
    return case.harness.cached(
        key, lambda: run_single_steps(case, case.arguments, case.mask, case.reverse)
    )


def run_single_steps(
    case: CheckCase,
    arguments: SequenceArguments,
    mask: np.ndarray,
    reverse: bool,
    resets: np.ndarray | None = None,
) -> SequenceResult:
    """Runs single steps of single rows under a mask.

    One program runs all short sizes and one all sizes: a row or step beyond a batch is masked, and
    the cell reads one row of one step in any case.

    Args:
      case: of the cell.
      arguments: of the layer.
      mask: `[rows, steps]`.
      reverse: whether the last step is the first to be read.
      resets: `[rows, steps]`, True at the first step of a document; None if there is one a row.
    """
    adapter, (rows, steps) = case.adapter, mask.shape
    most_rows, most_steps = map(max, zip(*adapter.sizes, mask.shape, strict=True))
    if steps <= SHORT:
        most_steps = SHORT
    order = slice(None, None, -1 if reverse else 1)
    step_rows = vmap_single_rows(adapter.step, 2)

    def apply(variables, inputs, mask, state, begins):
        initial = None if begins is None else adapter.initial_state(variables, (1,))

        def body(state, values):
            inputs, real, begin = values
            if begin is not None:
                state = jax.tree.map(
                    lambda first, old: jnp.where(align_axes(begin, old), first, old), initial, state
                )
            new, output = step_rows(variables, state, inputs)
            state = jax.tree.map(
                lambda new, old: jnp.where(align_axes(real, new), new, old), new, state
            )
            return state, jnp.where(align_axes(real, output), output, jnp.zeros_like(output))

        steps = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (inputs, mask, begins))
        final, outputs = jax.lax.scan(body, state, steps)
        return final, outputs.swapaxes(0, 1)

    run = case.harness.compiled(
        ("single steps", most_rows, most_steps), lambda: with_gradients(apply)
    )

    def pad(leaf):
        """Pads the steps at the end of the order in which they are read."""
        padding = [(0, most_rows - rows), (0, most_steps - steps)] + [(0, 0)] * (leaf.ndim - 2)
        return np.pad(leaf[:, order], padding)

    def pad_rows(leaf):
        return np.pad(leaf, [(0, most_rows - rows)] + [(0, 0)] * (leaf.ndim - 1), mode="edge")

    def crop(leaf):
        return leaf[:rows, :steps][:, order]

    def pad_zeros(leaf):
        return np.pad(leaf, [(0, most_rows - rows)] + [(0, 0)] * (leaf.ndim - 1))

    final, outputs = arguments.cotangents
    variables = {name: values["cell"] for name, values in arguments.variables.items()}
    inputs = np.where(align_axes(mask, arguments.inputs), arguments.inputs, np.float32(0))
    if resets is not None and reverse:
        # A document is then read from its last step, the one before the next document's first.
        resets = np.pad(resets[:, 1:], ((0, 0), (0, 1)))
    result = to_numpy(
        run(
            variables,
            pad(inputs),
            pad(mask),
            jax.tree.map(pad_rows, arguments.state),
            (jax.tree.map(pad_zeros, final), pad(outputs)),
            None if resets is None else pad(resets),
        )
    )
    return SequenceResult(
        first_rows(result.final, rows),
        crop(result.outputs),
        layer_variables(result.parameters),
        crop(result.inputs),
        first_rows(result.state, rows),
    )


def vmap_single_rows(function: Any, count: int) -> Any:
    """Returns a function of variables and batches that sees batches of one row only."""

    def single(variables, *rows):
        result = function(variables, *jax.tree.map(lambda leaf: leaf[None], rows))
        return jax.tree.map(
            lambda leaf: leaf if is_broadcast(leaf) else leaf[0], result, is_leaf=is_broadcast
        )

    return jax.vmap(single, in_axes=(None, *[0] * count))


def first_rows(tree: Any, rows: int) -> Any:
    """Returns the first rows of each array of a tree."""
    return jax.tree.map(lambda leaf: leaf[:rows], tree)
