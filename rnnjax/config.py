"""The schema: everything a config may say. Whatever else it says is refused by full key path.

A config file fills an `ml_collections.ConfigDict` that starts from `defaults()`; `parse` turns it
into a frozen `Config`, the only form that the rest of the package reads. There is no `None` in a
config: 0 and '' mean off.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pydantic

from rnnjax.errors import InputError

_SEEDS = 2**32


class Section(pydantic.BaseModel):
    """A frozen part of a config in which every key is declared."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Vocabulary(Section):
    """Which tokens the network knows."""

    unit: Literal["word", "character", "subword"] = "word"
    """What a token is. Words are lower-cased and lose their punctuation; characters and subwords
    keep a text as it is."""
    size: int = pydantic.Field(default=20_000, ge=3)
    """Most entries, padding and unknown included. Rows of the embedding."""
    text: Literal["", "title", "description", "title+description"] = ""
    """The fields it is fitted on; '' for those the network reads (`data.text`)."""
    rows: int = pydantic.Field(default=0, ge=0)
    """It is fitted on this many rows from the start of the training data; 0 for all."""


class Data(Section):
    """What the network reads."""

    corpus: Literal["ag_news_subset", "docstrings"] = "ag_news_subset"
    """AG News, or the docstrings of the installed Python libraries."""
    dir: str = ""
    """Where AG News is: a folder with train.csv and test.csv in the original layout, or a folder
    of tensorflow_datasets that holds a prepared ag_news_subset; '' to download it."""
    fallback: Literal["", "docstrings"] = "docstrings"
    """What to train on when AG News cannot be downloaded; '' to stop with an error instead."""
    text: Literal["title", "description", "title+description"] = "title+description"
    """The fields that make up a text, joined by a space."""
    file: str = ""
    """A text file in the place of a corpus; its last lines are the test part."""
    take: int = pydantic.Field(default=0, ge=0)
    """Rows (of a file: lines) of the training and of the test data to use, from the start; 0 for
    all."""
    max_tokens: int = pydantic.Field(default=0, ge=0)
    """Longer texts lose their end; 0 for no limit."""
    validation: float = pydantic.Field(default=0.0, ge=0.0, le=0.5)
    """Share of the training rows held out for validation, drawn by `seed`, or of running text its
    end; 0 for none."""
    shuffle: bool = True
    """A new order of the training rows every epoch, of running text another place to begin at;
    otherwise the order of the file."""
    steps: int = pydantic.Field(default=64, ge=1)
    """Tokens of running text that a row of a batch has, through which gradients flow."""
    restarts: float = pydantic.Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a row of a batch of running text is read in training as if a text began
    there. A network that is always handed its state does not learn to begin."""
    bucketing: bool = True
    """Batches of texts of like length."""
    buckets: int = pydantic.Field(default=6, ge=1, le=64)
    """Most padded lengths, each compiled once."""
    vocabulary: Vocabulary = Vocabulary()


class Embedding(Section):
    """How a token enters the network."""

    features: int = pydantic.Field(default=64, ge=0)
    """Size of the vector learned for each token; 0 for one-hot input."""
    path: str = ""
    """A file of vectors to begin with: text of word2vec, fastText or GloVe, or binary of word2vec,
    each also packed with gzip. Tokens that are not in it begin at random; '' for all of them."""
    trainable: bool = True
    """Training changes the vectors; otherwise all stay as they began, those from no file too."""
    tied: bool = False
    """The vectors score the next token as well."""


class Regularization(Section):
    """What is drawn at random in training, beside `model.dropout`. Rates, 0 for off."""

    variational: bool = False
    """`model.dropout` draws one mask for all steps of a text, not one for each."""
    embedding: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Whole words of the embedding are dropped, once a batch."""
    recurrent: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Units of the state are dropped where a step reads it, the same ones at every step."""
    zoneout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Units of the state keep their old value, others at every step."""
    weights: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Weights of the recurrent kernels are dropped, once a batch."""


class Model(Section):
    """The network."""

    embedding: Embedding = Embedding()
    cell: str = "LSTMCell"
    """A name in `rnnjax.cells.CELLS`, or `package.module:ClassName`; options may follow:
    'LSTMCell(peepholes=True)'."""
    features: int = pydantic.Field(default=64, ge=1)
    """Size of the state of a cell."""
    layers: int = pydantic.Field(default=1, ge=1)
    bidirectional: bool = False
    merge: Literal["concat", "sum", "mul", "ave"] = "concat"
    """How the two directions of a bidirectional layer become one."""
    pooling: Literal["last", "max"] = "last"
    """What the classes are scored from: the last output of the topmost layer, or the greatest of
    each of its features over the text."""
    mask: bool = True
    """Padding is passed over. Otherwise it is read as text, up to the longest of the batch."""
    dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate on the embedded tokens and on the outputs of every recurrent layer."""
    learned_state: bool = False
    """The state before the first token is learned; otherwise it is the cell's own."""
    remat: bool = False
    """Most states are computed once more in the backward pass instead of being kept: long texts
    then need memory by the square root of their length, and the forward pass is paid twice."""
    regularization: Regularization = Regularization()


