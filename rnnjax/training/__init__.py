"""Training: state, step, loop, checkpoints and the folder of a run."""

from rnnjax.interrupt import InterruptedRunError
from rnnjax.training.run import run
from rnnjax.training.trained import TrainedRun, load

__all__ = ["InterruptedRunError", "TrainedRun", "load", "run"]
