"""A trained language model, to be asked for text."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from rnnjax.data import text_stream
from rnnjax.data.corpora import plain_text
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.input_files import read_text
from rnnjax.tasks import LanguageModelingTask
from rnnjax.tasks.sampling import SamplingOptions, generate_tokens
from rnnjax.training.evaluation import predict_split
from rnnjax.training.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True)
class TrainedLanguageModel(TrainedRun):
    """A network that says which token comes next."""

    task_name = "language_modeling"

    vocabulary: Vocabulary

    def score(self, path: Path) -> dict[str, float | int]:
        """Returns loss (nats), bits and perplexity a token, accuracy, rows and unknown share.

        Rows are the tokens, the end among them. The file is one text for a network of running text;
        for one of documents each of its lines is one.

        Raises:
          InputError: the file cannot be read, or holds no text.
        """
        connected = self.data["connected"]
        rows = plain_text.lines(read_text(path))
        if not connected:
            rows = [line.rstrip("\r\n") for line in rows if line.strip()]
        if not rows:
            raise InputError(f"{path}: there is no text; give another file")
        judged = text_stream.make_evaluation_stream(
            "evaluate",
            rows,
            self.vocabulary,
            self.config.batch_size,
            self.config.data.sequence_length,
            connected=connected,
        )
        self.warn_of_unknown(unknown_share(judged.tokens), rows)
        found = predict_split(self.task, self.evaluate_step, self.params, judged, "evaluate")
        return self.task.summary(judged, found)

    def write(
        self, prompt: str, length: int, choice: SamplingOptions | None = None
    ) -> Iterator[str]:
        """Yields pieces of a text that goes on from a prompt, as they are made, up to its end.

        Args:
          prompt: what the text begins with, no part of what is yielded.
          length: most tokens.
          choice: how they are chosen; None for the probabilities of the network, seed 0.

        Raises:
          InputError: a number is out of its range, or the prompt is not valid Unicode.
        """
        assert isinstance(self.task, LanguageModelingTask)
        given = SamplingOptions() if choice is None else choice
        return generate_tokens(self.task, self.params, self.vocabulary, prompt, length, given)