class Optimizer(Section):
    """Adam, and what surrounds it."""

    epsilon: float = pydantic.Field(default=1e-7, gt=0.0)
    clip_norm: float = pydantic.Field(default=0.0, ge=0.0)
    """Gradients of a larger global norm are scaled down to it; 0 for off."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0.0)
    """Decoupled (AdamW), times the learning rate; 0 for off."""


class Averaging(Section):
    """A moving average of the parameters over the steps, in the place of the last ones."""

    decay: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """What the average keeps of itself at a step, (1 + step) / (10 + step) while that is less; 0
    for off. The average is what is evaluated, kept by early stopping and asked; the loss in
    training is that of the parameters themselves."""


class EarlyStopping(Section):
    """When to stop before the last epoch. The best parameters so far are the ones kept."""

    patience: int = pydantic.Field(default=0, ge=0)
    """Evaluations without a lower validation loss that end the training; 0 for off."""


class Checkpoint(Section):
    """When to save. The end of the training and an interruption always save."""

    every: int = pydantic.Field(default=1_000, ge=0)
    """Steps between two checkpoints; 0 for none on the way."""
    keep: int = pydantic.Field(default=2, ge=2)
    """Newest checkpoints kept; with two, a damaged one still leaves one."""


Reason = Annotated[str, pydantic.StringConstraints(strip_whitespace=True)]


class Acknowledged(Section):
    """Why something that spoils experiments is meant, by the rule of `rnnjax.rules` that names it.

    '' where it is not meant. No reason changes a result, so none makes it another config.
    """

    padding_read: Reason = ""
    narrow_vocabulary: Reason = ""
    not_shuffled: Reason = ""
    truncated: Reason = ""
    test_leak: Reason = ""
    chosen_on_test: Reason = ""
    unlike_batch_size: Reason = ""
    few_seeds: Reason = ""
    bare_claim: Reason = ""


_READ_BY_ONE = {
    "classification": (
        "data.max_tokens",
        "data.bucketing",
        "data.buckets",
        "data.vocabulary.text",
        "model.bidirectional",
        "model.merge",
        "model.pooling",
        "model.mask",
    ),
    "language_modeling": ("data.file", "data.steps", "data.restarts", "model.embedding.tied"),
}
"""The keys that mean something to one task alone."""


class Config(Section):
    """One experiment."""

    task: Literal["classification", "language_modeling"] = "classification"
    """The class of a text, or the next token after each of a running text."""
    seed: int = pydantic.Field(default=0, ge=0, lt=_SEEDS)
    epochs: int = pydantic.Field(default=1, ge=1)
    batch_size: int = pydantic.Field(default=16, ge=1)
    learning_rate: float = pydantic.Field(default=1e-3, gt=0.0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: at its height, or down to zero."""
    warmup_steps: int = pydantic.Field(default=0, ge=0)
    """Steps in which the learning rate rises from zero."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and states stay float32."""
    replicates: int = pydantic.Field(default=1, ge=1)
    """Networks trained side by side in one program, with the seeds from `seed` on, each as it would
    be by itself. Only dropout that draws for every step draws otherwise where a batch is padded
    further than it would be by itself."""
    steps_per_call: int = pydantic.Field(default=1, ge=1)
    """Most training steps that the device takes in one go, on batches of one padded length, which
    then come one after the other. Pays where a step takes about a millisecond. With bucketing the
    order then follows the lengths, which can cost accuracy."""
    log_every: int = pydantic.Field(default=100, ge=1)
    """Training steps averaged in one line of metrics.jsonl."""
    evaluate_every: int = pydantic.Field(default=0, ge=0)
    """Steps between two evaluations on the validation part; 0 for the end of every epoch."""
    preallocate: bool = False
    """Take most of a GPU's memory at the start, instead of growing on demand."""
    data: Data = Data()
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    averaging: Averaging = Averaging()
    early_stopping: EarlyStopping = EarlyStopping()
    checkpoint: Checkpoint = Checkpoint()
    acknowledged: Acknowledged = Acknowledged()

    @pydantic.model_validator(mode="after")
    def _keys_are_read(self) -> "Config":
        given, default = (
            dict(flat(each.model_dump())) for each in (self, type(self).model_construct())
        )
        for task, keys in _READ_BY_ONE.items():
            for key in keys:
                if task != self.task and given[key] != default[key]:
                    raise ValueError(
                        f"{key} is {given[key]!r}, which is read by the task {task!r} alone, and "
                        f"task is {self.task!r}; leave it out, or set task={task!r}"
                    )
        return self

    @pydantic.model_validator(mode="after")
    def _keys_agree(self) -> "Config":
        if self.early_stopping.patience and not self.data.validation:
            raise ValueError(
                "early_stopping.patience is set and data.validation is 0: stopping early needs a "
                "validation part, so set data.validation (0.1, say) or early_stopping.patience=0"
            )
        if self.data.file and self.data.dir:
            raise ValueError(
                "data.file and data.dir are set: the text is read from one of them, so leave the "
                "other out"
            )
        if self.task == "language_modeling" and self.model.regularization.recurrent:
            raise ValueError(
                "model.regularization.recurrent is set and task is 'language_modeling': it draws "
                "once for a sequence, which running text is from one end to the other, so set "
                "model.regularization.weights, which draws once a batch"
            )
        if self.replicates > 1 and self.early_stopping.patience:
            raise ValueError(
                "early_stopping.patience and replicates are set: replicates take every step "
                "together, and one cannot stop alone, so set replicates=1 and train the seeds one "
                "after the other, or early_stopping.patience=0"
            )
        if self.seed + self.replicates > _SEEDS:
            raise ValueError(
                f"seed is {self.seed} and replicates {self.replicates}: the last seed, seed + "
                f"replicates - 1, should be less than {_SEEDS}"
            )
        if self.evaluate_every and not self.data.validation:
            raise ValueError(
                "evaluate_every is set and data.validation is 0: there is nothing to evaluate on, "
                "so set data.validation (0.1, say) or evaluate_every=0"
            )
        if self.model.regularization.embedding and not self.model.embedding.features:
            raise ValueError(
                "model.regularization.embedding is set and model.embedding.features is 0: one-hot "
                "input has no embedding to drop words of, so set one of them otherwise"
            )
        embedding = self.model.embedding
        if not embedding.features and (embedding.path or embedding.tied or not embedding.trainable):
            key = "path" if embedding.path else "tied" if embedding.tied else "trainable"
            raise ValueError(
                f"model.embedding.{key} is set and model.embedding.features is 0: one-hot input "
                "has no vectors, so set model.embedding.features to their size, or leave "
                f"model.embedding.{key} out"
            )
        return self


