"""Whole networks."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.table import table

__all__ = ["Classifier", "table"]
