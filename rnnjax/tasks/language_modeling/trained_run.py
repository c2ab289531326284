"""A trained language model: scores and generates text."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.data.corpora import plain_text
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.input_files import read_text
from rnnjax.tasks.exported import (
    ExportedFunction,
    ExportedNetwork,
    add_batch,
    name_leaves,
    symbols,
)
from rnnjax.tasks.generation import TextGenerator
from rnnjax.tasks.language_modeling import data
from rnnjax.tasks.language_modeling.scoring import TextScore, score_texts
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedLanguageModel(TrainedRun):
    """A network that predicts the next token."""

    vocabulary: Vocabulary

    def _evaluate_file(self, path: Path) -> dict[str, float | int]:
        """Returns loss (nats), bits and perplexity a token, accuracy, rows and unknown share.

        Rows are the tokens, the end of a text among them. The file is one text for a network
        trained on running text, and a text a line for one trained on documents.

        Raises:
          InputError: the file cannot be read, or holds no text.
        """
        is_connected = self.data["connected"]
        rows = plain_text.split_lines(read_text(path))
        if not is_connected:
            rows = [line.rstrip("\r\n") for line in rows if line.strip()]
        if not rows:
            raise InputError(f"{path}: there is no text; give another file")
        split = data.make_evaluation_stream(
            "evaluate",
            rows,
            self.vocabulary,
            self.config.batch_size,
            self.config.data.sequence_length,
            connected=is_connected,
        )
        self.warn_unknown_tokens(unknown_share(split.tokens), rows)
        outputs = self.outputs(split, "evaluate")
        return self.task.compute_metrics(split, outputs)

    def predict(self, texts: Sequence[str]) -> Float[np.ndarray, "texts outcomes"]:
        """Returns the probability of each next token after each text, by the order of `outcomes`.

        Raises:
          InputError: a text is not valid Unicode.
        """
        return np.stack([self.stream().feed(text) for text in texts])

    def exported(self) -> ExportedNetwork:
        """Returns the function from token ids and a state to the next state.

        It returns the log-probabilities of the next token after each, too.
        """
        batch, time = symbols()
        task = self.task
        assert isinstance(task, LanguageModelingTask)
        inputs, mask = task.input_shapes(batch, (time,))
        # A masked step returns the initial state.
        blank = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
        start = jax.device_get(task.read(self.params, *blank)[0])
        structure = jax.tree.structure(start)
        states = name_leaves(start, "state")

        def read(params, inputs, mask, *state):
            state = jax.tree.unflatten(structure, state)
            state, logits = task.read(params, inputs, mask, state)
            outputs = {"log_probabilities": jax.nn.log_softmax(logits)}
            return {**outputs, **name_leaves(state, "state")}

        shapes = {name: add_batch(leaf, batch) for name, leaf in states.items()}
        function = ExportedFunction(read, {"inputs": inputs, "mask": mask, **shapes})
        tensors = {f"start/{name}": leaf for name, leaf in states.items()}
        settings = {"state": list(states), "max_tokens": 0}
        return ExportedNetwork("next_token", settings, {"model": function}, tensors)

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the score of each text, ready for JSON.

        Raises:
          InputError: a text is not valid Unicode.
        """
        return [score.values() for score in self.scores(texts)]

    def _test_texts(self) -> Sequence[str]:
        rows = self.task.load_corpus(self.config).splits["test"]
        return [row.rstrip("\r\n") for row in rows if row.strip()]

    def scores(self, texts: Sequence[str]) -> Iterator[TextScore]:
        """Yields the log-probability of each text, with the surprisal of each token.

        Raises:
          InputError: a text is not valid Unicode.
        """
        assert isinstance(self.task, LanguageModelingTask)
        return score_texts(self.task, self.params, self.vocabulary, texts)

    def text_generator(
        self, length: int, options: GenerationOptions | None = None
    ) -> TextGenerator:
        """Returns a generator of texts that continue prompts, many at once.

        Args:
          length: maximum number of tokens.
          options: of the generation; None to sample by the probabilities of the network, seed 0.

        Raises:
          InputError: a number is out of its range, or no text of so few tokens
            matches the pattern.
        """
        assert isinstance(self.task, LanguageModelingTask)
        options = options or GenerationOptions()
        return TextGenerator(self.task, self.params, self.vocabulary, length, options)
