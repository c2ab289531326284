"""The schema of a config: its own keys, and its sections.

There is no `None`: 0 and '' mean off.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import pydantic

from rnnjax.class_import import is_class_path
from rnnjax.config.arguments import Arguments
from rnnjax.config.constraints import SEEDS, check_combinations
from rnnjax.config.sections import (
    MAX_COUNT,
    AcknowledgedConfig,
    AveragingConfig,
    CheckpointConfig,
    ConfigSection,
    DataConfig,
    DevicesConfig,
    EarlyStoppingConfig,
    FilePath,
    ModelConfig,
    OptimizerConfig,
    Schedule,
    Section,
)
from rnnjax.config.task_schema import TaskSchema, default_task, find_schema, task_names
from rnnjax.errors import InputError

MAPPING_KEYS = ("optimizer.arguments", "optimizer.learning_rate_factors", "schedule_arguments")
"""Keys whose values are mappings, and not sections."""


class Config(ConfigSection):
    """Settings of a run."""

    task: str = pydantic.Field(default_factory=default_task, max_length=1_000)
    """The task: the name of a folder of `rnnjax/tasks`, or `package.module:ClassName` for any other
    subclass of `rnnjax.tasks.Task`. Its keys have a section of their own."""
    seed: int = pydantic.Field(default=0, ge=0, lt=SEEDS)
    """Random seed of parameters, order, dropout and the validation split."""
    init_from: FilePath = ""
    """Folder of a run to take initial parameters from, where path and shape agree, those of tokens
    and classes by their names; '' for random initialization."""
    epochs: int = pydantic.Field(default=1, ge=1, le=10**6)
    """Passes over the training data. A finished run can be extended if `schedule` is constant."""
    batch_size: int = pydantic.Field(default=16, ge=1, le=2**16)
    """Rows of a batch."""
    learning_rate: float = pydantic.Field(default=1e-3, gt=0.0)
    """Peak learning rate."""
    schedule: Schedule = "constant"
    """Learning rate after the warm-up, by functions of optax: linear and cosine end at zero with
    the last step. 'plateau' reduces it where the validation loss stagnates."""
    schedule_arguments: Arguments = pydantic.Field(default={})
    """Arguments of that function, 'decay_rate=0.5, transition_steps=1000', whose steps count from
    the end of the warm-up; for plateau those of optax.contrib.reduce_on_plateau."""
    warmup_steps: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Steps over which the learning rate rises from zero."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computation; parameters and states stay float32."""
    replicates: int = pydantic.Field(default=1, ge=1, le=1_000)
    """Number of models trained in one program, with consecutive seeds from `seed`, each as in a run
    of its own. Only dropout drawn for every step differs, where a batch is padded further."""
    steps_per_call: int = pydantic.Field(default=1, ge=1, le=10**4)
    """Maximum number of training steps in one call of the device, on consecutive batches of one
    padded length. Pays where a step takes about a millisecond. With bucketing the order then
    follows the lengths, which can cost accuracy."""
    deterministic_shards: int = pydantic.Field(default=0, ge=0, le=2**12)
    """Number of shards of a batch, a power of two, whose gradients are added in a fixed order: the
    same bits on every number of devices that divides it. Each shard draws its own dropout. 0 for
    off."""
    log_every: int = pydantic.Field(default=100, ge=1, le=MAX_COUNT)
    """Training steps averaged in a line of metrics.jsonl."""
    evaluate_every: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Steps between evaluations on the validation split; 0 for one after every epoch."""
    tensorboard: bool = False
    """Whether to write event files for TensorBoard into the folder of the run: metrics, norms of
    parameters and gradients by layer, speed, seconds of a step by part, padding, memory, and texts
    that the network writes. It needs the extra 'tensorboard'."""
    profile: int = pydantic.Field(default=0, ge=0, le=10**4)
    """Training steps, from the second call of the device on, of which JAX's profiler writes a trace
    into the folder of the run; 0 for off."""
    hints: bool = True
    """Whether to print why the first steps take longer, and what to try after a training."""
    preallocate: bool = False
    """Whether to allocate most of a GPU's memory at the start, instead of on demand."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    averaging: AveragingConfig = AveragingConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    devices: DevicesConfig = DevicesConfig()
    acknowledged: AcknowledgedConfig = AcknowledgedConfig()

    task_schema: ClassVar[TaskSchema]
    """Of the task; its section is a key of a subclass, `config_class`."""

    @property
    def validated(self) -> bool:
        """Whether there is a validation split."""
        data = self.data
        return bool(data.validation or data.validation_file) or self.task_schema.has_validation

    def section(self, kind: type[Section]) -> Section:
        """Returns the section of the task, which has this type."""
        section = getattr(self, self.task_schema.name)
        assert isinstance(section, kind)
        return section

    @pydantic.model_validator(mode="after")
    def _check_keys(self) -> "Config":
        defaults = type(self).model_construct()
        values, default_values = (dict(flat(c.model_dump())) for c in (self, defaults))
        for key, value in values.items():
            if value != default_values.get(key, value) and not self.task_schema.reads(key):
                readers = [repr(name) for name in task_names() if find_schema(name).reads(key)]
                remedy = f"set task={readers[0]}"
                listed = " and ".join(filter(None, [", ".join(readers[:-1]), readers[-1]]))
                if is_class_path(self.task):
                    remedy = "add it to `keys` of the schema of that class, if it is read"
                raise ValueError(
                    f"{key} is {value!r}, which is read by the task {listed} alone, and task is "
                    f"{self.task!r}; leave it out, or {remedy}"
                )
        check_combinations(self)
        self.task_schema.check(self)
        return self


def config_class(task: str, *, trust: bool = True, name: str = "config") -> type[Config]:
    """Returns the schema of the configs of a task, with the section that the task brings.

    Args:
      task: as for `find_schema`.
      trust: as for `find_schema`. Without, other keys of the top section are retained as they are.
      name: as for `find_schema`.

    Raises:
      InputError: there is no such task, or its section has the name of another key.
    """
    base = Config if trust or not is_class_path(task) else _UnknownTaskConfig
    schema = find_schema(task, trust=trust, name=name)
    section = schema.name
    if schema.section and (section in Config.model_fields or hasattr(Config, section)):
        raise InputError(
            f"{name}.task: given {task!r}, whose section would be config.{section}, which is "
            "taken; expected another `name` in its schema"
        )
    return _extend(base, schema)


@functools.lru_cache(maxsize=64)
def _extend(base: type[Config], schema: TaskSchema) -> type[Config]:
    """Returns a subclass with the section of a task."""
    sections: dict[str, Any] = {}
    if schema.section:
        sections[schema.name] = schema.section, schema.section()
    extended = pydantic.create_model("Config", __base__=base, **sections)
    extended.task_schema = schema
    return extended


class _UnknownTaskConfig(Config):
    """Settings of a task whose module is not imported."""

    model_config = pydantic.ConfigDict(extra="allow")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and value of everything that is in nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and prefix + key not in MAPPING_KEYS:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
