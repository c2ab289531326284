"""The schema of configs: every key with its type, range, default and meaning.

There is no `None`: 0 and '' mean off.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import pydantic

from rnnjax import paths
from rnnjax.class_import import is_class_path
from rnnjax.config.constraints import SEEDS, check_combinations
from rnnjax.config.task_schema import TaskSchema, default_task, find_schema, task_names
from rnnjax.errors import InputError

MAX_COUNT = 2**31 - 1
"""Limit of steps and rows, which are counted in int32. The limits are beyond any sensible use: they
turn an absurd value into a message instead of a machine without memory."""
MAX_LENGTH, _FEATURES, _TOKENS = 10**6, 2**16, 10**7


FilePath = Annotated[str, pydantic.AfterValidator(paths.expand)]
"""A path with `~` expanded to the home folder."""


class ConfigSection(pydantic.BaseModel):
    """A frozen section of a config in which every key is declared."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Section = TypeVar("Section", bound=ConfigSection)


def _join_names(value: Any) -> Any:
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return "+".join(value) if is_list and value else value


ColumnNames = Annotated[
    str, pydantic.BeforeValidator(_join_names), pydantic.Field(max_length=1_000)
]
"""Names of columns, joined by '+'; a list or tuple of names is joined."""


class VocabularyConfig(ConfigSection):
    """The vocabulary of a text corpus."""

    unit: Literal["word", "whitespace", "character", "subword"] = "word"
    """Unit of tokenization. Words are lower-cased and stripped of punctuation; characters and
    subwords preserve the text. 'whitespace' is that of published language models: words split at
    white space as they stand, `<eos>` at the end of a line, `<unk>` in the text as unknown."""
    size: int = pydantic.Field(default=20_000, ge=3, le=_TOKENS)
    """Maximum number of tokens, padding and unknown included; rows of the embedding. The published
    sizes of language models are without padding, so that they are one more here. Equally common
    words of 'whitespace' rank by their first occurrence."""
    text: ColumnNames = ""
    """Fields that the vocabulary is fitted on; '' for those of `data.text`."""
    rows: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Number of training rows, from the start, that the vocabulary is fitted on; 0 for all."""


class DataConfig(ConfigSection):
    """The corpus, its splits and its batches."""

    corpus: Literal["ag_news_subset", "docstrings"] = "ag_news_subset"
    """The corpus: AG News, or the docstrings of the installed Python libraries."""
    dir: FilePath = ""
    """Folder of AG News: with train.csv and test.csv in the original layout, or the data folder of
    tensorflow_datasets with a prepared ag_news_subset; '' to download it. Of pairs of texts, the
    folder of files named like those of Multi30k; '' for synthetic numbers and dates."""
    fallback: Literal["", "docstrings"] = "docstrings"
    """Corpus to train on when AG News cannot be downloaded; '' to stop with an error instead."""
    text: ColumnNames = "title+description"
    """Fields of a row that make up its text, joined by a space: names joined by '+', or a tuple of
    names in a config file. The corpora have 'title' and 'description'."""
    label: str = pydantic.Field(default="label", max_length=1_000)
    """Column of the class in labelled files."""
    classes: str = pydantic.Field(default="", max_length=10**6)
    """Names of the classes of labelled files, separated by commas; '' for those of the training
    rows, sorted."""
    file: FilePath = ""
    """A file instead of a corpus. Of running text, its last lines are the test split, unless
    `data.test_file` is set. Labelled text has named columns: CSV, TSV, JSON Lines (`.jsonl`) or
    Parquet, or a folder of such files."""
    validation_file: FilePath = ""
    """A file as the validation split, instead of a part of `data.file`; '' for none."""
    test_file: FilePath = ""
    """A file as the test split, so that all of `data.file` is for training; '' for none."""
    test: float = pydantic.Field(default=0.1, gt=0.0, le=0.5)
    """Fraction of the labelled rows of `data.file`, of each class, for the test split, the same for
    every seed, where there is no `data.test_file`."""
    take: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Number of rows (of a file: lines) to use of each split, from the start; 0 for all."""
    max_tokens: int = pydantic.Field(default=0, ge=0, le=MAX_LENGTH)
    """Maximum number of tokens of a text, whose end is cut; 0 for no limit."""
    validation: float = pydantic.Field(default=0.0, ge=0.0, le=0.5)
    """Fraction of the training rows for validation, drawn by `seed`, or of running text its end; 0
    for no validation split."""
    shuffle: bool = True
    """Whether the training rows are shuffled every epoch; running text begins at another position
    instead."""
    sequence_length: int = pydantic.Field(default=64, ge=1, le=MAX_LENGTH)
    """Tokens of running text in a row of a batch: the length of truncated backpropagation."""
    restarts: float = pydantic.Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a row of a training batch of running text starts from the initial state. A
    model that always receives a state does not learn to start without one."""
    bucketing: bool = True
    """Whether a batch holds texts of similar length."""
    buckets: int = pydantic.Field(default=6, ge=1, le=64)
    """Maximum number of padded lengths, each compiled once."""
    vocabulary: VocabularyConfig = VocabularyConfig()


class EmbeddingConfig(ConfigSection):
    """The input embedding of tokens."""

    features: int = pydantic.Field(default=64, ge=0, le=_FEATURES)
    """Size of the embedding; 0 for one-hot input."""
    path: FilePath = ""
    """A file of pretrained vectors: text of word2vec, fastText or GloVe, or binary of word2vec,
    each also compressed with gzip. Tokens that it lacks are initialized at random; '' for none."""
    trainable: bool = True
    """Whether training updates the embedding; otherwise all of it is frozen."""
    tied: bool = False
    """Whether the embedding is also the weight of the output layer."""


class RegularizationConfig(ConfigSection):
    """Regularization beside `model.dropout`. 0 is off."""

    variational_dropout: bool = False
    """Whether `model.dropout` draws one mask for all steps of a text (variational dropout)."""
    embedding_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate at which whole rows of the embedding are dropped, drawn once per batch."""
    recurrent_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate at which units of the state are dropped where a step reads it, drawn once per text."""
    zoneout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate at which units of the state carry over their previous value, drawn at every step."""
    weight_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate at which weights of the recurrent kernels are dropped, drawn once per batch."""
    adversarial: float = pydantic.Field(default=0.0, ge=0.0)
    """Relative size of an adversarial perturbation of the embedded tokens, along the gradient of
    the loss; half of the loss is that of the perturbed text. A step takes nearly twice as long."""


class ModelConfig(ConfigSection):
    """The model: embedding, recurrent layers, output layer."""

    embedding: EmbeddingConfig = EmbeddingConfig()
    cell: str = pydantic.Field(default="LSTMCell", max_length=1_000)
    """The cell: a name in `rnnjax.cells.CELLS` or `package.module:ClassName`; options may follow:
    'LSTMCell(peepholes=True)'."""
    features: int = pydantic.Field(default=64, ge=1, le=_FEATURES)
    """Size of the hidden state."""
    layers: int = pydantic.Field(default=1, ge=1, le=128)
    """Number of recurrent layers."""
    bidirectional: bool = False
    """Whether each layer also runs from right to left."""
    merge: Literal["concat", "sum", "mul", "ave"] = "concat"
    """How the outputs of the two directions are combined."""
    pooling: Literal["last", "max"] = "last"
    """Pooling of the top layer's outputs over time: the last one, or the maximum by feature."""
    mask: bool = True
    """Whether padding is masked; otherwise it is read as text, up to the longest of the batch."""
    dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate on the inputs and on the outputs of every recurrent layer."""
    learned_initial_state: bool = False
    """Whether the initial state is a parameter; otherwise it is the cell's default."""
    engine: Literal["auto", "scan", "fused", "associative", "pallas", "cudnn"] = "auto"
    """Implementation of the recurrence, as for `rnnjax.layers.RNN`; an error where the cell or the
    machine lacks it."""
    remat: bool = False
    """Whether the backward pass recomputes most states (rematerialization): memory grows with the
    square root of the length, and the forward pass runs twice."""
    regularization: RegularizationConfig = RegularizationConfig()


