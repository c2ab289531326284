"""Networks, and the parts that tasks build theirs from."""

from rnnjax.models.layer_table import describe_layers
from rnnjax.models.sequence_model import SequenceModel

__all__ = ["SequenceModel", "describe_layers"]
