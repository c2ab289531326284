"""The dynamics of trained recurrent networks: how far they remember, and how their states move."""

from rnnjax.dynamics.analysis import Dynamics, analyze
from rnnjax.dynamics.fixed_points import Point, find_points
from rnnjax.dynamics.gates import GateStatistics, UnitStatistics, unit_statistics
from rnnjax.dynamics.gradients import GradientReach, gradient_reach
from rnnjax.dynamics.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from rnnjax.dynamics.padding import PaddingDecay, padding_decay
from rnnjax.dynamics.probes import Probe, probe_class, probe_words
from rnnjax.dynamics.runs import initial_params, trace_run
from rnnjax.dynamics.trajectory import Trajectory, trace_layers, trace_module

__all__ = [
    "Dynamics",
    "GateStatistics",
    "GradientReach",
    "LyapunovSpectrum",
    "PaddingDecay",
    "Point",
    "Probe",
    "Trajectory",
    "UnitStatistics",
    "analyze",
    "find_points",
    "gradient_reach",
    "initial_params",
    "lyapunov_spectrum",
    "padding_decay",
    "probe_class",
    "probe_words",
    "trace_layers",
    "trace_module",
    "trace_run",
    "unit_statistics",
]
