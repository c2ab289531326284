"""A trained language model, to be asked for text."""

import dataclasses
from collections.abc import Iterator

from rnnjax.data.text import Vocabulary
from rnnjax.tasks import LanguageModeling
from rnnjax.tasks.writing import Choice, written
from rnnjax.training.trained import TrainedRun


@dataclasses.dataclass(frozen=True)
class TrainedWriter(TrainedRun):
    """A network that says which token comes next."""

    task_name = "language_modeling"

    vocabulary: Vocabulary

    def write(self, prompt: str, length: int, choice: Choice | None = None) -> Iterator[str]:
        """Yields pieces of a text that goes on from a prompt, as they are made, up to its end.

        Args:
          prompt: what the text begins with, no part of what is yielded.
          length: most tokens.
          choice: how they are chosen; None for the probabilities of the network, seed 0.

        Raises:
          InputError: a number is out of its range, or the prompt is not valid Unicode.
        """
        assert isinstance(self.task, LanguageModeling)
        given = Choice() if choice is None else choice
        return written(self.task, self.params, self.vocabulary, prompt, length, given)
