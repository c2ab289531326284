"""The part of a config that a task reads: its own section, and keys that tasks share."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnnjax.class_import import import_class, is_class_path
from rnnjax.errors import InputError

if TYPE_CHECKING:
    from rnnjax.config.schema import Config
    from rnnjax.config.sections import ConfigSection

_METRICS = {"loss": "lower", "accuracy": "higher"}
"""Scores of any task, by the better direction."""

_TASKS = Path(__file__).parents[1] / "tasks"

RECURRENT_KEYS = (
    *("model.cell", "model.features", "model.layers", "model.dropout", "model.engine"),
    *("model.remat", "model.learned_initial_state"),
    *("model.initialization", "model.recurrent_scale", "model.output.scale"),
    *("model.layer_features", "model.connection", "model.layer_norm", "model.block"),
    *("model.regularization.input_dropout", "model.regularization.hidden_dropout"),
    "model.regularization.output_dropout",
    *("model.regularization.variational_dropout", "model.regularization.recurrent_dropout"),
    *("model.regularization.zoneout", "model.regularization.weight_dropout"),
)
"""Keys that `rnnjax.tasks.model_options` reads, but for those of two directions."""

DIRECTION_KEYS = ("model.bidirectional", "model.merge")
"""Keys of two directions, for tasks whose outputs may depend on later steps."""

EMBEDDING_KEYS = (
    *("model.embedding.features", "model.embedding.path", "model.embedding.trainable"),
    "model.embedding.scale",
)
"""Keys of an embedding of tokens."""

TEXT_KEYS = (
    *("data.dir", "data.take", "data.shuffle"),
    *("data.vocabulary.unit", "data.vocabulary.size", "data.vocabulary.rows"),
)
"""Keys of any text, and of its vocabulary."""

FILE_KEYS = ("data.file", "data.validation_file", "data.test_file")
"""Keys of the files of the splits."""

SPLIT_KEYS = ("data.validation", "data.shuffle", "data.bucketing", "data.buckets")
"""Keys that `rnnjax.data.dataset.split_sequences` reads."""

CORPUS_KEYS = ("data.corpus", "data.fallback", "data.text", "data.validation")
"""Keys of the labelled corpora of `rnnjax.data.corpora`."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaskSchema:
    """The keys of a config that a task reads, and what they imply.

    Attributes:
      name: of the task, and of its section, `config.<name>`.
      section: type of that section; None without one.
      keys: keys of `data` and `model` that it reads, or sections of them; it refuses the rest. All
        tasks read the keys of the training.
      check: raises ValueError if values of a config do not go together.
      has_validation: whether the data comes with a validation split, without `data.validation`.
      ordered: whether a batch continues the one before it, so that rows are not shuffled.
      metrics: scores, beside loss and accuracy, by whether a higher or a lower one is better.
      vocabulary_free: scores that can be compared between vocabularies; None for all.
      recorded: values that keys had before there were such keys, where they were not the default.
      is_default: whether it is the task of a config that names none.
    """

    name: str
    section: "type[ConfigSection] | None" = None
    keys: tuple[str, ...] = ()
    check: "Callable[[Config], None]" = lambda config: None
    has_validation: bool = False
    ordered: bool = False
    metrics: dict[str, Literal["higher", "lower"]] = dataclasses.field(default_factory=dict)
    vocabulary_free: tuple[str, ...] | None = None
    recorded: dict[str, Any] = dataclasses.field(default_factory=dict)
    is_default: bool = False

    def better(self, metric: str) -> str:
        """Returns whether a 'higher' or a 'lower' value of a score is better; '' if unknown."""
        return {**_METRICS, **self.metrics}.get(metric, "")

    def reads(self, key: str) -> bool:
        """Returns whether the task reads a key of the config."""
        is_shared = key.split(".")[0] in ("data", "model")
        return not is_shared or any(f"{key}.".startswith(f"{path}.") for path in self.keys)


def task_names() -> list[str]:
    """Returns the names of the package's tasks, each a folder of `rnnjax/tasks`."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_TASKS)]) if module.ispkg)


def default_task() -> str:
    """Returns the task of a config that names none."""
    (name,) = (name for name in task_names() if find_schema(name).is_default)
    return name


def find_schema(task: str, *, trust: bool = True, name: str = "config") -> TaskSchema:
    """Returns the schema of a task.

    Args:
      task: name of a task of the package, or `package.module:ClassName`.
      trust: import that module, and so run it. Otherwise the schema is one that reads all keys.
      name: of the config in messages.

    Raises:
      InputError: there is no such task.
    """
    if is_class_path(task):
        if trust:
            return import_task(task, name).schema
        return TaskSchema(name=task, keys=("data", "model"))
    if task not in task_names():
        names = ", ".join(map(repr, task_names()))
        raise InputError(
            f"{name}.task: given {task[:200]!r}, expected one of {names}, or "
            "package.module:ClassName"
        )
    return importlib.import_module(f"rnnjax.tasks.{task}.config").SCHEMA


def import_task(spec: str, config_name: str = "config") -> Any:
    """Imports the class of a task from outside the package.

    Args:
      spec: `package.module:ClassName`.
      config_name: of the config in messages.

    Raises:
      InputError: there is no such class, or it is no task.
    """
    module, _, name = spec.partition(":")
    try:
        task = import_class(module, name)
    except InputError as error:
        raise InputError(f"{config_name}.task: given {spec!r}, and {error}") from error
    if not isinstance(getattr(task, "schema", None), TaskSchema):
        raise InputError(
            f"{config_name}.task: given {spec!r}, and {module} has no task of that name; expected "
            "a subclass of rnnjax.tasks.Task with a `schema`"
        )
    return task
