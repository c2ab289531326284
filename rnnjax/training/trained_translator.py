"""A trained translator, to be asked for the texts in the place of others."""

import dataclasses
from collections.abc import Sequence

from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks import TranslationTask
from rnnjax.tasks.decoding import BeamOptions, TranslatedText, translate_texts
from rnnjax.training.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True)
class TrainedTranslator(TrainedRun):
    """A network that writes a text for each that it reads."""

    task_name = "translation"

    vocabulary: Vocabulary

    def translate(self, texts: Sequence[str], beam: int = 0) -> list[TranslatedText]:
        """Returns the best text for each, read by itself: what stands beside it does not matter.

        Args:
          texts: of the source language, at least one.
          beam: texts that are looked at side by side; 0 for as many as the config says.

        Raises:
          InputError: `beam` is less than 0, or a text is not valid Unicode.
        """
        if beam < 0:
            raise InputError(f"beam: given {beam}, expected 1 or more, or 0 for that of the run")
        assert isinstance(self.task, TranslationTask)
        asked = BeamOptions.of(self.config)
        return translate_texts(
            self.task.model,
            self.params,
            self.vocabulary,
            self.vocabulary.encode(texts),
            asked._replace(width=beam) if beam else asked,
            length=self.task.longest,
            batch_size=self.config.batch_size,
        )
