"""A trained translator: translates texts."""

import dataclasses
from collections.abc import Sequence

from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.decoding import BeamOptions, TranslatedText, translate_texts
from rnnjax.tasks.translation.task import TranslationTask


@dataclasses.dataclass(frozen=True)
class TrainedTranslator(TrainedRun):
    """A network that translates a text."""

    vocabulary: Vocabulary

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Returns the translation of each text.

        Raises:
          InputError: a text is not valid Unicode.
        """
        return [translation.text for translation in self.translate(texts)]

    def translate(self, texts: Sequence[str], beam_size: int = 0) -> list[TranslatedText]:
        """Returns the best translation of each text, which does not depend on the other texts.

        Args:
          texts: in the source language, at least one.
          beam_size: of the beam search; 0 for that of the config.

        Raises:
          InputError: `beam_size` is less than 0, or a text is not valid Unicode.
        """
        if beam_size < 0:
            raise InputError(
                f"beam_size: given {beam_size}, expected 1 or more, or 0 for that of the run"
            )
        assert isinstance(self.task, TranslationTask)
        options = BeamOptions.from_config(self.config.section(TranslationConfig))
        return translate_texts(
            self.task.model,
            self.params,
            self.vocabulary,
            self.vocabulary.encode(texts),
            options._replace(width=beam_size) if beam_size else options,
            length=self.task.max_length,
            batch_size=self.config.batch_size,
        )
