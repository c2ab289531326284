"""Mutants of an engine for whole sequences, whose single step is correct."""

import jax
import jax.numpy as jnp

from rnnjax.cells import LinearCell, LSTMCell, LSTMState, SimpleCell
from rnnjax.kernels import fused_lstm

from .mutants import mutant


class FusedCell(SimpleCell):
    """A correct cell with a fused engine, in methods that subclasses modify."""

    def fused(self, state, projected, mask, reverse):
        projected, mask, reverse = self.read(projected, mask, reverse)
        steps = jnp.swapaxes(self.zero_masked_inputs(projected, mask), 0, 1)
        final, states = self.scan(self.initial(state), steps, mask, reverse)
        return final, self.zero_masked_outputs(jnp.swapaxes(states, 0, 1), mask).astype(
            projected.dtype
        )

    def read(self, projected, mask, reverse):
        """Returns the arguments; a subclass modifies them."""
        return projected, mask, reverse

    def zero_masked_inputs(self, projected, mask):
        """Zeroes the projected inputs at masked steps."""
        return projected if mask is None else jnp.where(mask[..., None], projected, 0)

    def initial(self, state):
        """Returns the initial state; a subclass modifies it."""
        return state

    def kernel(self):
        """Returns the recurrent kernel."""
        return self.recurrent_kernel

    def scan(self, state, steps, mask, reverse):
        """Returns the final state and the states of all steps, time first."""
        return self.run(state, steps, mask, reverse, self.kernel())

    def run(self, state, steps, mask, reverse, kernel):
        """Returns the same with a kernel."""
        dtype = state.dtype

        def body(state, inputs):
            step, real = inputs
            new = jnp.tanh(
                (step + state.astype(step.dtype) @ kernel.astype(step.dtype)).astype(dtype)
            )
            new = new if real is None else jnp.where(real[:, None], new, state)
            return new, new

        return jax.lax.scan(body, state, (steps, None if mask is None else mask.T), reverse=reverse)

    def zero_masked_outputs(self, states, mask):
        """Zeroes the outputs at masked steps."""
        return states if mask is None else jnp.where(mask[..., None], states, 0)


