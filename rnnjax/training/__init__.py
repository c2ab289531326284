"""Training: state, steps, the loop, checkpoints and the folder of a run."""

from rnnjax.interrupt import InterruptedRunError
from rnnjax.training.inside import look
from rnnjax.training.run import run
from rnnjax.training.stream import Stream
from rnnjax.training.trained import TrainedRun, usage_commands
from rnnjax.training.trained_classifier import TrainedClassifier
from rnnjax.training.trained_translator import TrainedTranslator
from rnnjax.training.trained_writer import TrainedWriter

__all__ = [
    "InterruptedRunError",
    "Stream",
    "TrainedClassifier",
    "TrainedRun",
    "TrainedTranslator",
    "TrainedWriter",
    "look",
    "run",
    "usage_commands",
]
