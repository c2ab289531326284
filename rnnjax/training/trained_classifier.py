"""A trained classifier: predicts the class of texts."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int32

from rnnjax.data.corpora import read_csv
from rnnjax.data.labelled_text import fit_boundaries, make_batches
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.tasks import classification_metrics
from rnnjax.tasks.classification import restore_order
from rnnjax.training.evaluation import predict_split
from rnnjax.training.memory_limits import is_out_of_memory
from rnnjax.training.trained_run import TrainedRun

_MAX_BATCHED_TOKENS = 512
"""Longer texts are read one at a time, so that memory follows their length."""


@dataclasses.dataclass(frozen=True)
class TrainedClassifier(TrainedRun):
    """A network that predicts the class of a text."""

    task_name = "classification"

    vocabulary: Vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.data["classes"])

    def _evaluate_file(self, path: Path) -> dict[str, float | int]:
        """Returns loss (nats), accuracy, macro-F1, rows and unknown share of a file.

        Args:
          path: CSV in the original layout of AG News, "class","title","description", no header.

        Raises:
          InputError: the file cannot be read, or a text is too long for the memory of the device.
        """
        rows = list(read_csv(path, self.classes))
        labels = np.array([row.label for row in rows], np.int32)
        fields = self.config.data.text.split("+")
        texts = [" ".join(getattr(row, field) for field in fields) for row in rows]
        tokens = self.vocabulary.encode(texts, self.config.data.max_tokens).tokens
        share = unknown_share(tokens)
        self.warn_unknown_tokens(share, texts)
        return {
            **classification_metrics.compute_metrics(labels, self.log_probabilities(texts, labels)),
            "unknown_share": share,
        }

    def log_probabilities(
        self, texts: list[str], labels: Int32[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows classes"]:
        """Returns log-probabilities of texts in batches like those of the test data of the run.

        Args:
          texts: at least one.
          labels: a class for each text.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        # Without a mask the network reads padding, which depends on the other texts of a batch.
        max_tokens = _MAX_BATCHED_TOKENS if self.config.model.mask else sys.maxsize
        return self._log_probabilities(
            "evaluate", texts, labels, self.config.batch_size, max_tokens
        )

    def predict(self, texts: Sequence[str]) -> Float[np.ndarray, "rows classes"]:
        """Returns the probability of each class for each text.

        The probabilities of a text do not depend on the other texts: a network without a mask reads
        each in a batch of its own, without padding.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        batch_size = self.config.batch_size if self.config.model.mask else 1
        labels = np.zeros(len(texts), np.int32)
        return np.exp(
            self._log_probabilities("predict", list(texts), labels, batch_size, _MAX_BATCHED_TOKENS)
        )

    def _log_probabilities(
        self, name: str, texts: list[str], labels: np.ndarray, batch_size: int, max_tokens: int
    ) -> np.ndarray:
        """Returns log-probabilities; texts of more than `max_tokens` have a batch of their own."""
        lengths = self.vocabulary.encode(texts, self.config.data.max_tokens).lengths
        outputs = np.empty((len(texts), len(self.classes)), np.float32)
        short, long = np.flatnonzero(lengths <= max_tokens), np.flatnonzero(lengths > max_tokens)
        for rows, size, boundaries in ((short, batch_size, self.boundaries), (long, 1, ())):
            if not len(rows):
                continue
            split = make_batches(
                self.config.data,
                self.vocabulary,
                [texts[row] for row in rows],
                labels[rows],
                batch_size=size,
                mask_padding=self.config.model.mask,
                boundaries=boundaries,
            )
            if not boundaries:
                split = fit_boundaries(split, self.config.data.buckets)
            try:
                batches = predict_split(self.task, self.evaluate_step, self.params, split, name)
                outputs[rows] = restore_order(split, batches)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise InputError(
                    "the device ran out of memory on texts of up to "
                    f"{lengths[rows].max():,} tokens, {size} at a time; shorten the texts"
                ) from error
        failed = np.flatnonzero(np.isnan(outputs).any(axis=1))
        if failed.size:
            raise InputError(
                f"text {failed[0] + 1}: the answer is not a number, of {failed.size} of "
                f"{len(texts)} texts: the network has diverged, or overflows on them; train it "
                "again with a lower config.learning_rate"
            )
        return outputs
