"""A trained run: a network for inference, loaded from the folder of a run."""

import dataclasses
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from rnnjax import cache
from rnnjax.cells.registry import check_in_package, is_in_package
from rnnjax.config import Config
from rnnjax.data.vocabulary import Vocabulary, has_excess_unknowns
from rnnjax.errors import InputError
from rnnjax.input_files import explain
from rnnjax.reporting import metrics_log, run_files, run_report
from rnnjax.reporting.progress import write_message
from rnnjax.tasks import TASKS, Task
from rnnjax.tasks.token_task import TokenTask
from rnnjax.training.finite import check_params, check_scores
from rnnjax.training.inspection import Inspection, inspect_texts
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.state import is_evaluated
from rnnjax.training.step import CompiledFunction, make_evaluate_step
from rnnjax.training.streaming import TextStreaming


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained network with its task, data description and vocabulary.

    A subclass for each task adds queries; `load_run` returns that of a run's task.

    Attributes:
      config: of the run.
      task: with the network.
      data: description of the training data, from the manifest.
      vocabulary: None where nothing is text.
      boundaries: the padded lengths of the run; none if it is not finished.
      params: of the network.
      step: the training step after which they were saved.
      evaluate_step: as `make_evaluate_step` returns it.
      folder: of the run.
    """

    task_name: ClassVar[str] = ""
    """The task of the runs that the class serves, by its name in a config; '' for any."""

    config: Config
    task: Task
    data: Mapping[str, Any]
    vocabulary: Vocabulary | None
    boundaries: tuple[int, ...]
    params: Any
    step: int
    evaluate_step: CompiledFunction
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
            names = [name for name, task in TASKS.items() if issubclass(task, TokenTask)]
            raise InputError(
                f"given a run of the task {self.config.task!r}, expected one of a network that "
                f"answers after any part of a text: {', '.join(names)}"
            )
        return self.task

    @property
    def text_vocabulary(self) -> Vocabulary:
        """The vocabulary, of a network that reads text.

        Raises:
          InputError: the network reads no text.
        """
        if self.vocabulary is None:
            raise InputError(f"given a run of the task {self.config.task!r}, which reads no text")
        return self.vocabulary

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json: test scores, training time, the model's layers and so on.

        Raises:
          InputError: the run has not finished, or a file of it is damaged.
        """
        return RunFolder(self.folder).read_result()

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: step, epoch, split, loss and so on.

        Raises:
          InputError: the file is missing or damaged.
        """
        return metrics_log.read(self.folder / run_files.METRICS)

    def report(self) -> str:
        """Returns the report of the run, a page of HTML.

        Raises:
          InputError: the run has not finished, or a file of it is damaged.
        """
        return run_report.render(run_files.read(self.folder), self.folder)

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
        if RunFolder(target).report.exists():
            run_report.write_report(target)  # its commands name the folder

    def predict(self, texts: Sequence[str]) -> Any:
        """Returns the predictions for texts: class probabilities, next tokens or translations.

        Raises:
          InputError: the network does not read text.
        """
        raise InputError(
            f"given a run of the task {self.config.task!r}, whose network predicts nothing of texts"
        )

    def inspect(self, texts: Sequence[str]) -> Inspection:
        """Returns gates, states, outputs and attributions at each token of texts.

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
        raise InputError(
            f"{path}: given to a run of the task {self.config.task!r}, which is not scored on a "
            "file; expected a run of a classifier or of a language model"
        )

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

    @classmethod
    def load(cls, workdir: Path, trust: bool = False) -> Self:
        """Returns the network of a run from its newest checkpoint.

        Args:
          workdir: the folder of the run, finished or not.
          trust: import the module of a cell from outside rnnjax and flax.

        Raises:
          InputError: there is no run, or none of this task, no checkpoint, a file is damaged, or
            the cell is not trusted.
        """
        cache.enable_compilation_cache()
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        folder = RunFolder(workdir)
        folder.check_is_run(f"workdir {workdir}")
        config, _ = folder.read()
        if not trust:
            _check_cell(workdir, config)
        if cls.task_name not in ("", config.task):
            command = query_command(config, workdir)
            hint = f"; ask it with `{command}`" if command else ""
            raise InputError(
                f"workdir {workdir}: holds a run of the task {config.task!r}, expected one of "
                f"{cls.task_name!r}{hint}"
            )
        if config.replicates > 1:
            folders = [replicate.path for _, replicate in folder.replicates(config)]
            raise InputError(
                f"workdir {workdir}: holds {len(folders)} networks, of the seeds {config.seed} to "
                f"{config.seed + len(folders) - 1}; ask one of them: "
                + shlex.quote(f"--workdir={folders[0]}")
            )
        data = folder.read_data(*TASKS[config.task].metadata_keys)
        if data["fallback"]:
            write_message(
                f"WARNING: this network was trained on the {data['fallback']} corpus, which stood "
                "in for the news: its answers say nothing about news"
            )
        result = folder.read_result() if folder.result.exists() else {}
        vocabulary = folder.read_vocabulary()
        # All engines compute the same, and not every machine has that of the training.
        model = config.model.model_copy(update={"engine": "auto"})
        config = config.model_copy(update={"model": model})
        task = TASKS[config.task].from_config(config, len(vocabulary) if vocabulary else 0, data)
        params = jax.eval_shape(task.init, jax.random.key(0))
        name = "average" if config.averaging.decay else "params"
        template: dict[str, Any] = {name: params}
        if config.early_stopping.patience:
            template["best"] = {"params": params, "loss": jax.ShapeDtypeStruct((), jnp.float32)}
        restored = folder.open_checkpoints().restore(template)
        if restored is None:
            raise InputError(
                f"workdir {workdir}: holds no checkpoint yet; let the run reach its first one "
                f"(config.checkpoint.every, {config.checkpoint.every} steps) or its end"
            )
        step, saved = restored
        if result and result["steps"] != step:
            write_message(
                f"WARNING: {workdir}: the result is that of step {result['steps']}, whose "
                f"checkpoint is not there; answers are those of step {step}"
            )
        is_best = "best" in saved and is_evaluated(saved["best"]["loss"])
        params = saved["best"]["params"] if is_best else saved[name]
        check_params(params, f"workdir {workdir}, checkpoint of step {step}")
        return cls(
            config=config,
            task=task,
            data=data,
            vocabulary=vocabulary,
            boundaries=tuple(result.get("buckets", ())),
            params=params,
            step=step,
            evaluate_step=make_evaluate_step(task),
            folder=folder.path,
        )


def command_flags(config: Config, workdir: Path) -> str:
    """Returns the flags of a command that loads a run, quoted for a shell."""
    flags = shlex.quote(f"--workdir={workdir}")
    return flags if is_in_package(config.model.cell) else f"{flags} --trust"


def query_command(config: Config, workdir: Path) -> str:
    """Returns the command line that queries a trained network; '' if its task has none."""
    command = TASKS[config.task].usage_command
    return command and f"{command} {command_flags(config, workdir)}"


def _check_cell(workdir: Path, config: Config) -> None:
    """Raises InputError if the cell in a run's config, which is data, would run foreign code."""
    try:
        check_in_package(config.model.cell)
    except InputError as error:
        raise InputError(
            f"workdir {workdir}: its config.json asks for {error}. Read that file; if you trust "
            "it, repeat the command with --trust, or load(workdir, trust=True) in Python"
        ) from None
