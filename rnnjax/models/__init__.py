"""Whole networks."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.language_model import LanguageModel
from rnnjax.models.table import table

__all__ = ["Classifier", "LanguageModel", "table"]
