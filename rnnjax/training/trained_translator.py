"""A trained translator, to be asked for the texts in the place of others."""

import dataclasses
from collections.abc import Sequence

from rnnjax.data.text import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks import Translation
from rnnjax.tasks.translating import Beam, Written, translations
from rnnjax.training.trained import TrainedRun


@dataclasses.dataclass(frozen=True)
class TrainedTranslator(TrainedRun):
    """A network that writes a text for each that it reads."""

    task_name = "translation"

    vocabulary: Vocabulary

    def translate(self, texts: Sequence[str], beam: int = 0) -> list[Written]:
        """Returns the best text for each, read by itself: what stands beside it does not matter.

        Args:
          texts: of the source language, at least one.
          beam: texts that are looked at side by side; 0 for as many as the config says.

        Raises:
          InputError: `beam` is less than 0, or a text is not valid Unicode.
        """
        if beam < 0:
            raise InputError(f"beam: given {beam}, expected 1 or more, or 0 for that of the run")
        assert isinstance(self.task, Translation)
        asked = Beam.of(self.config)
        return translations(
            self.task.model,
            self.params,
            self.vocabulary,
            self.vocabulary.encode(texts),
            asked._replace(width=beam) if beam else asked,
            length=self.task.longest,
            batch_size=self.config.batch_size,
        )