def of_replicates(config: Config) -> list[Config]:
    """Returns the config of each replicate by itself."""
    seeds = range(config.seed, config.seed + config.replicates)
    return [config.model_copy(update={"seed": seed, "replicates": 1}) for seed in seeds]


def defaults() -> dict[str, Any]:
    """Every key with its default value, as nested dicts: what a config file starts from."""
    return Config().model_dump()


def parse(values: Mapping[str, Any], name: str = "config") -> Config:
    """Returns the validated config.

    Args:
      values: nested mappings, as a config file's ConfigDict gives with `to_dict()`. Every key may
        be left out; it then has its default.
      name: what to call the config in messages.

    Raises:
      InputError: a key is unknown or has a value of another type or outside its range. The message
        names every such key by its full path.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is a {type(values).__name__}; expected nested mappings of keys")
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [_explain(detail, name) for detail in error.errors()]
        raise InputError("\n".join(lines)) from None


def apart(ours: Config, theirs: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the values of each key in which two configs differ; what they acknowledge is none."""
    a, b = (dict(flat(each.model_dump(exclude={"acknowledged"}))) for each in (ours, theirs))
    return {key: (a[key], b[key]) for key in a if a[key] != b[key]}


def differences(ours: Config, theirs: Config) -> list[str]:
    """Returns a line `key: ours, theirs` for each key in which two configs are apart."""
    return [f"{key}: {a!r}, {b!r}" for key, (a, b) in apart(ours, theirs).items()]


def key_paths() -> list[str]:
    """Returns the path of every key, 'data.take' say."""
    return [path for path, _ in flat(defaults())]


def check_key(key: str, name: str = "config") -> None:
    """Raises InputError if there is no key or section of that path, 'data.take' say."""
    leaves = key_paths()
    sections = {path.rsplit(".", 1)[0] for path in leaves if "." in path}
    known = [*leaves, *sorted(sections)]
    if key in known:
        return
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if not close:
        last = {path: path.split(".")[-1] for path in known}
        best = difflib.get_close_matches(key.split(".")[-1], last.values(), n=1, cutoff=0.7)
        close = [path for path in known if last[path] in best]
    hint = (
        f"did you mean {' or '.join(f'{name}.{path}' for path in close)}?"
        if close
        else "rnnjax/config.py lists the keys"
    )
    raise InputError(f"{name}.{key}: there is no such key; {hint}")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and value of everything that is in nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _explain(detail: Any, name: str) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        try:
            check_key(key, name)
        except InputError as error:
            return str(error)
    if detail["type"] == "value_error":
        return f"{name}: {detail['ctx']['error']}"
    expected = detail["msg"].replace("Input should", "it should")
    return f"{name}.{key}: given {detail['input']!r} ({type(detail['input']).__name__}), {expected}"
