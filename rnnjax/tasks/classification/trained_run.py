"""A trained classifier: predicts the class of texts."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped

from rnnjax.data import token_files
from rnnjax.data.corpora import read_csv
from rnnjax.data.corpora.corpus import JoinedTexts
from rnnjax.data.corpora.labelled_files import load_labelled_split
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.data.token_files import Texts
from rnnjax.data.vocabulary import Vocabulary, has_excess_unknowns, unknown_share
from rnnjax.errors import InputError, is_out_of_memory
from rnnjax.tasks.classification import metrics, multi_label
from rnnjax.tasks.classification.data import fit_boundaries, make_batches
from rnnjax.tasks.exported import ExportedFunction, ExportedNetwork, symbols
from rnnjax.tasks.task import Prediction
from rnnjax.tasks.trained_run import TrainedRun

_MAX_CHARACTERS = 80
_MAX_BATCHED_TOKENS = 512
"""Longer texts are read one at a time, so that memory follows their length."""
_MAX_CHECKED_TEXTS = 100_000
"""Texts of a file whose Unicode form is checked."""


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedClassifier(TrainedRun):
    """A network that predicts the class of a text."""

    vocabulary: Vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.data["classes"])

    def predictions(self, inputs: Path | Sequence[str]) -> Iterator[Prediction]:
        """Yields class, probabilities and share of unknown tokens of texts.

        Raises:
          InputError: a file is given, or a text is too long for the memory of the device.
        """
        if isinstance(inputs, Path):
            raise InputError(f"given the file {inputs}, expected texts; give its lines as texts")
        texts, training_share = list(inputs), self.data.get("unknown_share", 0.0)
        shares = self.vocabulary.unknown_shares(texts, self.config.data.max_tokens)
        for text, share, row in zip(texts, shares, self.predict(texts), strict=True):
            probabilities = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
            doubt = _doubt(text, share, has_excess_unknowns(share, training_share))
            answer, line = _answer(text, probabilities, self.config.data.multi_label)
            answer |= {"probabilities": probabilities, "unknown_share": share}
            yield Prediction(line + doubt, {"text": text, **answer})

    def _evaluate_file(self, path: Path) -> dict[str, float | int]:
        """Returns loss (nats), accuracy, F1, rows and unknown share of a file.

        Args:
          path: a file with the columns of the training data; of a run on AG News or the
            docstrings, CSV in the original layout of AG News, "class","title","description",
            without a header.

        Raises:
          InputError: the file cannot be read, or a text is too long for the memory of the device.
        """
        config = self.config.data
        fields = config.text.split("+")
        if config.has_named_columns:
            split = load_labelled_split(path, config, self.classes)
            labels, texts = split.labels, split.joined_texts(config.text)
        else:
            rows = list(read_csv(path, self.classes))
            labels = np.array([row.label for row in rows], np.int32)
            texts = [" ".join(getattr(row, field) for field in fields) for row in rows]
        sequences = self._encode(texts)
        share = unknown_share(sequences.values)
        self.warn_unknown_tokens(share, texts[:_MAX_CHECKED_TEXTS])
        compute = multi_label.compute_metrics if config.multi_label else metrics.compute_metrics
        outputs = self._batched_log_probabilities(texts, sequences, labels)
        return {**compute(labels, outputs), "unknown_share": share}

    def _encode(self, texts: Texts) -> Sequences:
        return token_files.encode("texts", texts, self.vocabulary, self.config.data.max_tokens)

    def log_probabilities(
        self, texts: Texts, labels: Shaped[np.ndarray, "rows ..."]
    ) -> Float[np.ndarray, "rows classes"]:
        """Returns log-probabilities of texts in batches like those of the test data of the run.

        Args:
          texts: at least one.
          labels: as for `make_batches`.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        return self._batched_log_probabilities(texts, self._encode(texts), labels)

    def _batched_log_probabilities(
        self, texts: Texts, sequences: Sequences, labels: np.ndarray
    ) -> np.ndarray:
        # Without a mask the network reads padding, which depends on the other texts of a batch.
        max_tokens = _MAX_BATCHED_TOKENS if self.config.model.mask else sys.maxsize
        return self._log_probabilities(
            "evaluate", texts, sequences, labels, self.config.batch_size, max_tokens
        )

    def predict(self, texts: Sequence[str]) -> Float[np.ndarray, "rows classes"]:
        """Returns the probability of each class, or label, for each text.

        The probabilities of a text do not depend on the other texts: a network without a mask reads
        each in a batch of its own, without padding.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        batch_size = self.config.batch_size if self.config.model.mask else 1
        labels, sequences = np.zeros(len(texts), np.int32), self._encode(texts)
        return np.exp(
            self._log_probabilities(
                "predict", texts, sequences, labels, batch_size, _MAX_BATCHED_TOKENS
            )
        )

    def exported(self) -> ExportedNetwork:
        """Returns the function from token ids to the log-probabilities of the classes."""
        batch, time = symbols()
        inputs, mask = self.task.input_shapes(batch, (time,))

        def classify(params, inputs, mask):
            return {"log_probabilities": self.token_task.advance(params, inputs, mask)[1]}

        settings = {
            "classes": list(self.classes),
            "threshold": multi_label.THRESHOLD if self.config.data.multi_label else None,
            "max_tokens": self.config.data.max_tokens,
        }
        function = ExportedFunction(classify, {"inputs": inputs, "mask": mask})
        return ExportedNetwork("classes", settings, {"model": function})

    def _log_probabilities(
        self,
        name: str,
        texts: Texts,
        sequences: Sequences,
        labels: np.ndarray,
        batch_size: int,
        max_tokens: int,
    ) -> np.ndarray:
        """Returns log-probabilities; texts of more than `max_tokens` have a batch of their own."""
        lengths = sequences.lengths
        outputs = np.empty((len(texts), len(self.classes)), np.float32)
        short, long = np.flatnonzero(lengths <= max_tokens), np.flatnonzero(lengths > max_tokens)
        for rows, size, boundaries in ((short, batch_size, self.boundaries), (long, 1, ())):
            if not len(rows):
                continue
            is_part = len(rows) < len(sequences)
            split = make_batches(
                self.config.data,
                self._encode(_take(texts, rows)) if is_part else sequences,
                labels[rows],
                batch_size=size,
                mask_padding=self.config.model.mask,
                boundaries=boundaries,
            )
            if not boundaries:
                split = fit_boundaries(split, self.config.data.buckets)
            try:
                batches = self.outputs(split, name)
                outputs[rows] = split.restore_order(batches)
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


def _take(texts: Texts, rows: Indices) -> Texts:
    return texts.take(rows) if isinstance(texts, JoinedTexts) else [texts[int(row)] for row in rows]


def _answer(
    text: str, probabilities: dict[str, float], is_multi_label: bool
) -> tuple[dict[str, Any], str]:
    """Returns the class or the labels of a text for JSON, and a line for people."""
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    count = 1
    if is_multi_label:
        count = sum(value > multi_label.THRESHOLD for value in probabilities.values())
    predicted, rest = (
        ", ".join(f"{name} {probabilities[name]:.3f}" for name in names)
        for names in (ranked[:count], ranked[count:])
    )
    text = " ".join(text.split())
    if len(text) > _MAX_CHARACTERS:
        text = text[: _MAX_CHARACTERS - 1] + "…"
    line = f"{predicted or multi_label.NO_LABEL}  ({rest})  {text}"
    if is_multi_label:
        return {"labels": ranked[:count]}, line
    return {"class": ranked[0], "probability": probabilities[ranked[0]]}, line


def _doubt(text: str, unknown_share: float, unfamiliar: bool) -> str:
    """Returns a remark on a text that is empty or has many unknown tokens, otherwise ''."""
    if not text.strip():
        return "  [an empty text]"
    if unknown_share == 1:
        return "  [no known word: do not trust the answer]"
    if unfamiliar:
        return f"  [{unknown_share:.0%} unknown: do not trust the answer]"
    return ""
