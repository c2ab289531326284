"""Mutants that show in larger batches alone: chunks, windows, tiles and statistics."""

import jax
import jax.numpy as jnp

from .cell_mutants import CorrectCell
from .dropout_mutants import StepDropout
from .engine_mutants import FusedCell, LeakyIntegrator
from .mutants import planted

# Steps and rows.


@planted("row_counts", "rows, as for each alone", twin=CorrectCell)
class BatchStatistics(CorrectCell):
    """Where the rows divide by eight, their mean is subtracted."""

    def modify(self, new, state, projected):
        return new - new.mean(axis=0) if new.ndim == 2 and len(new) % 8 == 0 else new


@planted("row_counts", "rows, as for each alone", twin=CorrectCell)
class TiledStep(CorrectCell):
    """Rows beyond the eighth read the states of the first ones."""

    def modify(self, new, state, projected):
        if new.ndim != 2 or len(new) <= 8:
            return new
        return new + 0.1 * jnp.roll(state, 8, axis=0).at[:8].set(0)


@planted("row_counts", "initial state", twin=CorrectCell)
class TiledInitialState(CorrectCell):
    """Rows beyond the eighth begin with ones."""

    def initial_state(self, input_shape):
        zeros = super().initial_state(input_shape)
        return zeros.at[8:].set(1) if zeros.ndim == 2 else zeros


@planted("row_counts", "in training", twin=StepDropout)
class TrainingBatchStatistics(StepDropout):
    """In training, where the rows divide by eight, their mean is subtracted."""

    def apply_mask(self, new, keep, state):
        if new.ndim == 2 and len(new) % 8 == 0:
            new = new - new.mean(axis=0)
        return new * keep


# Projections.


@planted("projection_sizes", "project", twin=CorrectCell)
class WindowFromEightSteps(CorrectCell):
    """From eight steps on the projection is a convolution."""

    def project(self, inputs):
        projected = super().project(inputs)
        if inputs.ndim != 3 or inputs.shape[1] < 8:
            return projected
        return projected + 0.5 * jnp.pad(projected, ((0, 0), (1, 0), (0, 0)))[:, :-1]


@planted("projection_sizes", "project", twin=CorrectCell)
class ProjectionStatistics(CorrectCell):
    """Where the rows divide by eight, the inputs are centred over them."""

    def project(self, inputs):
        if inputs.ndim == 3 and len(inputs) % 8 == 0:
            inputs = inputs - inputs.mean(axis=0)
        return super().project(inputs)


@planted("projection_sizes", "project", twin=CorrectCell)
class LastWindowLost(CorrectCell):
    """The projection works in windows of 32 steps, and the last one is not full."""

    def project(self, inputs):
        projected = super().project(inputs)
        if inputs.ndim != 3 or inputs.shape[1] < 32:
            return projected
        full = inputs.shape[1] // 32 * 32
        return projected.at[:, full:].set(0)


@planted("projection_sizes", "project", twin=CorrectCell)
class CoarseLongProjection(CorrectCell):
    """From 100 steps on the projection is rounded to bfloat16."""

    def project(self, inputs):
        projected = super().project(inputs)
        if inputs.ndim != 3 or inputs.shape[1] < 100:
            return projected
        return projected.astype(jnp.bfloat16).astype(projected.dtype)


@planted("projection_sizes", "coefficients", twin=LeakyIntegrator)
class ForgettingCoefficients(LeakyIntegrator):
    """The coefficients forget the state at the beginning of each chunk of 32 steps."""

    def coefficients(self, projected):
        a, b = super().coefficients(projected)
        return (a.at[:, 32::32].set(0) if a.ndim == 3 else a), b


@planted("projection_sizes", "read", twin=LeakyIntegrator)
class LaggingRead(LeakyIntegrator):
    """The outputs of more than 16 steps are those of the step before."""

    def read(self, state, projected):
        if state.ndim == 3 and state.shape[1] > 16:
            state = jnp.roll(state, 1, axis=1)
        return super().read(state, projected)


# Engines.


class ChunkedCell(FusedCell):
    """A correct cell whose engine runs chunks of some steps, in methods that subclasses modify."""

    chunk: int = 32

    def fused(self, state, projected, mask, reverse):
        starts = list(range(0, projected.shape[1], self.chunk))
        carried, outputs = state, {}
        for number, start in enumerate(reversed(starts) if reverse else starts):
            part = slice(start, start + self.chunk)
            carried = self.carry(carried, state, number)
            carried, outputs[start] = super().fused(
                carried, projected[:, part], None if mask is None else mask[:, part], reverse
            )
        return carried, jnp.concatenate([outputs[start] for start in starts], axis=1)

    def carry(self, carried, first, number):
        """Returns the state before a chunk; a subclass modifies it."""
        return carried