@mutant("causality", "gradient of inputs after step")
class ReadsNextStep(FusedCell):
    """A step reads the next step."""

    def read(self, projected, mask, reverse):
        ahead = jnp.pad(projected, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        return projected + (0 if mask is None else mask[..., None] * ahead), mask, reverse


@mutant("causality", "because inputs after step")
class ReadsNextStepDetached(FusedCell):
    """A step reads the next step without a gradient."""

    def read(self, projected, mask, reverse):
        ahead = jnp.pad(projected, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        ahead = jax.lax.stop_gradient(0 if mask is None else mask[..., None] * ahead)
        return projected + ahead, mask, reverse


@mutant("initial_state", "changes nothing in the layer")
class IgnoredInitialState(FusedCell):
    """The initial state is ignored, except in rows with no real step."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(jnp.zeros_like(state), projected, mask, reverse)
        empty = False if mask is None else ~mask.any(axis=1)[:, None]
        return jnp.where(empty, state, final), outputs


@mutant("initial_state", "the part cell of the initial state")
class IgnoredInitialCell(LSTMCell):
    """One part of the initial state is ignored, except in rows with no real step."""

    def fused(self, state, projected, mask, reverse):
        initial = state._replace(cell=jnp.zeros_like(state.cell))
        final, outputs = super().fused(initial, projected, mask, reverse)
        empty = False if mask is None else ~mask.any(axis=1)[:, None]
        return final._replace(cell=jnp.where(empty, state.cell, final.cell)), outputs


@mutant("masked_outputs", "at masked steps")
class MaskedStateOutput(FusedCell):
    """A masked step outputs the state."""

    def zero_masked_outputs(self, states, mask):
        return states


@mutant("empty_rows", "final state.cell")
class UnmaskedCell(LSTMCell):
    """One part of the state ignores the mask."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        unmasked, _ = super().fused(state, projected, None, reverse)
        return final._replace(cell=unmasked.cell), outputs


@mutant("empty_rows", "final state")
class EmptyRowZeros(FusedCell):
    """A row with no real step returns zeros in place of its initial state."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return (final if mask is None else final * mask.any(axis=1)[:, None]), outputs


@mutant("empty_rows", "gradient of initial state")
class DetachedInitialState(FusedCell):
    """No gradient reaches the initial state."""

    def initial(self, state):
        return jax.lax.stop_gradient(state)


@mutant("empty_rows", "gradient of parameters.input.bias[0] is nan, expected finite")
class UnguardedDivision(FusedCell):
    """A division by the number of real steps is masked after the division, not before."""

    def read(self, projected, mask, reverse):
        if mask is None:
            return projected, mask, reverse
        count = mask.sum(axis=1)[:, None, None].astype(projected.dtype)
        return jnp.where(count > 0, projected / count * count, 0), mask, reverse


@mutant("masked_values", "because the projected inputs at masked steps are inf")
class MultipliedMask(FusedCell):
    """Values at masked steps are multiplied by zero, so that NaN remains."""

    def zero_masked_inputs(self, projected, mask):
        return projected if mask is None else projected * mask[..., None]


@jax.custom_vjp
def _leak_gradient(projected, mask):
    return projected


_leak_gradient.defvjp(
    lambda projected, mask: (projected, mask),
    lambda mask, cotangents: (
        cotangents + 0.1 * ~mask[..., None] * cotangents.sum(axis=1, keepdims=True),
        None,
    ),
)


@mutant("masked_gradients", "projected")
class LeakedGradient(FusedCell):
    """The backward pass gives masked steps a gradient, which reaches the bias."""

    def read(self, projected, mask, reverse):
        return (projected if mask is None else _leak_gradient(projected, mask)), mask, reverse


@mutant("padding_side", "padding")
class AbsoluteDecay(FusedCell):
    """A decay counts all steps of the array, masked ones included."""

    def read(self, projected, mask, reverse):
        steps = projected.shape[1]
        return projected * 0.9 ** jnp.arange(steps)[:, None].astype(projected.dtype), mask, reverse


@mutant("batch_shape", "padded to")
class DividedByLength(FusedCell):
    """The inputs are divided by the number of steps, padding included."""

    def read(self, projected, mask, reverse):
        return projected / projected.shape[1], mask, reverse


@mutant("batch_shape", "padded to")
class ForwardUnmasked(FusedCell):
    """Without a mask the direction is ignored."""

    def read(self, projected, mask, reverse):
        return projected, mask, reverse and mask is not None


@mutant("reverse", "as forward on the reversed real steps")
class NeverReverse(FusedCell):
    """The direction is ignored."""

    def read(self, projected, mask, reverse):
        return projected, mask, False


@mutant("split_sequence", "in two calls")
class PreviousFinalState(FusedCell):
    """The final state is the state before the last real step."""

    def scan(self, state, steps, mask, reverse):
        _, states = super().scan(state, steps, mask, reverse)
        mask = jnp.ones(steps.shape[:2], bool) if mask is None else mask.T

        def body(carry, inputs):
            previous, last = carry
            new, real = inputs
            return (jnp.where(real[:, None], last, previous), new), None

        (previous, _), _ = jax.lax.scan(body, (state, state), (states, mask), reverse=reverse)
        return previous, states


@mutant("finite_differences", "the final state in float64 has the dtype float32, expected float64")
class NarrowFinalState(FusedCell):
    """The final state is always float32."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return final.astype(jnp.float32), outputs


@mutant("bfloat16", "the final state in bfloat16 has the dtype bfloat16, expected float32")
class RoundedFinalState(FusedCell):
    """The final state has the dtype of the computation."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return final.astype(projected.dtype), outputs


@mutant("loop_values", "as by a loop in Python")
class SwappedGates(LSTMCell):
    """Two gates of the projected inputs are swapped."""

    def fused(self, state, projected, mask, reverse):
        i, f, g, o = jnp.split(projected, 4, axis=-1)
        return super().fused(state, jnp.concatenate([f, i, g, o], axis=-1), mask, reverse)


@mutant("loop_values", "as by a loop in Python")
class DoubledForgetBias(LSTMCell):
    """The forget gate gets a bias of one in addition to its parameter."""

    def fused(self, state, projected, mask, reverse):
        bias = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0], projected.dtype), self.features)
        return super().fused(state, projected + bias, mask, reverse)


@jax.custom_vjp
def _double_gradient(kernel):
    return kernel


_double_gradient.defvjp(lambda kernel: (kernel, None), lambda _, cotangents: (2 * cotangents,))


@mutant("loop_gradients", "gradient of parameters.recurrent_kernel")
class DoubledGradient(LSTMCell):
    """The custom derivative of the recurrent kernel is doubled."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = fused_lstm(
            projected, _double_gradient(self.recurrent_kernel), state, mask, reverse
        )
        return LSTMState(*final), outputs


class LeakyIntegrator(LinearCell):
    """A correct cell: s' = a s + (1 - a) x, a from the inputs."""

    def setup(self):
        self.input = self.dense(2 * self.features)

    def project(self, inputs):
        return self.input(inputs)

    def coefficients(self, projected):
        a, new = jnp.split(projected.astype(self.param_dtype), 2, axis=-1)
        a = jax.nn.sigmoid(a)
        return a, (1 - a) * new

    def read(self, state, projected):
        return state.astype(projected.dtype)


@mutant("newton", "by the engine newton, as by the scan")
class CoupledBlocks(SimpleCell):
    """The units of a step read each other, and its Jacobian is declared to have none of that."""

    jacobian = "blocks"


@mutant("projection", "coefficients")
class ShiftedCoefficients(LeakyIntegrator):
    """The coefficients of a sequence are those of the next step."""

    def coefficients(self, projected):
        shift = projected.ndim == 3
        return super().coefficients(jnp.roll(projected, -1, axis=1) if shift else projected)


@mutant("loop_values", "engine fused")
class DifferentStep(LeakyIntegrator):
    """The decay of a step differs from that of a sequence."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def step(self, state, projected):
        a, b = self.coefficients(projected)
        new = 0.5 * a * state + b
        return new, self.read(new, projected)
