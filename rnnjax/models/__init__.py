"""Networks: a classifier, a language model, a translator, a model of sequences."""

from rnnjax.models.classifier import Classifier
from rnnjax.models.language_model import LanguageModel
from rnnjax.models.layer_table import describe_layers
from rnnjax.models.sequence_model import SequenceModel
from rnnjax.models.translator import Translator

__all__ = ["Classifier", "LanguageModel", "SequenceModel", "Translator", "describe_layers"]
