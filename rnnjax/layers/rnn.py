"""A cell run over time under a mask."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import Cell, State
from rnnjax.errors import InputError

Engine = Literal["auto", "scan", "fused"]


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
      engine: how the steps are computed; the results agree within rounding. 'scan' is flax's
        `nn.scan`: any cell, any derivative. 'fused' is a derivative written by hand, for the cells
        that have one, reverse mode only. 'auto' takes 'fused' where the cell has it and the
        machine is of a kind on which it was measured to win: a CPU.
    """

    cell: nn.Module
    reverse: bool = False
    return_sequences: bool = True
    engine: Engine = "auto"

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
          InputError: the cell is none, or does not have the engine, or the shapes or the mask's
            dtype are not as above.
        """
        require_cell(self.cell)
        engine = _engine(self.engine, self.cell)
        _check(inputs, mask)
        if mask is not None:
            # Before the cell, not only after it: zero times NaN would be NaN in the gradient.
            inputs = jnp.where(_align(mask, inputs), inputs, jnp.zeros_like(inputs))
        if initial_state is None:
            initial_state = _initial_state(self.cell, inputs)
        run = self._fused if engine == "fused" else self._scan
        final, outputs = run(inputs, mask, initial_state)
        if not self.return_sequences:
            outputs = _last(outputs, mask, self.reverse)
        return final, outputs

    def _fused(self, inputs, mask, state):
        assert isinstance(self.cell, Cell)
        return self.cell.fused(state, self.cell.project(inputs), mask, self.reverse)

    def _scan(self, inputs, mask, state):
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
        return scan(self.cell, state, (steps, mask))


def require_cell(cell: Any) -> None:
    """Raises an InputError if this is no recurrent cell."""
    if not isinstance(cell, Cell | nn.RNNCellBase):
        raise InputError(
            f"cell is a {type(cell).__name__}; expected a rnnjax.cells.Cell or a flax RNN cell, as "
            "an instance: LSTMCell(64), not LSTMCell"
        )


def _engine(asked: str, cell: nn.Module) -> str:
    if asked not in get_args(Engine):
        raise InputError(f"engine: given {asked!r}, expected one of {', '.join(get_args(Engine))}")
    if asked == "auto":
        return "fused" if _has_fused(cell) and jax.default_backend() == "cpu" else "scan"
    if asked == "fused" and not _has_fused(cell):
        raise InputError(
            f"engine: given 'fused', which {type(cell).__name__} does not have; expected 'auto' or "
            "'scan', or a cell whose class defines the method fused beside step"
        )
    return asked


def _has_fused(cell: nn.Module) -> bool:
    """Returns whether a cell gives `fused`, and for the very step that it has."""
    if not isinstance(cell, Cell):
        return False

    def depth(method: str) -> int:
        classes = type(cell).__mro__
        return next(index for index, each in enumerate(classes) if method in vars(each))

    # A subclass with a step of its own is another cell; an inherited fused knows nothing of it.
    steps = (depth(method) for method in ("project", "step", "recurrent_product"))
    return depth("fused") <= min(steps)


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