class OptimizerConfig(ConfigSection):
    """Adam, gradient clipping and weight decay."""

    b2: float = pydantic.Field(default=0.999, gt=0.0, lt=1.0)
    """Decay of the second moment of the gradients."""
    epsilon: float = pydantic.Field(default=1e-7, gt=0.0)
    """Added to the root of the second moment."""
    clip_norm: float = pydantic.Field(default=0.0, ge=0.0)
    """Maximum global norm of the gradients; 0 for off."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0.0)
    """Decoupled weight decay (AdamW), times the learning rate; 0 for off."""


class AveragingConfig(ConfigSection):
    """Exponential moving average of the parameters, evaluated instead of the last ones."""

    decay: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of the average, (1 + step) / (10 + step) while that is less; 0 for off. Evaluation,
    early stopping and prediction use the average; the training loss is of the raw parameters."""


class EarlyStoppingConfig(ConfigSection):
    """Early stopping, which restores the parameters of the lowest validation loss."""

    patience: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Evaluations without a lower validation loss after which training stops; 0 for off."""


class CheckpointConfig(ConfigSection):
    """Checkpoints. The end of the training and an interruption always save one."""

    every: int = pydantic.Field(default=1_000, ge=0, le=MAX_COUNT)
    """Steps between checkpoints; 0 for one at the end alone."""
    keep: int = pydantic.Field(default=2, ge=2, le=10**4)
    """Number of newest checkpoints to keep; with two, a damaged one still leaves one."""


Reason = Annotated[str, pydantic.StringConstraints(strip_whitespace=True)]


class AcknowledgedConfig(ConfigSection):
    """Reasons why a finding of `python -m rnnjax.lint` is intended, by the name of the rule.

    '' where it is not intended. Reasons change no result, so configs that differ in them alone are
    the same.
    """

    padding_read: Reason = ""
    """Why padding is read as text."""
    narrow_vocabulary: Reason = ""
    """Why the vocabulary is fitted on less than the network reads."""
    not_shuffled: Reason = ""
    """Why the training rows keep the order of their file."""
    truncated: Reason = ""
    """Why many training tokens are cut off."""
    test_leak: Reason = ""
    """Why test texts occur among the training rows."""
    unknown_text: Reason = ""
    """Why test texts have many unknown tokens."""
    chosen_on_test: Reason = ""
    """Why the test split decides between settings."""
    unlike_batch_size: Reason = ""
    """Why the batch size differs between compared configs."""
    few_seeds: Reason = ""
    """Why there are few seeds."""
    bare_claim: Reason = ""
    """Why a score is stated without its spread."""


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
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or decayed to zero."""
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
    log_every: int = pydantic.Field(default=100, ge=1, le=MAX_COUNT)
    """Training steps averaged in a line of metrics.jsonl."""
    evaluate_every: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Steps between evaluations on the validation split; 0 for one after every epoch."""
    preallocate: bool = False
    """Whether to allocate most of a GPU's memory at the start, instead of on demand."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    averaging: AveragingConfig = AveragingConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
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
                listed = " and ".join([", ".join(readers[:-1]), readers[-1]][not readers[:-1] :])
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
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
