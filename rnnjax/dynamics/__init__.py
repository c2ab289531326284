"""The dynamics of trained recurrent networks: how far they remember, and how their states move."""

from rnnjax.dynamics.gradients import GradientReach, gradient_reach
from rnnjax.dynamics.padding import PaddingDecay, padding_decay
from rnnjax.dynamics.runs import initial_params, trace_run
from rnnjax.dynamics.trajectory import Trajectory, trace_layers, trace_module

__all__ = [
    "GradientReach",
    "PaddingDecay",
    "Trajectory",
    "gradient_reach",
    "initial_params",
    "padding_decay",
    "trace_layers",
    "trace_module",
    "trace_run",
]
