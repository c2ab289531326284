"""Whole networks."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.language_model import LanguageModel
from rnnjax.models.sequence_model import SequenceModel
from rnnjax.models.table import table
from rnnjax.models.translator import Translator

__all__ = ["Classifier", "LanguageModel", "SequenceModel", "Translator", "table"]
