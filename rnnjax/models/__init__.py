"""Whole networks."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.table import table
from rnnjax.models.translator import Translator

__all__ = ["Classifier", "Translator", "table"]
