"""Gates and units: saturation, units that never move, time constants, dead and duplicate units."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from rnnjax.cells.base import state_parts
from rnnjax.dynamics.trajectory import Trajectory

_CLOSED, _OPEN = 0.1, 0.9
_STILL = 0.01
"""Standard deviation below which a gate's unit is said never to move."""
_DEAD = 1e-3
"""Standard deviation of a dead unit, relative to the root mean square one of all units."""
_DUPLICATE = 0.99
"""Absolute correlation of two units that are duplicates."""
_MAX_UNITS = 1024

_RETENTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "forget gate": lambda gate: gate,
    "update gate (1 keeps)": lambda gate: gate,
    "update gate": lambda gate: 1 - gate,
}
"""The share of the memory that a step retains, by the name of the gate; the first one counts."""


class GateStatistics(NamedTuple):
    """A gate over all steps that are not masked, unit by unit.

    Attributes:
      mean: of each unit.
      closed: share of steps at which a unit is below 0.1.
      open: share of steps at which it is above 0.9.
      still: units whose standard deviation is below 0.01: they never move.
    """

    mean: Float[np.ndarray, " units"]
    closed: Float[np.ndarray, " units"]
    open: Float[np.ndarray, " units"]
    still: Bool[np.ndarray, " units"]


class UnitStatistics(NamedTuple):
    """Gates and states of a layer, unit by unit.

    Attributes:
      gates: by the name of the gate.
      retention_gate: name of the gate that decides how much memory a step retains; '' without one.
      time_constants: by the unit of that gate, in steps: after so many a unit has retained 1/e;
        -1 / mean(log f). Empty without such a gate.
      dead: by the part of the state, the units that hardly vary over steps and sequences.
      duplicates: by the part of the state, pairs of units with a correlation of at least 0.99 in
        absolute value, dead ones excluded.
    """

    gates: dict[str, GateStatistics]
    retention_gate: str
    time_constants: Float[np.ndarray, " units"]
    dead: dict[str, list[int]]
    duplicates: dict[str, list[tuple[int, int]]]


def unit_statistics(trajectory: Trajectory) -> UnitStatistics:
    """Returns statistics of gates and states over the steps that are not masked.

    Source: Karpathy, Johnson, Fei-Fei, Visualizing and understanding recurrent networks, 2015,
    arXiv:1506.02078, for the saturation; Tallec, Ollivier, Can recurrent neural networks warp
    time?, ICLR 2018, for gates as time constants.

    Args:
      trajectory: as `trace_run` or `trace_module` returns it.
    """
    state, recorded = trajectory.internals()
    mask = np.asarray(trajectory.mask)

    def steps(values: jax.Array | np.ndarray) -> Float[np.ndarray, "steps units"]:
        taken = np.asarray(values, np.float64)[mask]
        return taken.reshape(len(taken), -1)

    gates = {name: steps(values) for name, values in recorded.items()}
    retention_gate = next((name for name in _RETENTIONS if name in gates), "")
    constants = np.zeros(0)
    if retention_gate:
        with np.errstate(divide="ignore"):
            logarithms = np.log(_RETENTIONS[retention_gate](gates[retention_gate]))
            constants = -1 / np.minimum(logarithms.mean(axis=0), 0)
    dead, duplicates = {}, {}
    for part, values in state_parts(state).items():
        units = steps(np.abs(values) if np.iscomplexobj(values) else values)[:, :_MAX_UNITS]
        dead[part], duplicates[part] = _redundant_units(units)
    return UnitStatistics(
        {name: _gate_statistics(values) for name, values in gates.items()},
        retention_gate,
        constants,
        dead,
        duplicates,
    )


def _gate_statistics(values: Float[np.ndarray, "steps units"]) -> GateStatistics:
    return GateStatistics(
        mean=values.mean(axis=0),
        closed=(values < _CLOSED).mean(axis=0),
        open=(values > _OPEN).mean(axis=0),
        still=values.std(axis=0) < _STILL,
    )


def _redundant_units(
    units: Float[np.ndarray, "steps units"],
) -> tuple[list[int], list[tuple[int, int]]]:
    """Returns the dead units, and the pairs of duplicates."""
    deviations = units.std(axis=0)
    typical = np.sqrt(np.mean(deviations**2))
    is_dead = deviations <= _DEAD * typical
    alive = np.flatnonzero(~is_dead)
    centred = (units[:, alive] - units[:, alive].mean(axis=0)) / deviations[alive]
    correlations = np.abs(centred.T @ centred) / len(units)
    pairs = np.argwhere(np.triu(correlations >= _DUPLICATE, k=1))
    return np.flatnonzero(is_dead).tolist(), [
        (int(alive[first]), int(alive[second])) for first, second in pairs
    ]
