"""A trained run: a network for inference, and the files of its run."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.config import Config
from rnnjax.data.dataset import Split, TextDataset
from rnnjax.data.vocabulary import Vocabulary, has_excess_unknowns
from rnnjax.errors import InputError
from rnnjax.input_files import explain
from rnnjax.reporting import metrics_log, run_files
from rnnjax.reporting.history import History
from rnnjax.reporting.progress import write_message
from rnnjax.reporting.run_report import REPORT
from rnnjax.tasks.exported import Examples, ExportedNetwork, spread
from rnnjax.tasks.generation import TextGenerator
from rnnjax.tasks.inspection import Inspection, inspect_texts
from rnnjax.tasks.prediction import EvaluateStep, check_classes, check_scores, predict_split
from rnnjax.tasks.report_page import render_card, render_report, usage_commands, write_report
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.streaming import TextStreaming
from rnnjax.tasks.task import Prediction, Task
from rnnjax.tasks.token_task import TokenTask


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedRun:
    """A trained network with its task, data description and vocabulary.

    `rnnjax.load` returns one. A task may have a subclass, `Task.trained_run`, with queries of its
    own; those that a task has not raise InputError.

    Attributes:
      config: of the run.
      task: with the network.
      data: description of the training data, from the manifest.
      vocabulary: None where nothing is text.
      boundaries: the padded lengths of the run; none if it is not finished.
      params: of the network.
      step: the training step after which they were saved.
      evaluate_step: `Task.evaluate_batch`, compiled.
      folder: of the run.
    """

    config: Config
    task: Task
    data: Mapping[str, Any]
    vocabulary: Vocabulary | None
    boundaries: tuple[int, ...]
    params: Any
    step: int
    evaluate_step: EvaluateStep
    folder: Path

    @property
    def fallback(self) -> str:
        """The corpus that replaced the one of the config in training; '' if none did."""
        return self.data["fallback"]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of the network's outputs: classes, or the tokens that may come next."""
        return self.token_task.outcome_names(self.data, self.text_vocabulary)

    @property
    def token_task(self) -> TokenTask:
        """The task, of a network with an output after each token of a text.

        Raises:
          InputError: the network is of another task.
        """
        if not isinstance(self.task, TokenTask):
            raise self.query_error("has no output after each token of a text")
        return self.task

    @property
    def text_vocabulary(self) -> Vocabulary:
        """The vocabulary, of a network that reads text.

        Raises:
          InputError: the network reads no text.
        """
        if self.vocabulary is None:
            raise self.query_error("reads no text")
        return self.vocabulary

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json: test scores, training time, the model's layers and so on.

        Raises:
          InputError: the run has not finished, or a file of it is damaged.
        """
        return run_files.read_result(self.folder, run_files.read_manifest(self.folder)).values()

    @property
    def unknown_shares(self) -> dict[str, float]:
        """The shares of unknown tokens in the parts of the run's data; of a finished run, all.

        Raises:
          InputError: a file of the run is damaged.
        """
        parts = {"the training part": self.data}
        if self.is_finished:
            result = self.result
            names = ("validation", "test")
            parts |= {f"the {name} part": result[name] for name in names if name in result}
        return {
            name: part["unknown_share"] for name, part in parts.items() if "unknown_share" in part
        }

    @property
    def history(self) -> History:
        """The lines of metrics.jsonl: step, epoch, split, loss and so on.

        Raises:
          InputError: the file is missing or damaged.
        """
        return History(metrics_log.read(self.folder / run_files.METRICS))

    @property
    def is_finished(self) -> bool:
        """Whether the training has ended and the test scores are there."""
        return (self.folder / run_files.RESULT).exists()

    def report(self) -> str:
        """Returns the report of the run, a page of HTML; of an unfinished run without scores.

        Raises:
          InputError: a file of the run is damaged.
        """
        return render_report(type(self.task), self.folder, finished=self.is_finished)

    def __repr__(self) -> str:
        test = self.result["test"] if self.is_finished else {}
        names = [name for name in self.task.headline_metrics if name in test]
        scores = ", ".join(f"test {name} {test[name]:.4f}" for name in names) or "not finished"
        cell = f"{self.config.model.cell}, {self.config.model.features} features"
        return f"<{type(self).__name__} of step {self.step}: {cell}; {scores}>"

    def _repr_html_(self) -> str:
        return render_card(type(self.task), self.folder, finished=self.is_finished)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Copies the run to a new folder, which `rnnjax.load` and the commands take.

        Raises:
          InputError: the folder is not empty, or cannot be written.
        """
        target = Path(folder)
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise InputError(f"given {target}, which exists; expected a new folder")
            ignored = shutil.ignore_patterns(".lock")
            shutil.copytree(self.folder, target, ignore=ignored, dirs_exist_ok=True)
        except OSError as error:
            cause, remedy = explain(error)
            raise InputError(f"{target}: cannot be written ({cause}); {remedy}") from error
        if (target / REPORT).exists():
            # Its commands name the folder.
            write_report(type(self.task), target, finished=self.is_finished)

    def commands(self, folder: Path) -> list[tuple[str, str]]:
        """Returns purpose and command line of each command for the network."""
        return usage_commands(type(self.task), self.config, folder)

    def predict(self, inputs: Path | Sequence[str]) -> Any:
        """Returns the predictions for texts or for a file, as the task of the run makes them.

        Raises:
          InputError: the task predicts nothing of such inputs.
        """
        return [dict(prediction.values) for prediction in self.predictions(inputs)]

    def predictions(self, inputs: Path | Sequence[str]) -> Iterator[Prediction]:
        """Yields the answers to texts, or to the examples of a file, in their order.

        Raises:
          InputError: the task predicts nothing of such inputs.
        """
        if type(self.task).predictions is Task.predictions:
            raise self.query_error("answers neither texts nor files")
        if not isinstance(inputs, Path):
            raise self.query_error("reads no texts")
        split = self.task.read_split(self, inputs)
        yield from self.task.predictions(split, self.outputs(split, "predict"))

    def text_generator(
        self, length: int, options: GenerationOptions | None = None
    ) -> TextGenerator:
        """Returns a generator of texts that continue prompts, many at once.

        Args:
          length: maximum number of tokens.
          options: of the generation; None to sample by the probabilities of the network, seed 0.

        Raises:
          InputError: the network generates no text, a number is out of its range, or no text of
            so few tokens matches the pattern.
        """
        raise self.query_error("generates no text")

    def generate(
        self, prompt: str, length: int, options: GenerationOptions | None = None
    ) -> Iterator[str]:
        """Yields pieces of a text that continues a prompt, as they are generated, up to its end.

        Args:
          prompt: the start of the text, which is not yielded.
          length: as for `text_generator`.
          options: as for `text_generator`.

        Raises:
          InputError: as for `text_generator`, or the prompt is not valid Unicode.
        """
        return self.text_generator(length, options).pieces(prompt)

    def score(self, texts: Sequence[str]) -> list[Any]:
        """Returns the log-probability of each text, with the surprisal of each token.

        A text is read from its start, and does not depend on the other texts.

        Args:
          texts: at least one.

        Raises:
          InputError: the network scores no text, or a text is not valid Unicode.
        """
        return list(self.scores(texts))

    def scores(self, texts: Sequence[str]) -> Iterator[Any]:
        """Yields what `score` returns, as it is computed."""
        raise self.query_error("scores no text")

    def translate(self, texts: Sequence[str], beam_size: int = 0) -> list[Any]:
        """Returns the best translation of each text, which does not depend on the other texts.

        Args:
          texts: in the source language, at least one.
          beam_size: of the beam search; 0 for that of the config.

        Raises:
          InputError: the network translates no text, `beam_size` is less than 0, or a text is not
            valid Unicode.
        """
        raise self.query_error("translates no text")

    def exported(self) -> ExportedNetwork:
        """Returns the functions of the network for an exported folder.

        Raises:
          InputError: the task has no such form.
        """
        raise self.query_error("has no form that answers without JAX")

    def examples(self, texts: Sequence[str] | None = None) -> Examples:
        """Returns real inputs with their answers.

        Args:
          texts: the inputs; None for some of the test split.

        Raises:
          InputError: the data of the run is not available, or the network reads no text.
        """
        inputs = spread(self._test_texts()) if texts is None else list(texts)
        return Examples(inputs, self.answers(inputs))

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the answer to each text, ready for JSON, as an exported folder gives it.

        Raises:
          InputError: the network reads no text, or a text cannot be answered.
        """
        return [dict(answer.values) for answer in self.predictions(texts)]

    def _test_texts(self) -> Sequence[str]:
        corpus = self.task.load_corpus(self.config)
        dataset = self.task.make_dataset(self.config, corpus, self.text_vocabulary)
        assert isinstance(dataset, TextDataset)
        return [text for text in dataset.texts(self.config.data, "test") if text.strip()]

    def query_error(self, reason: str) -> InputError:
        """Returns the error of an unsupported query, with the commands that the task supports.

        Args:
          reason: a phrase after "which": 'generates no text'.
        """
        hints = [f"`{line}`" for _, line in self.commands(self.folder)]
        hint = f"; it can be used with {' or '.join(hints)}" if hints else ""
        return InputError(
            f"{self.folder} holds a run of the task {self.task.schema.name!r}, which {reason}{hint}"
        )

    def outputs(self, split: Split, name: str) -> list[Any]:
        """Returns the outputs of the network on each batch of a split.

        Args:
          split: every example is read once.
          name: of the progress bar.
        """
        return predict_split(self.task, self.evaluate_step, self.params, split, name)

    def inspect(self, texts: Sequence[str], beside: "TrainedRun | None" = None) -> Inspection:
        """Returns gates, states, outputs and attributions at each token of texts.

        Args:
          texts: at least one.
          beside: another run that reads the same texts; None for this one alone.

        Raises:
          InputError: a text has no token or too many, there are too many texts, or the network
            reads no text.
        """
        model = self.config.model
        return Inspection(
            texts=inspect_texts(self, texts),
            name=self.folder.resolve().name,
            cell=f"{model.cell}, {model.features} features",
            fallback=self.fallback,
            beside=beside.inspect(texts) if beside else None,
        )

    def evaluate(self, path: str | os.PathLike[str]) -> dict[str, float | int]:
        """Returns the scores of the network on a file, as the result of a run has them.

        Raises:
          InputError: the file is not of the kind that the task reads, the task reads no file, or a
            score is not finite.
        """
        scores = self._evaluate_file(Path(path))
        check_scores(scores, str(path))
        return scores

    def _evaluate_file(self, path: Path) -> dict[str, float | int]:
        split = self.task.read_split(self, path)
        check_classes(self.task, split, str(path))
        return self.task.compute_metrics(split, self.outputs(split, "evaluate"))

    def warn_unknown_tokens(self, share: float, texts: Sequence[str]) -> None:
        """Warns where many tokens of texts are unknown, or fewer would be in another Unicode form.

        Args:
          share: of unknown tokens.
          texts: that are scored.
        """
        training_share = self.data.get("unknown_share", 0.0)
        advice = self.text_vocabulary.advise_unicode_form(texts, self.config.data.max_tokens)
        if advice or has_excess_unknowns(share, training_share):
            write_message(
                f"WARNING: {share:.1%} of the tokens are unknown to the network, and "
                f"{training_share:.1%} of its training text; it reads all of them as one and the "
                f"same, so that scores on this text say little{advice}"
            )

    def stream(self) -> TextStreaming:
        """Returns a stream that reads a text in pieces, each token once.

        Raises:
          InputError: the network is bidirectional, or has no output after each token of a text.
        """
        if self.config.model.bidirectional:
            raise InputError(
                "config.model.bidirectional: given True, and a network that reads from both ends "
                "begins anew, at the end, with each token that comes, so that no state is worth "
                "keeping; expected False, or ask it of whole texts (predict)"
            )
        max_tokens = self.config.data.max_tokens
        return TextStreaming(self.token_task, self.params, self.text_vocabulary, max_tokens)
