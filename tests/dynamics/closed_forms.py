"""Cells whose dynamics are known in closed form, and layers that run them on random masks."""

import math

import jax.numpy as jnp
import numpy as np

from rnnjax.cells import AbstractCell
from rnnjax.dynamics import Trajectory, trace_module
from rnnjax.layers import RNN


class MapCell(AbstractCell):
    """A cell whose step ignores its inputs: the state `[batch, features]` is mapped."""

    features: int = 2

    def initial_state(self, input_shape):
        """Returns one half in every unit."""
        return jnp.full((*input_shape[:-1], self.features), 0.5)

    def step(self, state, projected):
        """Returns the image of the state, as state and as output."""
        new = self.map(state)
        return new, new

    def map(self, state):
        """Returns the image of the state."""
        raise NotImplementedError


class LinearMap(MapCell):
    """s' = A s.

    Attributes:
      rows: of A.
    """

    rows: tuple[tuple[float, ...], ...] = ((1.0, 0.0), (0.0, 1.0))

    def map(self, state):
        """Returns the product of the matrix and the state."""
        return state @ jnp.array(self.rows, state.dtype).T


class Logistic(MapCell):
    """x' = 4 x (1 - x), whose exponent is ln 2."""

    def map(self, state):
        """Returns the image of the map."""
        return 4 * state * (1 - state)


class Henon(MapCell):
    """x' = 1 - 1.4 x^2 + y, y' = 0.3 x, a state of two parts.

    The largest exponent is 0.41922: Sprott, Chaos and time-series analysis, Oxford 2003. The sum of
    both is ln 0.3.
    """

    def initial_state(self, input_shape):
        """Returns a state near the attractor, in two parts."""
        half = jnp.full((*input_shape[:-1], 1), 0.1)
        return {"x": half, "y": half}

    def step(self, state, projected):
        """Returns the image of the map, and x as the output."""
        x, y = state["x"], state["y"]
        new = 1 - 1.4 * x**2 + y
        return {"x": new, "y": 0.3 * x}, new


class TanhMap(MapCell):
    """s' = tanh(w s), bistable where w > 1."""

    weight: float = 2.0

    def map(self, state):
        """Returns the image of the map."""
        return jnp.tanh(self.weight * state)


class SaddleNode(MapCell):
    """s' = s + s^2 + e: a slow point at 0 of speed e, and no fixed point, where e > 0."""

    speed: float = 1e-3

    def map(self, state):
        """Returns the image of the map."""
        return state + state**2 + self.speed


def rotation(angle: float, scale: float = 1.0) -> tuple[tuple[float, ...], ...]:
    """Returns the rows of a rotation by an angle, scaled."""
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return (cosine, -sine), (sine, cosine)


def run_cell(
    cell: AbstractCell, time: int, rows: int = 3, *, masks: str = "", reverse: bool = False
) -> Trajectory:
    """Returns the trajectory of a cell on zeros.

    Args:
      cell: without parameters.
      time: steps that are not masked.
      rows: of the batch.
      masks: 'right', 'left' or 'holes' for as many masked steps besides; '' for none.
      reverse: from the last step to the first.
    """
    mask = np.ones((rows, time), bool)
    padding = np.zeros_like(mask)
    if masks == "right":
        mask = np.concatenate([mask, padding], axis=1)
    elif masks == "left":
        mask = np.concatenate([padding, mask], axis=1)
    elif masks == "holes":
        mask = np.stack([mask, padding], axis=2).reshape(rows, -1)
    inputs = np.where(mask[..., None], 0.0, np.nan).astype(np.float32)
    (trajectory,) = trace_module(RNN(cell, reverse=reverse), {}, jnp.array(inputs), jnp.array(mask))
    return trajectory
