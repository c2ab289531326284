"""Tasks: a model, its data, its loss and its metrics."""

from rnnjax.tasks.classification import Classification

__all__ = ["Classification"]
