"""A cell run over time under a mask."""

import functools
import math
from collections.abc import Iterable
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rnnjax.cells import AbstractCell, Cell, LinearCell, State
from rnnjax.cells.base import INTERNALS, is_recording, record_internal, state_parts
from rnnjax.errors import InputError
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.layers.validation import default_state, require_arrays, require_cell, validated_state

Engine = Literal["auto", "scan", "fused", "pallas", "cudnn", "associative"]

WHOLE = ("fused", "pallas", "cudnn")
"""The engines that are a method of the cell, for sequences as a whole."""

_AT_ONCE = 8 * 2**20
"""Bytes of the states of all steps up to which a CPU's caches hold a sequence well enough."""
_ROWS = 512
"""Steps times batch that are run at a time where they do not."""


class RNN(nn.Module):
    """Runs a cell over the time steps of a batch of sequences.

    A masked step holds the state and outputs zero, and nothing that stands at a masked position
    can reach a result or a gradient, not even NaN. A row with no real step returns its initial
    state. It does not matter where in a row the masked steps are: right-padded rows are read from
    right to left as they stand, with no flipping, because the state is held through the padding.

    What a cell draws at random (dropout) comes from the rng stream 'dropout'; a call that is given
    none is an evaluation.

    Called with the state that a call has returned, it goes on where that one ended: a sequence may
    be read in pieces, down to single steps.

    `layer.apply(variables, inputs, mask, mutable="inside")` returns, beside what it returns without
    that, the collection 'inside': 'state', the state after each step, [batch, time, ...], and under
    'cell' the gates that the cell names, [batch, time, features]. Such a call is run by the engine
    'scan' and keeps all that it shows. At a masked step the state is held, and a gate says nothing:
    it is what the cell would do with an input of zeros.

    Attributes:
      cell: a `rnnjax.cells.Cell`, or a cell written for flax (`nn.LSTMCell(64)`, say).
      reverse: read from the last step to the first. Outputs stay at the positions of their inputs.
      return_sequences: return the outputs of all steps; otherwise only the output of the real step
        that was read last.
      engine: how the steps are computed; the results agree within rounding. 'scan' is flax's
        `nn.scan`: any cell, any derivative. 'fused' is a derivative written by hand, for the cells
        that have one, reverse mode only. 'pallas' is a kernel for an NVIDIA GPU, the whole sequence
        in one launch, for the LSTM and the GRU of few features; a CPU interprets it, slowly.
        'cudnn' is NVIDIA's library, for the LSTM in float32. 'associative' is a parallel scan, for
        a `LinearCell`. 'auto' takes 'fused' where the cell has it and the machine is of a kind on
        which it was measured to win: a CPU; the two for GPUs it never takes, not yet measured.
      remat: keep no more for the derivative than the states at some sqrt(time) steps, and compute
        each stretch between two of them once more when its gradient is asked for. The memory of the
        gradient, beside inputs and outputs, then grows with the square root of time, and the
        forward pass is paid twice. Chen et al., Training deep nets with sublinear memory cost,
        2016, arXiv:1604.06174. What is drawn at each step is drawn from other keys.
    """

    cell: nn.Module
    reverse: bool = False
    return_sequences: bool = True
    engine: Engine = "auto"
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time *features"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: State | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[State, Float[Array, "batch ..."]]:
        """Returns the final state and the outputs.

        Args:
          inputs: `[batch, time, features]`; a cell may take more than one axis of features.
          mask: `[batch, time]`, True where the step is real; None if all are.
          initial_state: a state of the cell for each row, whose named tuples may be plain ones;
            None for the cell's own.
          resets: `[batch, time]`, True at the first step of each document of a row that holds
            several: the documents are then read as if each had a row of its own, in either
            direction. The first needs none; one at a masked step counts from there on. The
            'scan' engine alone has them.

        Returns:
          The state after the last step, and the outputs `[batch, time, features]`, with
          `return_sequences=False` `[batch, features]`, zeros for a row with no real step.

        Raises:
          InputError: the cell is none, or does not have the engine, or the machine, or the engine
            does not have the size or the dtype, or the shapes or the mask's dtype are not as above.
        """
        require_cell(self.cell)
        asked = "scan" if is_recording(self) else self.engine
        engine = _engine(asked, self.cell, resets is not None)
        require_arrays(inputs, mask=mask, resets=resets)
        if initial_state is None:
            initial_state = default_state(self.cell, inputs)
        else:
            initial_state = validated_state(self.cell, inputs, initial_state)
        if resets is not None and self.reverse:
            # The step read before a document's last one begins the next document.
            resets = jnp.pad(resets[:, 1:], ((0, 0), (0, 1)))
        fresh = None if resets is None else default_state(self.cell, inputs)
        size = self._stretch(engine, inputs, initial_state)
        if size == inputs.shape[1]:
            return self._run(engine, inputs, mask, initial_state, resets, fresh)
        return self._in_stretches(size, engine, inputs, mask, initial_state, resets, fresh)

    def _stretch(self, engine, inputs, state):
        """Returns how many steps are run at a time; all of them where nothing speaks against it."""
        batch, time = inputs.shape[:2]
        if self.remat and not is_recording(self):
            return math.isqrt(time)
        if engine != "fused" or jax.default_backend() != "cpu":
            return time
        states = time * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        return time if states <= _AT_ONCE else min(max(_ROWS // batch, 4), time)

    def _run(self, engine, inputs, mask, state, resets, fresh):
        # Before the cell, not only after it: zero times NaN would be NaN in the gradient.
        inputs = zero_masked(inputs, mask)
        if engine in WHOLE:
            final, outputs = self._whole(engine, inputs, mask, state)
        elif engine == "associative":
            final, outputs = self._associative(inputs, mask, state)
        else:
            final, outputs = self._scan(inputs, mask, state, resets, fresh)
        if self.return_sequences:
            return final, outputs
        part = getattr(self.cell, "output_part", None)
        if part is None or resets is not None:  # a reset may stand behind the last real step
            return final, _last(outputs, mask, self.reverse)
        # It stands in the state: the outputs of the other steps need not be gathered.
        output = state_parts(final)[part].astype(outputs.dtype)
        return final, output if mask is None else zero_masked(output, mask.any(axis=1))

    def _in_stretches(self, size, engine, inputs, mask, state, resets, fresh):
        count, rest = divmod(inputs.shape[1], size)

        def stretch(layer, state, start, size):
            # Cut out here: cut up beforehand, the inputs would be there twice.
            def cut(values):
                if values is None:
                    return None
                return jax.lax.dynamic_slice_in_dim(values, start, size, axis=1)

            return layer._run(engine, cut(inputs), cut(mask), state, cut(resets), fresh)

        def of(size):
            run = functools.partial(stretch, size=size)
            return nn.remat(run, prevent_cse=False) if self.remat else run

        def last(state):
            return of(rest)(self, state, count * size)

        even = nn.scan(
            of(size),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            out_axes=1,
            reverse=self.reverse,
        )
        late = None
        if rest and self.reverse:
            state, late = last(state)
        state, outputs = even(self, state, size * jnp.arange(count))
        if rest and not self.reverse:
            state, late = last(state)
        if self.return_sequences:
            outputs = outputs.reshape(outputs.shape[0], count * size, *outputs.shape[3:])
            return state, outputs if late is None else jnp.concatenate([outputs, late], axis=1)
        if late is not None:
            outputs = jnp.concatenate([outputs, late[:, None]], axis=1)
        if mask is not None:
            starts = size * np.arange(outputs.shape[1])
            mask = jnp.logical_or.reduceat(mask, starts, axis=1)
        return state, _last(outputs, mask, self.reverse)

    def _whole(self, engine, inputs, mask, state):
        assert isinstance(self.cell, AbstractCell)
        given = inputs if engine == "cudnn" else self.cell.project(inputs)
        try:
            return getattr(self.cell, engine)(state, given, mask, self.reverse)
        except TypeError as error:
            if "forward-mode" not in str(error):  # as jax.custom_vjp calls what it cannot do
                raise
            raise InputError(
                f"engine: given {self.engine!r}, which runs {engine!r} here, a derivative written "
                "by hand for reverse mode (jax.grad) alone; for jax.jvp or jax.jacfwd "
                "take engine='scan'"
            ) from error

    def _associative(self, inputs, mask, state):
        assert isinstance(self.cell, LinearCell)
        projected = self.cell.project(inputs)
        a, b = self.cell.coefficients(projected)
        a, b = where_mask(mask, a, jnp.ones_like(a)), zero_masked(b, mask)
        first, last = (-1, 0) if self.reverse else (0, -1)
        b = b.at[:, first].add(a[:, first] * state)

        def both(one, other):
            return one[0] * other[0], one[1] * other[0] + other[1]

        _, states = jax.lax.associative_scan(both, (a, b), reverse=self.reverse, axis=1)
        return states[:, last], zero_masked(self.cell.read(states, projected), mask)

    def _scan(self, inputs, mask, state, resets, fresh):
        native, shown = isinstance(self.cell, AbstractCell), is_recording(self)
        steps = self.cell.project(inputs) if native else inputs

        def body(cell, state, at):
            step, counts, reset = at
            if reset is not None:
                state = _held(reset, fresh, state)
            new, output = cell.step(state, step) if native else cell(state, step)
            state = _held(counts, new, state)
            return state, (zero_masked(output, counts), state if shown else None)

        scan = nn.scan(
            body,
            variable_axes={INTERNALS: 1},
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
        )
        final, (outputs, states) = scan(self.cell, state, (steps, mask, resets))
        record_internal(self, "state", states)
        return final, outputs


def available_engines(cell: nn.Module) -> tuple[str, ...]:
    """Returns the engines that a cell has: 'scan', and those for which it gives what they need."""
    found = ["scan"]
    of_step = ("project", "step", "recurrent_product", "dropped", "gate")
    if isinstance(cell, AbstractCell) and cell.fusible:
        found += [engine for engine in WHOLE if _overrides(cell, engine, of_step)]
    if _overrides(cell, "coefficients", ("step",)):
        found.append("associative")
    return tuple(found)


def _overrides(cell: nn.Module, method: str, others: Iterable[str]) -> bool:
    """Returns whether a class gives a method itself, for the very other methods that it has.

    A subclass with a step of its own is another cell; a fused that it inherits knows nothing of it.
    """
    classes = [each for each in type(cell).__mro__ if each not in (AbstractCell, Cell, LinearCell)]

    def depth(name: str) -> int:
        found = (index for index, each in enumerate(classes) if name in vars(each))
        return next(found, len(classes))

    return depth(method) < len(classes) and depth(method) <= min(map(depth, others))


def _engine(asked: str, cell: nn.Module, resets: bool) -> str:
    if asked not in get_args(Engine):
        raise InputError(f"engine: given {asked!r}, expected one of {', '.join(get_args(Engine))}")
    offered = ("scan",) if resets else available_engines(cell)
    if asked == "auto":
        return "fused" if "fused" in offered and jax.default_backend() == "cpu" else "scan"
    if asked not in offered:
        with_resets = " with resets" if resets else ""
        raise InputError(
            f"engine: given {asked!r}, and {type(cell).__name__} has {', '.join(offered)}"
            f"{with_resets}; expected one of these, or 'auto'"
        )
    return asked


def _held(mask: jax.Array | None, new: State, old: State) -> State:
    """Returns the new state in the rows where the mask is True, and the old one elsewhere."""
    return jax.tree.map(functools.partial(where_mask, mask), new, old)


def _last(outputs: jax.Array, mask: jax.Array | None, reverse: bool) -> jax.Array:
    """Returns for each row the output of the real step that was read last."""
    if mask is None:
        return outputs[:, 0 if reverse else -1]
    time = mask.shape[1]
    index = jnp.argmax(mask, axis=1) if reverse else time - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    # A row with no real step picks any of its outputs: they are all zero.
    index = index.reshape((-1, 1) + (1,) * (outputs.ndim - 2))
    return jnp.take_along_axis(outputs, index, axis=1)[:, 0]