@planted("sequence_sizes", "engine fused", twin=ChunkedCell)
class ChunkForgets(ChunkedCell):
    """Every chunk begins with the initial state."""

    def carry(self, carried, first, number):
        return first


@planted("sequence_sizes", "engine fused", twin=ChunkedCell, quick=False)
class ThirdChunkForgets(ChunkedCell):
    """The third chunk begins with zeros."""

    def carry(self, carried, first, number):
        return jnp.zeros_like(carried) if number == 2 else carried


@planted("sequence_sizes", "gradient of", twin=ChunkedCell)
class TruncatedGradient(ChunkedCell):
    """No gradient crosses the border of two chunks."""

    def carry(self, carried, first, number):
        return jax.lax.stop_gradient(carried) if number else carried


@planted("sequence_sizes", "engine fused", twin=ChunkedCell)
class CoarseCarry(ChunkedCell):
    """The state between two chunks is rounded to bfloat16."""

    def carry(self, carried, first, number):
        return carried.astype(jnp.bfloat16).astype(carried.dtype) if number else carried


@planted("sequence_sizes", "engine fused", twin=FusedCell)
class LastChunkLost(FusedCell):
    """The steps after the last full chunk of 16 are not run."""

    def scan(self, state, steps, mask, reverse):
        final, states = super().scan(state, steps, mask, reverse)
        full = max(len(steps) // 16 * 16, 16)
        return final, states.at[full:].set(0)


@planted("sequence_sizes", "engine fused, reverse", twin=FusedCell)
class ReverseChunksInOrder(FusedCell):
    """More than 32 steps are read forward in either direction."""

    def read(self, projected, mask, reverse):
        return projected, mask, reverse and projected.shape[1] <= 32


@planted("sequence_sizes", "engine fused", twin=FusedCell)
class TiledStates(FusedCell):
    """Tiles of eight rows share the first states."""

    def initial(self, state):
        return jnp.tile(state[:8], (-(-len(state) // 8), 1))[: len(state)]


@planted("sequence_sizes", "engine fused", twin=FusedCell)
class UnmaskedAfterWindow(FusedCell):
    """From the 33rd step on the state ignores the mask."""

    def scan(self, state, steps, mask, reverse):
        if mask is not None:
            mask = mask | (jnp.arange(mask.shape[1]) >= 32)
        return super().scan(state, steps, mask, reverse)


@planted("sequence_sizes", "engine fused", twin=FusedCell, quick=False)
class SmallIndex(FusedCell):
    """The index of a step is an int8, and after 127 steps the inputs are zero."""

    def read(self, projected, mask, reverse):
        index = jnp.arange(projected.shape[1]).astype(jnp.int8)[:, None]
        return jnp.where(index >= 0, projected, 0), mask, reverse


@planted("sequence_sizes", "engine fused", twin=FusedCell, quick=False)
class SingleStepShortcut(FusedCell):
    """A single step returns the initial state as the final one."""

    def scan(self, state, steps, mask, reverse):
        final, states = super().scan(state, steps, mask, reverse)
        return (state if len(steps) == 1 else final), states


@planted("sequence_sizes", "engine fused", twin=FusedCell)
class UnmaskedPath(FusedCell):
    """Without a mask, 64 steps and more start from zeros."""

    def fused(self, state, projected, mask, reverse):
        is_long = mask is None and projected.shape[1] >= 64
        start = jnp.zeros_like(state) if is_long else state
        return super().fused(start, projected, mask, reverse)


@jax.custom_vjp
def _mean_over_tiles(kernel, projected):
    return kernel


_mean_over_tiles.defvjp(
    lambda kernel, projected: (kernel, projected),
    lambda projected, cotangents: (cotangents / -(-len(projected) // 8), None),
)


@planted("sequence_sizes", "gradient of parameters.recurrent_kernel", twin=FusedCell)
class TiledKernelGradient(FusedCell):
    """The gradient of the kernel is the mean of those of tiles of eight rows, not their sum."""

    def scan(self, state, steps, mask, reverse):
        kernel = _mean_over_tiles(self.kernel(), state)

        return self.run(state, steps, mask, reverse, kernel)
