"""The recurrent layer: a cell run over time under a mask."""

import contextlib
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim
from jaxtyping import Array, Bool, Float

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import INTERNALS, is_broadcast, is_recording, record_internal, state_parts
from rnnjax.errors import InputError
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.layers.engines import SEQUENCE_ENGINES, Engine, resolve_engine
from rnnjax.layers.masks import last_output
from rnnjax.layers.newton import NEWTON, Newton, require_smooth, run_newton
from rnnjax.layers.validation import default_state, require_arrays, require_cell, validated_state

_CACHE_BYTES = 8 * 2**20
"""Largest size of all states of a sequence that a CPU's caches still serve well."""
_SEGMENT_ROWS = 512
"""Steps times batch of a segment where the states are larger."""


class RNN(nn.Module):
    """Runs a cell over the time steps of a batch of sequences.

    A masked step keeps the state and outputs zero, and no value at a masked position reaches a
    result or a gradient, not even NaN. A row with no real step returns its initial state. Masked
    steps may be anywhere in a row: right-padded rows are read from right to left without flipping,
    because the state is kept through the padding.

    Dropout of a cell draws from the rng stream 'dropout'; a call without it is an evaluation.

    A call with the final state of an earlier call continues it: a sequence may be read in pieces,
    down to single steps.

    `layer.apply(variables, inputs, mask, mutable="internals")` also returns the collection
    'internals': 'state', the state after each step, [batch, time, ...], and under 'cell' the gates
    that the cell names, [batch, time, ...]. Such a call is run by the engine 'scan' and needs
    memory for all of them. At a masked step the gates are those of an input of zeros. Shapes with
    symbols (`jax.export.symbolic_shape`) are run by 'scan' too, in one piece.

    With the engine 'newton' `mutable="newton"` returns the collection 'newton', a verdict on each
    row, [batch]: 'iterations', 'residual', 'converged' and 'lyapunov_exponent', an estimate of the
    largest one (`rnnjax.layers.newton.Verdict`). Such a call is not segmented by `remat`.

    Attributes:
      cell: a `rnnjax.cells.Cell`, or a cell written for flax (`nn.LSTMCell(64)`, say).
      reverse: read from the last step to the first. Outputs stay at the positions of their inputs.
      return_sequences: return the outputs of all steps; otherwise only the output of the real step
        that was read last.
      engine: how the steps are computed; the results agree within rounding. 'scan' is flax's
        `nn.scan`: any cell, any derivative. 'fused' is a hand-written derivative, for the cells
        that have one and every `LinearCell`, reverse mode only. 'pallas' is a kernel for an NVIDIA
        GPU, the whole sequence in one launch, for the LSTM and the GRU of few features; a CPU
        interprets it, slowly. 'cudnn' is NVIDIA's library, for the LSTM in float32. 'associative'
        is a parallel scan, for a `LinearCell`, reverse mode only. 'chunkwise' computes chunks of
        steps by matrix products, for a `MatrixCell`. 'newton' solves all steps of any cell with a
        smooth step at once, in float32 or float64, and finishes by the scan the rows that have not
        converged; options as `Newton(max_iterations=20)` in its place. Its memory is batch * time *
        size of the state, squared unless `cell.jacobian` is 'blocks'. 'auto' takes 'fused' or
        'chunkwise' where the cell has it and it was measured to win: on a CPU. It never takes the
        two for GPUs, which have not been measured.
      remat: save the states at some sqrt(time) steps only, and recompute each segment between two
        of them in the backward pass. Its memory, beside inputs and outputs, then grows with the
        square root of time, and the forward pass is computed twice. Chen et al., Training deep nets
        with sublinear memory cost, 2016, arXiv:1604.06174. Dropout at each step then draws from
        other keys.
      unroll: steps that one iteration of the loop of the engine 'scan' computes, as in `nn.scan`.
    """

    cell: nn.Module
    reverse: bool = False
    return_sequences: bool = True
    engine: Engine = "auto"
    remat: bool = False
    unroll: int = 1

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
          initial_state: a state of the cell, a row for each of the inputs'; named tuples may be
            plain ones. None for `cell.initial_state`.
          resets: `[batch, time]`, True at the first step of each document of a row that holds
            several: each document is then read as if it had a row of its own, in either
            direction. The first needs none; a reset at a masked step takes effect there. 'scan'
            supports resets, and every engine whose method of the cell takes them.

        Returns:
          The state after the last step, and the outputs `[batch, time, features]`, with
          `return_sequences=False` `[batch, features]`, zeros for a row with no real step.

        Raises:
          InputError: `cell` is no recurrent cell; the cell, the machine, its size or its dtype does
            not support the engine; or shapes or the mask's dtype are not as above.
        """
        require_cell(self.cell)
        if type(self.unroll) is not int or self.unroll < 1:
            raise InputError(f"unroll: given {self.unroll!r}, expected 1 or more steps")
        require_arrays(inputs, mask=mask, resets=resets)
        is_plain = is_recording(self) or has_symbolic_shape(inputs)
        engine_name = "scan" if is_plain else self.engine
        engine = resolve_engine(engine_name, self.cell, resets is not None)
        if initial_state is None:
            initial_state = default_state(self.cell, inputs)
        else:
            initial_state = validated_state(self.cell, inputs, initial_state)
        if engine == "newton":
            require_smooth(self.cell, initial_state)
        if resets is not None and self.reverse:
            # The step read before a document's last one begins the next document.
            resets = jnp.pad(resets[:, 1:], ((0, 0), (0, 1)))
        reset_state = None if resets is None else default_state(self.cell, inputs)
        segment_length = self._segment_length(engine, inputs, initial_state)
        if segment_length == inputs.shape[1]:
            return self._run(engine, inputs, mask, initial_state, resets, reset_state)
        return self._run_segments(
            segment_length, engine, inputs, mask, initial_state, resets, reset_state
        )

    def _segment_length(self, engine, inputs, state):
        """Returns the number of steps to run at a time; all of them unless memory is the limit."""
        batch, time = inputs.shape[:2]
        if has_symbolic_shape(inputs):
            return time
        if self.remat and not (is_recording(self) or self._gives_verdict()):
            return math.isqrt(time)
        if engine != "fused" or jax.default_backend() != "cpu":
            return time
        state_bytes = time * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        return time if state_bytes <= _CACHE_BYTES else min(max(_SEGMENT_ROWS // batch, 4), time)

    def _run(self, engine, inputs, mask, state, resets, reset_state):
        # Before the cell, not only after it: zero times NaN is NaN in the gradient.
        inputs = zero_masked(inputs, mask)
        if engine in SEQUENCE_ENGINES:
            final, outputs = self._run_sequence(engine, inputs, mask, state, resets, reset_state)
        elif engine == "newton" and not self.is_initializing():
            final, outputs = self._run_newton(inputs, mask, state, resets, reset_state)
        else:
            final, outputs = self._run_scan(inputs, mask, state, resets, reset_state)
        if self.return_sequences:
            return final, outputs
        output_part = getattr(self.cell, "output_part", None)
        if output_part is None or resets is not None:  # a reset may follow the last real step
            return final, last_output(outputs, mask, self.reverse)
        # It is a part of the state: the outputs of all steps need not be gathered.
        output = state_parts(final)[output_part].astype(outputs.dtype)
        return final, output if mask is None else zero_masked(output, mask.any(axis=1))

    def _run_segments(self, segment_length, engine, inputs, mask, state, resets, reset_state):
        count, rest = divmod(inputs.shape[1], segment_length)

        def segment(layer, state, start, segment_length):
            # Sliced here: slicing all segments beforehand would copy the inputs.
            def slice_segment(values):
                if values is None:
                    return None
                return jax.lax.dynamic_slice_in_dim(values, start, segment_length, axis=1)

            return layer._run(
                engine,
                slice_segment(inputs),
                slice_segment(mask),
                state,
                slice_segment(resets),
                reset_state,
            )

        def run_segment(segment_length):
            run = functools.partial(segment, segment_length=segment_length)
            return nn.remat(run, prevent_cse=False) if self.remat else run

        def run_rest(state):
            return run_segment(rest)(self, state, count * segment_length)

        scan_segments = nn.scan(
            run_segment(segment_length),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            out_axes=1,
            reverse=self.reverse,
        )
        rest_outputs = None
        if rest and self.reverse:
            state, rest_outputs = run_rest(state)
        state, outputs = scan_segments(self, state, segment_length * jnp.arange(count))
        if rest and not self.reverse:
            state, rest_outputs = run_rest(state)
        if self.return_sequences:
            outputs = outputs.reshape(outputs.shape[0], count * segment_length, *outputs.shape[3:])
            return state, outputs if rest_outputs is None else jnp.concatenate(
                [outputs, rest_outputs], axis=1
            )
        if rest_outputs is not None:
            outputs = jnp.concatenate([outputs, rest_outputs[:, None]], axis=1)
        if mask is not None:
            starts = segment_length * np.arange(outputs.shape[1])
            mask = jnp.logical_or.reduceat(mask, starts, axis=1)
        return state, last_output(outputs, mask, self.reverse)

    def _run_sequence(self, engine, inputs, mask, state, resets, reset_state):
        assert isinstance(self.cell, AbstractCell)
        cell_inputs = inputs if engine == "cudnn" else self.cell.project(inputs)
        options = {} if resets is None else {"resets": resets, "reset_state": reset_state}
        with self._reverse_mode_alone(engine):
            return getattr(self.cell, engine)(state, cell_inputs, mask, self.reverse, **options)

    def _run_newton(self, inputs, mask, state, resets, reset_state):
        options = self.engine if isinstance(self.engine, Newton) else Newton()
        arguments = inputs, mask, state, self.reverse, resets, reset_state, self._gives_verdict()
        with self._reverse_mode_alone("newton"):
            final, outputs, verdict = run_newton(self.cell, options, *arguments)
        if self._gives_verdict():
            for name, values in verdict._asdict().items():
                self.sow(NEWTON, name, values, init_fn=lambda: None, reduce_fn=lambda _, new: new)
        return final, outputs

    def _gives_verdict(self) -> bool:
        return self.is_mutable_collection(NEWTON) and not self.is_initializing()

    @contextlib.contextmanager
    def _reverse_mode_alone(self, engine):
        """Names the engine in the error of a derivative in forward mode."""
        try:
            yield
        except TypeError as error:
            if "forward-mode" not in str(error):  # jax.custom_vjp's message
                raise
            raise InputError(
                f"engine: given {self.engine!r}, which runs {engine!r} here, whose hand-written "
                "derivative is for reverse mode (jax.grad) alone; for jax.jvp or jax.jacfwd "
                "take engine='scan'"
            ) from error

    def _run_scan(self, inputs, mask, state, resets, reset_state):
        is_cell, record = isinstance(self.cell, AbstractCell), is_recording(self)
        steps = self.cell.project(inputs) if is_cell else inputs
        step_axes = jax.tree.map(
            lambda leaf: nn.broadcast if is_broadcast(leaf) else 1, steps, is_leaf=is_broadcast
        )
        in_axes: Any = ((step_axes, 1, 1),)

        def step_body(cell, state, values):
            u, is_valid, reset = values
            if reset is not None:
                state = _where_state(reset, reset_state, state)
            new, output = cell.step(state, u) if is_cell else cell(state, u)
            state = _where_state(is_valid, new, state)
            return state, (zero_masked(output, is_valid), state if record else None)

        scan = nn.scan(
            step_body,
            variable_axes={INTERNALS: 1},
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=in_axes,
            out_axes=1,
            reverse=self.reverse,
            unroll=self.unroll,
        )
        final, (outputs, states) = scan(self.cell, state, (steps, mask, resets))
        record_internal(self, "state", states)
        return final, outputs


def has_symbolic_shape(inputs: jax.Array) -> bool:
    """Returns whether batch or time is a symbol, as where `jax.export` traces the layer."""
    return any(map(is_symbolic_dim, inputs.shape[:2]))


def _where_state(mask: jax.Array | None, new: State, old: State) -> State:
    """Selects the new state in rows where the mask is True, and the old one elsewhere."""
    return jax.tree.map(functools.partial(where_mask, mask), new, old)
