"""Whole networks."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.language_model import LanguageModel
from rnnjax.models.sequence_model import SequenceModel
from rnnjax.models.table import table

__all__ = ["Classifier", "LanguageModel", "SequenceModel", "table"]
