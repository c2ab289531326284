"""Training runs: start, resume, loop, evaluation and checkpoints; trained runs for inference."""

from rnnjax.interrupt import InterruptedRunError
from rnnjax.training.fitting import fit
from rnnjax.training.inspection import Inspection, inspect_texts
from rnnjax.training.launch import train
from rnnjax.training.run_loading import load_run, usage_commands
from rnnjax.training.streaming import TextStreaming
from rnnjax.training.trained_classifier import TrainedClassifier
from rnnjax.training.trained_language_model import TrainedLanguageModel
from rnnjax.training.trained_run import TrainedRun
from rnnjax.training.trained_translator import TrainedTranslator

__all__ = [
    "Inspection",
    "InterruptedRunError",
    "TextStreaming",
    "TrainedClassifier",
    "TrainedLanguageModel",
    "TrainedRun",
    "TrainedTranslator",
    "fit",
    "inspect_texts",
    "load_run",
    "train",
    "usage_commands",
]
