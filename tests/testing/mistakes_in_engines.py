"""Cells whose single step is right, and whose engine for whole sequences has one mistake."""

import jax
import jax.numpy as jnp

from rnnjax.cells import LinearCell, LSTMCell, LSTMState, SimpleCell
from rnnjax.kernels import fused_lstm

from .planted import planted


class Fused(SimpleCell):
    """A right cell: a simple cell with an engine of its own, in parts that can be spoiled."""

    def fused(self, state, projected, mask, reverse):
        projected, mask, reverse = self.read(projected, mask, reverse)
        steps = jnp.swapaxes(self.guarded(projected, mask), 0, 1)
        final, states = self.looped(self.begun(state), steps, mask, reverse)
        return final, self.shown(jnp.swapaxes(states, 0, 1), mask).astype(projected.dtype)

    def read(self, projected, mask, reverse):
        """Returns what is read."""
        return projected, mask, reverse

    def guarded(self, projected, mask):
        """Returns what the steps read, with zeros at masked ones."""
        return projected if mask is None else jnp.where(mask[..., None], projected, 0)

    def begun(self, state):
        """Returns the state before the first step."""
        return state

    def kernel(self):
        """Returns the recurrent kernel."""
        return self.recurrent_kernel

    def looped(self, state, steps, mask, reverse):
        """Returns the final state and the states, time first."""
        kernel, dtype = self.kernel(), state.dtype

        def body(state, at):
            step, real = at
            new = jnp.tanh(
                (step + state.astype(step.dtype) @ kernel.astype(step.dtype)).astype(dtype)
            )
            new = new if real is None else jnp.where(real[:, None], new, state)
            return new, new

        return jax.lax.scan(body, state, (steps, None if mask is None else mask.T), reverse=reverse)

    def shown(self, states, mask):
        """Returns the outputs: zeros at masked steps."""
        return states if mask is None else jnp.where(mask[..., None], states, 0)


