"""A cell run over time under a mask."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import Cell, State
from rnnjax.errors import InputError


class RNN(nn.Module):
    """Runs a cell over the time steps of a batch of sequences.

    A masked step holds the state and outputs zero, and nothing that stands at a masked position
    can reach a result or a gradient, not even NaN. A row with no real step returns its initial
    state. It does not matter where in a row the masked steps are: right-padded rows are read from
    right to left as they stand, with no flipping, because the state is held through the padding.

    Attributes:
      cell: a `rnnjax.cells.Cell`, or a cell written for flax (`nn.LSTMCell(64)`, say).
      reverse: read from the last step to the first. Outputs stay at the positions of their inputs.
      return_sequences: return the outputs of all steps; otherwise only the output of the real step
        that was read last.
    """

    cell: nn.Module
    reverse: bool = False
    return_sequences: bool = True

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time *features"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: State | None = None,
    ) -> tuple[State, Float[Array, "batch ..."]]:
        """Returns the final state and the outputs.

        Args:
          inputs: `[batch, time, features]`; a cell may take more than one axis of features.
          mask: `[batch, time]`, True where the step is real; None if all are.
          initial_state: a state of the cell for each row; None for the cell's own.

        Returns:
          The state after the last step, and the outputs `[batch, time, features]`, with
          `return_sequences=False` `[batch, features]`, zeros for a row with no real step.

        Raises:
          InputError: the cell is none, or the shapes or the mask's dtype are not as above.
        """
        require_cell(self.cell)
        _check(inputs, mask)
        if mask is not None:
            # Before the cell, not only after it: zero times NaN would be NaN in the gradient.
            inputs = jnp.where(_align(mask, inputs), inputs, jnp.zeros_like(inputs))
        if initial_state is None:
            initial_state = _initial_state(self.cell, inputs)
        native = isinstance(self.cell, Cell)
        steps = self.cell.project(inputs) if native else inputs

        def body(cell, state, at):
            step, real = at
            new, output = cell.step(state, step) if native else cell(state, step)
            if real is None:
                return new, output
            new = jax.tree.map(lambda n, old: jnp.where(_align(real, n), n, old), new, state)
            return new, jnp.where(_align(real, output), output, jnp.zeros_like(output))

        scan = nn.scan(
            body,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
        )
        final, outputs = scan(self.cell, initial_state, (steps, mask))
        if not self.return_sequences:
            outputs = _last(outputs, mask, self.reverse)
        return final, outputs


def require_cell(cell: Any) -> None:
    """Raises an InputError if this is no recurrent cell."""
    if not isinstance(cell, Cell | nn.RNNCellBase):
        raise InputError(
            f"cell is a {type(cell).__name__}; expected a rnnjax.cells.Cell or a flax RNN cell, as "
            "an instance: LSTMCell(64), not LSTMCell"
        )


def _check(inputs: jax.Array, mask: jax.Array | None) -> None:
    if inputs.ndim < 3:
        raise InputError(
            f"inputs have the shape {inputs.shape}; expected [batch, time, features], so add the "
            "axis that is missing (inputs[None] for a single sequence)"
        )
    if mask is None:
        return
    if mask.dtype != jnp.bool_:
        raise InputError(
            f"mask has the dtype {mask.dtype}; expected bool, True where the step is real "
            "(mask.astype(bool) where ones are real)"
        )
    if mask.shape != inputs.shape[:2]:
        raise InputError(
            f"mask has the shape {mask.shape}; expected [batch, time] = {inputs.shape[:2]}, as the "
            "inputs have"
        )


def _align(mask: jax.Array, values: jax.Array) -> jax.Array:
    """Adds axes to the mask until it broadcasts against values that begin with its own axes."""
    return mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))


def _initial_state(cell: nn.Module, inputs: jax.Array) -> State:
    if isinstance(cell, Cell):
        return cell.initial_state(inputs.shape[:1])
    assert isinstance(cell, nn.RNNCellBase)
    # flax's cells ask for a key; it is fixed because an initial state is no parameter.
    return cell.initialize_carry(jax.random.key(0), inputs.shape[:1] + inputs.shape[2:])


def _last(outputs: jax.Array, mask: jax.Array | None, reverse: bool) -> jax.Array:
    """Returns for each row the output of the real step that was read last."""
    if mask is None:
        return outputs[:, 0 if reverse else -1]
    time = mask.shape[1]
    index = jnp.argmax(mask, axis=1) if reverse else time - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    # A row with no real step picks any of its outputs: they are all zero.
    index = index.reshape((-1, 1) + (1,) * (outputs.ndim - 2))
    return jnp.take_along_axis(outputs, index, axis=1)[:, 0]
