"""Training runs: start, resume, loop, evaluation and checkpoints; trained runs for inference."""

from rnnjax.interrupt import InterruptedRunError
from rnnjax.tasks.inspection import Inspection, inspect_texts
from rnnjax.tasks.streaming import TextStreaming
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.comparing import compare_runs
from rnnjax.training.fitting import fit
from rnnjax.training.launch import train
from rnnjax.training.run_loading import load_run

__all__ = [
    "Inspection",
    "InterruptedRunError",
    "TextStreaming",
    "TrainedRun",
    "compare_runs",
    "fit",
    "inspect_texts",
    "load_run",
    "train",
]
