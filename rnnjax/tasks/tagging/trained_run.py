"""A trained tagger: labels the tokens of texts."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.tasks.exported import ExportedFunction, ExportedNetwork, symbols
from rnnjax.tasks.tagging.corpus import TaggedText
from rnnjax.tasks.tagging.data import Encoder, TokenBatches, make_batches
from rnnjax.tasks.tagging.task import TaggingTask, decode_labels
from rnnjax.tasks.task import Prediction
from rnnjax.tasks.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedTagger(TrainedRun):
    """A network that predicts a label for each token."""

    vocabulary: Vocabulary

    def predictions(self, inputs: Path | Sequence[str]) -> Iterator[Prediction]:
        """Yields tokens and labels of texts, or of those of a labelled file.

        A text is split at white space, or into characters if the training texts were.

        Raises:
          InputError: a text has no token, or the file cannot be read.
        """
        if isinstance(inputs, Path):
            yield from super().predictions(inputs)
            return
        is_spelled, task = self.data["unit"] == "character", self.task
        assert isinstance(task, TaggingTask)
        texts = [list(text) if is_spelled else text.split() for text in inputs]
        for number, tokens in enumerate(texts, start=1):
            if not tokens:
                raise InputError(f"text {number}: has no token; give a text with at least one")
        encoder = Encoder.from_metadata(self.config, self.vocabulary, self.data)
        label = task.labels[0]
        rows = [TaggedText(tokens, [label] * len(tokens)) for tokens in texts]
        split = make_batches(self.config, encoder, rows, boundaries=self.boundaries)
        predicted = task.predicted_labels(split, self.outputs(split, "predict"))
        for text, tokens, labels in zip(inputs, texts, predicted, strict=True):
            line = " ".join(f"{token}/{name}" for token, name in zip(tokens, labels, strict=True))
            if is_spelled:
                line = _join_runs(tokens, labels)
            ids = encoder.inputs([tokens]).values
            share = unknown_share(ids if ids.ndim == 1 else ids[:, 0])
            values = {"text": text, "tokens": tokens, "labels": labels, "unknown_share": share}
            yield Prediction(line, values)

    def exported(self) -> ExportedNetwork:
        """Returns the function from ids of tokens, and of their characters if any, to labels."""
        batch, time = symbols()
        task = self.task
        assert isinstance(task, TaggingTask)
        inputs, mask = task.input_shapes(batch, (time,))

        def label(params, inputs, mask):
            outputs: Any = task.model.apply({"params": params}, inputs, mask)
            scores, potentials = outputs
            return {"labels": decode_labels(scores, mask, potentials), "scores": scores}

        settings = {
            "labels": list(task.labels),
            "alphabet": task.alphabet,
            "characters_per_token": task.characters_per_token,
            "are_characters": self.data["unit"] == "character",
        }
        function = ExportedFunction(label, {"inputs": inputs, "mask": mask})
        return ExportedNetwork("labels", settings, {"model": function})

    def _evaluate_file(self, path: Path) -> dict[str, float | int]:
        split = self.task.read_split(self, path)
        assert isinstance(split, TokenBatches)
        self.warn_unknown_tokens(unknown_share(split.tokens), [])
        return self.task.compute_metrics(split, self.outputs(split, "evaluate"))


def _join_runs(characters: Sequence[str], labels: Sequence[str]) -> str:
    """Returns runs of characters of one label, each followed by it."""
    runs: list[tuple[str, str]] = []
    for character, label in zip(characters, labels, strict=True):
        if runs and runs[-1][1] == label:
            runs[-1] = runs[-1][0] + character, label
        else:
            runs.append((character, label))
    return " ".join(f"{text!r}/{label}" for text, label in runs)
