"""A trained run, to be asked."""

import dataclasses
import os
import shlex
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
from rnnjax.reporting.progress import write_message
from rnnjax.tasks import TASKS, Task
from rnnjax.tasks.token_task import TokenTask
from rnnjax.training.finite import check_params
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.state import is_found
from rnnjax.training.step import Compiled, make_evaluate_step
from rnnjax.training.streaming import TextStreaming


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A network and what it takes to ask it; what derives from it asks those of one task.

    `TrainedRun.load` returns the kind of the task of a run.

    Attributes:
      config: of the run.
      task: with the network.
      data: what it was trained on, as environment.json says it.
      vocabulary: numbers the tokens; None where nothing is text.
      boundaries: the padded lengths of the run; none if it has not ended.
      params: of the network.
      step: of the training at which they were saved.
      evaluate_step: asks the network.
    """

    task_name: ClassVar[str] = ""
    """The task whose networks these are, by the name that a config has for it; '' for any."""

    config: Config
    task: Task
    data: Mapping[str, Any]
    vocabulary: Vocabulary | None
    boundaries: tuple[int, ...]
    params: Any
    step: int
    evaluate_step: Compiled

    @property
    def fallback(self) -> str:
        """The corpus that it was trained on in the place of the one asked for; or ''."""
        return self.data["fallback"]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of what the network tells apart: classes, or the tokens that may come next."""
        return self.reading.outcomes(self.data, self.numbering)

    @property
    def reading(self) -> TokenTask:
        """The task, of a network that reads text and answers after any part of it.

        Raises:
          InputError: it does something else.
        """
        if not isinstance(self.task, TokenTask):
            able = [name for name, task in TASKS.items() if issubclass(task, TokenTask)]
            raise InputError(
                f"given a run of the task {self.config.task!r}, expected one of a network that "
                f"answers after any part of a text: {', '.join(able)}"
            )
        return self.task

    @property
    def numbering(self) -> Vocabulary:
        """The vocabulary, of a network that reads text.

        Raises:
          InputError: it reads something else.
        """
        if self.vocabulary is None:
            raise InputError(f"given a run of the task {self.config.task!r}, which reads no text")
        return self.vocabulary

    def score(self, path: Path) -> dict[str, float | int]:
        """Returns the scores of the network on a file, as the result of a run has them.

        Raises:
          InputError: the file is not what the task reads, or the task reads no file.
        """
        raise InputError(
            f"{path}: given to a run of the task {self.config.task!r}, which is not scored on a "
            f"file; expected a run of one of {', '.join(_tasks_scored_on_files())}"
        )

    def warn_of_unknown(self, share: float, texts: Sequence[str]) -> None:
        """Warns where many tokens of texts are unknown, or fewer would be in another Unicode form.

        Args:
          share: of their tokens, that are unknown.
          texts: that are scored.
        """
        trained_on = self.data.get("unknown_share", 0.0)
        advice = self.numbering.advise_unicode_form(texts, self.config.data.max_tokens)
        if advice or has_excess_unknowns(share, trained_on):
            write_message(
                f"WARNING: {share:.1%} of the tokens are unknown to the network, and "
                f"{trained_on:.1%} of its training text; it reads all of them as one and the same, "
                f"so that scores on this text say little{advice}"
            )

    def stream(self) -> TextStreaming:
        """Returns a text that is fed in pieces, none of which is read twice.

        Raises:
          InputError: the network reads from both ends.
        """
        if self.config.model.bidirectional:
            raise InputError(
                "config.model.bidirectional: given True, and a network that reads from both ends "
                "begins anew, at the end, with each token that comes, so that no state is worth "
                "keeping; expected False, or ask it of whole texts (predict)"
            )
        return TextStreaming(self.reading, self.params, self.numbering, self.config.data.max_tokens)

    @classmethod
    def load(cls, workdir: Path, trust: bool = False) -> Self:
        """Returns the network of a run, as its newest checkpoint has it.

        Args:
          workdir: the folder of the run, finished or not.
          trust: import the module of its cell where that is from outside rnnjax and flax.

        Raises:
          InputError: there is no run, or none of this task, no checkpoint, a file is damaged, or
            the cell is not trusted.
        """
        cache.enable_compilation_cache()
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        folder = RunFolder(workdir)
        if not folder.config.exists():
            raise InputError(
                f"workdir {workdir}: holds no config.json; expected the folder of a run that "
                "`python -m rnnjax.main --workdir ...` has made"
            )
        config, _ = folder.read()
        if not trust:
            _check_cell(workdir, config)
        if cls.task_name not in ("", config.task):
            commands = usage_commands(config, workdir)
            how = f"; ask it with `{commands[-1]}`" if commands else ""
            raise InputError(
                f"workdir {workdir}: holds a run of the task {config.task!r}, expected one of "
                f"{cls.task_name!r}{how}"
            )
        if config.replicates > 1:
            folders = [own.path for _, own in folder.replicates(config)]
            raise InputError(
                f"workdir {workdir}: holds {len(folders)} networks, of the seeds {config.seed} to "
                f"{config.seed + len(folders) - 1}; ask one of them: "
                + shlex.quote(f"--workdir={folders[0]}")
            )
        data = folder.read_data(*TASKS[config.task].about)
        if data["fallback"]:
            write_message(
                f"WARNING: this network was trained on the {data['fallback']} corpus, which stood "
                "in for the news: its answers say nothing about news"
            )
        result = folder.read_result() if folder.result.exists() else {}
        vocabulary = folder.read_vocabulary()
        # All engines compute the same, and not every machine has that of the training.
        anywhere = config.model.model_copy(update={"engine": "auto"})
        config = config.model_copy(update={"model": anywhere})
        task = TASKS[config.task].of(config, len(vocabulary) if vocabulary else 0, data)
        params = jax.eval_shape(task.init, jax.random.key(0))
        judged = "average" if config.averaging.decay else "params"
        template: dict[str, Any] = {judged: params}
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
        kind = {kind.task_name: kind for kind in cls.__subclasses__()}.get(config.task, cls)
        found = "best" in saved and is_found(saved["best"]["loss"])
        params = saved["best"]["params"] if found else saved[judged]
        check_params(params, f"workdir {workdir}, checkpoint of step {step}")
        return kind(
            config=config,
            task=task,
            data=data,
            vocabulary=vocabulary,
            boundaries=tuple(result.get("buckets", ())),
            params=params,
            step=step,
            evaluate_step=make_evaluate_step(task),
        )


def usage_commands(config: Config, workdir: Path) -> list[str]:
    """Returns the command lines that score a trained network on a file and that ask it.

    Args:
      config: of the run; not every task has both commands.
      workdir: the folder of the run, finished or not.
    """
    folder = shlex.quote(f"--workdir={workdir}")
    if not is_in_package(config.model.cell):
        folder += " --trust"
    commands = []
    if config.task in _tasks_scored_on_files():
        commands.append(f"python -m rnnjax.evaluate {folder} --data=FILE")
    if usage_command := TASKS[config.task].usage_command:
        commands.append(f"{usage_command} {folder}")
    return commands


def _tasks_scored_on_files() -> list[str]:
    kinds = TrainedRun.__subclasses__()
    return [kind.task_name for kind in kinds if kind.score is not TrainedRun.score]


def _check_cell(workdir: Path, config: Config) -> None:
    """Raises InputError if the config of a run's folder, which is data, would run code."""
    try:
        check_in_package(config.model.cell)
    except InputError as error:
        raise InputError(
            f"workdir {workdir}: its config.json asks for {error}. Read that file; if you trust "
            "it, repeat the command with --trust, or load(workdir, trust=True) in Python"
        ) from None