@planted("causality", "gradient of inputs after step")
class ReadsNext(Fused):
    """A step takes in the next."""

    def read(self, projected, mask, reverse):
        ahead = jnp.pad(projected, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        return projected + (0 if mask is None else mask[..., None] * ahead), mask, reverse


@planted("causality", "because inputs after step")
class PeeksNext(Fused):
    """A step takes in the next, and hides it from the gradient."""

    def read(self, projected, mask, reverse):
        ahead = jnp.pad(projected, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        ahead = jax.lax.stop_gradient(0 if mask is None else mask[..., None] * ahead)
        return projected + ahead, mask, reverse


@planted("initial_state", "changes nothing in the layer")
class FromZeros(Fused):
    """The initial state that is given is ignored, but by rows with no real step."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(jnp.zeros_like(state), projected, mask, reverse)
        empty = False if mask is None else ~mask.any(axis=1)[:, None]
        return jnp.where(empty, state, final), outputs


@planted("initial_state", "the part cell of the initial state")
class HalfFromZeros(LSTMCell):
    """One part of the initial state is ignored, but by rows with no real step."""

    def fused(self, state, projected, mask, reverse):
        begun = state._replace(cell=jnp.zeros_like(state.cell))
        final, outputs = super().fused(begun, projected, mask, reverse)
        empty = False if mask is None else ~mask.any(axis=1)[:, None]
        return final._replace(cell=jnp.where(empty, state.cell, final.cell)), outputs


@planted("masked_steps", "at masked steps")
class ShowsHeld(Fused):
    """A masked step outputs the state that it holds."""

    def shown(self, states, mask):
        return states


@planted("empty_rows", "final state.cell")
class HalfHeld(LSTMCell):
    """The mask is forgotten for one part of the state."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        unmasked, _ = super().fused(state, projected, None, reverse)
        return final._replace(cell=unmasked.cell), outputs


@planted("empty_rows", "final state")
class EmptyZeros(Fused):
    """A row with no real step returns zeros in place of its initial state."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return (final if mask is None else final * mask.any(axis=1)[:, None]), outputs


@planted("empty_rows", "gradient of initial state")
class NoStateGradient(Fused):
    """No gradient reaches the initial state."""

    def begun(self, state):
        return jax.lax.stop_gradient(state)


@planted("empty_rows", "gradient of parameters.input.bias[0] is nan, expected finite")
class ByRealSteps(Fused):
    """What is divided by the number of real steps, be it zero, is guarded after and not before."""

    def read(self, projected, mask, reverse):
        if mask is None:
            return projected, mask, reverse
        count = mask.sum(axis=1)[:, None, None].astype(projected.dtype)
        return jnp.where(count > 0, projected / count * count, 0), mask, reverse


@planted("junk", "because what project gives is inf")
class TimesMask(Fused):
    """Junk at masked steps is multiplied by zero, and NaN remains."""

    def guarded(self, projected, mask):
        return projected if mask is None else projected * mask[..., None]


@jax.custom_vjp
def _leaky(projected, mask):
    return projected


_leaky.defvjp(
    lambda projected, mask: (projected, mask),
    lambda mask, cotangents: (
        cotangents + 0.1 * ~mask[..., None] * cotangents.sum(axis=1, keepdims=True),
        None,
    ),
)


@planted("masked_gradient", "projected")
class LeakyGradient(Fused):
    """The backward pass gives masked steps a gradient, which ends in the bias."""

    def read(self, projected, mask, reverse):
        return (projected if mask is None else _leaky(projected, mask)), mask, reverse


@planted("padding", "padding")
class CountsFromStart(Fused):
    """A decay counts the steps of the array, masked ones too."""

    def read(self, projected, mask, reverse):
        steps = projected.shape[1]
        return projected * 0.9 ** jnp.arange(steps)[:, None].astype(projected.dtype), mask, reverse


@planted("size", "padded to")
class ByLength(Fused):
    """It divides by the number of steps, padding included."""

    def read(self, projected, mask, reverse):
        return projected / projected.shape[1], mask, reverse


@planted("size", "padded to")
class ForwardUnmasked(Fused):
    """Without a mask the direction is forgotten."""

    def read(self, projected, mask, reverse):
        return projected, mask, reverse and mask is not None


@planted("reverse", "as forward on the reversed real steps")
class NeverReverse(Fused):
    """The direction is forgotten."""

    def read(self, projected, mask, reverse):
        return projected, mask, False


@planted("split", "in two calls")
class OneBehind(Fused):
    """The final state is that before the last real step."""

    def looped(self, state, steps, mask, reverse):
        _, states = super().looped(state, steps, mask, reverse)
        mask = jnp.ones(steps.shape[:2], bool) if mask is None else mask.T

        def body(carry, at):
            before, now = carry
            new, real = at
            return (jnp.where(real[:, None], now, before), new), None

        (before, _), _ = jax.lax.scan(body, (state, state), (states, mask), reverse=reverse)
        return before, states


@planted("derivative", "the final state in float64 has the dtype float32, expected float64")
class FinalNarrow(Fused):
    """The final state has a dtype of its own."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return final.astype(jnp.float32), outputs


@planted("bfloat16", "the final state in bfloat16 has the dtype bfloat16, expected float32")
class FinalRounded(Fused):
    """The final state is in the dtype of the computation."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = super().fused(state, projected, mask, reverse)
        return final.astype(projected.dtype), outputs


@planted("loop", "as by a loop in Python")
class SwappedGates(LSTMCell):
    """Two gates of the inputs are swapped."""

    def fused(self, state, projected, mask, reverse):
        i, f, g, o = jnp.split(projected, 4, axis=-1)
        return super().fused(state, jnp.concatenate([f, i, g, o], axis=-1), mask, reverse)


@planted("loop", "as by a loop in Python")
class ForgetBiasTwice(LSTMCell):
    """A bias of one is added to the forget gate, though the parameter has it already."""

    def fused(self, state, projected, mask, reverse):
        bias = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0], projected.dtype), self.features)
        return super().fused(state, projected + bias, mask, reverse)


@jax.custom_vjp
def _doubled(kernel):
    return kernel


_doubled.defvjp(lambda kernel: (kernel, None), lambda _, cotangents: (2 * cotangents,))


@planted("loop_gradients", "gradient of parameters.recurrent_kernel")
class DoubledGradient(LSTMCell):
    """The hand-written derivative of the recurrent kernel is twice what it should be."""

    def fused(self, state, projected, mask, reverse):
        final, outputs = fused_lstm(
            projected, _doubled(self.recurrent_kernel), state, mask, reverse
        )
        return LSTMState(*final), outputs


class Leaky(LinearCell):
    """A right cell: s' = a s + (1 - a) x, a from the inputs."""

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


@planted("project", "coefficients")
class WrongStep(Leaky):
    """The coefficients of a sequence are those of the next step."""

    def coefficients(self, projected):
        shift = projected.ndim == 3
        return super().coefficients(jnp.roll(projected, -1, axis=1) if shift else projected)


@planted("loop", "engine associative")
class NotTheStep(Leaky):
    """A step decays otherwise than a sequence does."""

    def coefficients(self, projected):
        return super().coefficients(projected)

    def step(self, state, projected):
        a, b = self.coefficients(projected)
        new = 0.5 * a * state + b
        return new, self.read(new, projected)
