"""The schema: everything a config may say. There is no `None` in it: 0 and '' mean off."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pydantic

from rnnjax import paths
from rnnjax.config.task_keys import readers

_SEEDS = 2**32
_COUNT = 2**31 - 1
"""Limit of steps and rows, which are counted in int32. Limits are beyond any honest use: they end
a config in a message instead of in a machine without memory."""
_LENGTH, _FEATURES, _TOKENS = 10**6, 2**16, 10**7


FilePath = Annotated[str, pydantic.AfterValidator(paths.expand)]
"""A path, in which `~` becomes the home folder."""


class ConfigSection(pydantic.BaseModel):
    """A frozen part of a config in which every key is declared."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class VocabularyConfig(ConfigSection):
    """Which tokens the network knows."""

    unit: Literal["word", "character", "subword"] = "word"
    """What a token is. Words are lower-cased and lose their punctuation; characters and subwords
    keep a text as it is."""
    size: int = pydantic.Field(default=20_000, ge=3, le=_TOKENS)
    """Most entries, padding and unknown included. Rows of the embedding."""
    text: Literal["", "title", "description", "title+description"] = ""
    """The fields it is fitted on; '' for those the network reads (`data.text`)."""
    rows: int = pydantic.Field(default=0, ge=0, le=_COUNT)
    """It is fitted on this many rows from the start of the training data; 0 for all."""


class MemoryConfig(ConfigSection):
    """A problem whose examples are made, not read: new ones at every step of a training."""

    problem: Literal["adding", "copy", "selective_copy", "parity"] = "adding"
    """As `rnnjax.data.synthetic_problems` has them."""
    length: int = pydantic.Field(default=100, ge=1, le=_LENGTH)
    """Greatest length of a training sequence: its steps, or in the two copy problems the blanks T
    of T + 20 steps."""
    min_length: int = pydantic.Field(default=0, ge=0, le=_LENGTH)
    """Every training sequence draws its length from here to `length`; 0 for `length` alone."""
    test_length: int = pydantic.Field(default=0, ge=0, le=_LENGTH)
    """Length of every test sequence; 0 for `length`."""
    examples: int = pydantic.Field(default=10_000, ge=1, le=10**8)
    """Training sequences of an epoch. `data.validation` is a share of them, held besides."""
    test_examples: int = pydantic.Field(default=1_000, ge=1, le=10**6)
    """Test sequences, the same for every seed."""


class TranslationConfig(ConfigSection):
    """A text in the place of another."""

    source: str = ""
    """Language that is read, as the files of `data.dir` end; '' where examples are made."""
    target: str = ""
    """Language that is written."""
    attention: Literal["additive", "multiplicative"] = "multiplicative"
    """How the decoder asks what the encoder has read: by a small network, or by a product."""
    input_feeding: bool = False
    """Input feeding: a step also reads what the last token was scored from. Steps are then taken
    one by one, which is slower."""
    label_smoothing: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the probability that the loss in training asks for all tokens alike."""
    scheduled_sampling: float = pydantic.Field(default=0.0, ge=0.0, le=1.0)
    """Scheduled sampling: the final probability that a step in training reads the network's own
    prediction instead of the right token; 0 for off."""
    scheduled_sampling_steps: int = pydantic.Field(default=1_000, ge=1, le=_COUNT)
    """Training steps in which that probability rises from zero."""
    beam_size: int = pydantic.Field(default=5, ge=1, le=1_000)
    """Texts that are looked at side by side when one is written; 1 for the most probable next
    token."""
    length_penalty: float = pydantic.Field(default=1.0, ge=0.0)
    """Favours long texts: 0 compares probabilities, 1 nearly means by token."""
    coverage_penalty: float = pydantic.Field(default=0.0, ge=0.0)
    """Favours texts written with a look at each token of the source; 0 for off."""


class DataConfig(ConfigSection):
    """What the network reads."""

    corpus: Literal["ag_news_subset", "docstrings"] = "ag_news_subset"
    """AG News, or the docstrings of the installed Python libraries."""
    dir: FilePath = ""
    """Where AG News is: a folder with train.csv and test.csv in the original layout, or a folder
    of tensorflow_datasets that holds a prepared ag_news_subset; '' to download it. Where pairs of
    texts are, in files named as those of Multi30k; '' for numbers and dates, made as needed."""
    fallback: Literal["", "docstrings"] = "docstrings"
    """What to train on when AG News cannot be downloaded; '' to stop with an error instead."""
    text: Literal["title", "description", "title+description"] = "title+description"
    """The fields that make up a text, joined by a space."""
    file: FilePath = ""
    """A text file in the place of a corpus; its last lines are the test part."""
    take: int = pydantic.Field(default=0, ge=0, le=_COUNT)
    """Rows (of a file: lines) of the training and of the test data to use, and of the validation
    data where they have one, from the start; 0 for all."""
    max_tokens: int = pydantic.Field(default=0, ge=0, le=_LENGTH)
    """Longer texts lose their end; 0 for no limit."""
    validation: float = pydantic.Field(default=0.0, ge=0.0, le=0.5)
    """Share of the training rows held out for validation, drawn by `seed`, or of running text its
    end; 0 for none."""
    shuffle: bool = True
    """A new order of the training rows every epoch, of running text another place to begin at;
    otherwise the order of the file."""
    sequence_length: int = pydantic.Field(default=64, ge=1, le=_LENGTH)
    """Tokens of running text that a row of a batch has, through which gradients flow."""
    restarts: float = pydantic.Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a row of a batch of running text is read in training as if a text began
    there. A network that is always handed its state does not learn to begin."""
    bucketing: bool = True
    """Batches of texts of like length."""
    buckets: int = pydantic.Field(default=6, ge=1, le=64)
    """Most padded lengths, each compiled once."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    memory: MemoryConfig = MemoryConfig()


class EmbeddingConfig(ConfigSection):
    """How a token enters the network."""

    features: int = pydantic.Field(default=64, ge=0, le=_FEATURES)
    """Size of the vector learned for each token; 0 for one-hot input."""
    path: FilePath = ""
    """A file of vectors to begin with: text of word2vec, fastText or GloVe, or binary of word2vec,
    each also packed with gzip. Tokens that are not in it begin at random; '' for all of them."""
    trainable: bool = True
    """Training changes the vectors; otherwise all stay as they began, those from no file too."""
    tied: bool = False
    """The vectors score the next token as well."""


class RegularizationConfig(ConfigSection):
    """What makes training harder than reading, beside `model.dropout`. 0 is off."""

    variational_dropout: bool = False
    """`model.dropout` draws one mask for all steps of a text, not one for each."""
    embedding_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Whole words of the embedding are dropped, once a batch."""
    recurrent_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Units of the state are dropped where a step reads it, the same ones at every step."""
    zoneout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Units of the state keep their old value, others at every step."""
    weight_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Weights of the recurrent kernels are dropped, once a batch."""
    adversarial: float = pydantic.Field(default=0.0, ge=0.0)
    """The vectors of each text are also moved to where its loss grows fastest, by this share of
    their length, and half of the loss is that of the moved ones. A step takes nearly twice as
    long."""


class ModelConfig(ConfigSection):
    """The network."""

    embedding: EmbeddingConfig = EmbeddingConfig()
    cell: str = pydantic.Field(default="LSTMCell", max_length=1_000)
    """A name in `rnnjax.cells.CELLS`, or `package.module:ClassName`; options may follow:
    'LSTMCell(peepholes=True)'."""
    features: int = pydantic.Field(default=64, ge=1, le=_FEATURES)
    """Size of the state of a cell."""
    layers: int = pydantic.Field(default=1, ge=1, le=128)
    bidirectional: bool = False
    merge: Literal["concat", "sum", "mul", "ave"] = "concat"
    """How the two directions of a bidirectional layer become one."""
    pooling: Literal["last", "max"] = "last"
    """What the classes are scored from: the last output of the topmost layer, or the greatest of
    each of its features over the text."""
    mask: bool = True
    """Padding is passed over. Otherwise it is read as text, up to the longest of the batch."""
    dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Rate on the embedded tokens, or other inputs, and on the outputs of every recurrent layer."""
    learned_initial_state: bool = False
    """The state before the first token is learned; otherwise it is the cell's own."""
    engine: Literal["auto", "scan", "fused", "associative", "pallas", "cudnn"] = "auto"
    """How the steps of a recurrent layer are computed, as for `rnnjax.layers.RNN`; a cell or a
    machine that does not have it is refused."""
    remat: bool = False
    """Most states are computed once more in the backward pass instead of being kept: long texts
    then need memory by the square root of their length, and the forward pass is paid twice."""
    regularization: RegularizationConfig = RegularizationConfig()


class OptimizerConfig(ConfigSection):
    """Adam, and what surrounds it."""

    b2: float = pydantic.Field(default=0.999, gt=0.0, lt=1.0)
    """What the mean of the squared gradients keeps of itself at a step."""
    epsilon: float = pydantic.Field(default=1e-7, gt=0.0)
    clip_norm: float = pydantic.Field(default=0.0, ge=0.0)
    """Gradients of a larger global norm are scaled down to it; 0 for off."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0.0)
    """Decoupled (AdamW), times the learning rate; 0 for off."""


class AveragingConfig(ConfigSection):
    """A moving average of the parameters over the steps, in the place of the last ones."""

    decay: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """What the average keeps of itself at a step, (1 + step) / (10 + step) while that is less; 0
    for off. The average is what is evaluated, kept by early stopping and asked; the loss in
    training is that of the parameters themselves."""


class EarlyStoppingConfig(ConfigSection):
    """When to stop before the last epoch. The best parameters so far are the ones kept."""

    patience: int = pydantic.Field(default=0, ge=0, le=_COUNT)
    """Evaluations without a lower validation loss that end the training; 0 for off."""


class CheckpointConfig(ConfigSection):
    """When to save. The end of the training and an interruption always save."""

    every: int = pydantic.Field(default=1_000, ge=0, le=_COUNT)
    """Steps between two checkpoints; 0 for none on the way."""
    keep: int = pydantic.Field(default=2, ge=2, le=10**4)
    """Newest checkpoints kept; with two, a damaged one still leaves one."""


Reason = Annotated[str, pydantic.StringConstraints(strip_whitespace=True)]


class AcknowledgedConfig(ConfigSection):
    """Reasons to accept what a rule of `rnnjax.lint_rules` would warn of, by the rule's name.

    '' where it is not meant. No reason changes a result, so none makes it another config.
    """

    padding_read: Reason = ""
    narrow_vocabulary: Reason = ""
    not_shuffled: Reason = ""
    truncated: Reason = ""
    test_leak: Reason = ""
    unknown_text: Reason = ""
    chosen_on_test: Reason = ""
    unlike_batch_size: Reason = ""
    few_seeds: Reason = ""
    bare_claim: Reason = ""


class Config(ConfigSection):
    """One experiment."""

    task: Literal["classification", "language_modeling", "memory", "translation"] = "classification"
    """The class of a text, the next token after each of a running text, what a made problem asks
    that only memory can tell, or a text in the place of another."""
    seed: int = pydantic.Field(default=0, ge=0, lt=_SEEDS)
    init_from: FilePath = ""
    """The folder of a run whose parameters this one begins with, where path and shape are the same,
    entries of tokens and classes by their names; '' to begin at random."""
    epochs: int = pydantic.Field(default=1, ge=1, le=10**6)
    """A run can be given more later, in its folder, where `schedule` is constant."""
    batch_size: int = pydantic.Field(default=16, ge=1, le=2**16)
    learning_rate: float = pydantic.Field(default=1e-3, gt=0.0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: at its height, or down to zero."""
    warmup_steps: int = pydantic.Field(default=0, ge=0, le=_COUNT)
    """Steps in which the learning rate rises from zero."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and states stay float32."""
    replicates: int = pydantic.Field(default=1, ge=1, le=1_000)
    """Networks trained side by side in one program, with the seeds from `seed` on, each as it would
    be by itself. Only dropout that draws for every step draws otherwise where a batch is padded
    further than it would be by itself."""
    steps_per_call: int = pydantic.Field(default=1, ge=1, le=10**4)
    """Most training steps that the device takes in one go, on batches of one padded length, which
    then come one after the other. Pays where a step takes about a millisecond. With bucketing the
    order then follows the lengths, which can cost accuracy."""
    log_every: int = pydantic.Field(default=100, ge=1, le=_COUNT)
    """Training steps averaged in one line of metrics.jsonl."""
    evaluate_every: int = pydantic.Field(default=0, ge=0, le=_COUNT)
    """Steps between two evaluations on the validation part; 0 for the end of every epoch."""
    preallocate: bool = False
    """Take most of a GPU's memory at the start, instead of growing on demand."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    translation: TranslationConfig = TranslationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    averaging: AveragingConfig = AveragingConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    acknowledged: AcknowledgedConfig = AcknowledgedConfig()

    @property
    def validated(self) -> bool:
        """Whether there is a validation part: pairs of texts come with one of their own."""
        return bool(self.data.validation) or self.task == "translation"

    @pydantic.model_validator(mode="after")
    def _keys_are_read(self) -> "Config":
        given, default = (
            dict(flat(each.model_dump())) for each in (self, type(self).model_construct())
        )
        for key, value in given.items():
            if value != default[key] and (tasks := readers(key, self.task)):
                names = " and ".join(map(repr, tasks))
                raise ValueError(
                    f"{key} is {value!r}, which is read by the task {names} alone, and "
                    f"task is {self.task!r}; leave it out, or set task={tasks[0]!r}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _keys_agree(self) -> "Config":
        if self.early_stopping.patience and not self.validated:
            raise ValueError(
                "early_stopping.patience is set and data.validation is 0: stopping early needs a "
                "validation part, so set data.validation (0.1, say) or early_stopping.patience=0"
            )
        if self.data.file and self.data.dir:
            raise ValueError(
                "data.file and data.dir are set: the text is read from one of them, so leave the "
                "other out"
            )
        if self.task == "language_modeling" and self.model.regularization.recurrent_dropout:
            raise ValueError(
                "model.regularization.recurrent_dropout is set and task is 'language_modeling': it "
                "draws once for a sequence, which running text is from one end to the other, so "
                "set model.regularization.weight_dropout, which draws once a batch"
            )
        memory = self.data.memory
        if memory.min_length > memory.length:
            raise ValueError(
                f"data.memory.min_length is {memory.min_length} and data.memory.length "
                f"{memory.length}: no length lies between them, so set the first to at most the "
                "second"
            )
        source, target, folder = self.translation.source, self.translation.target, self.data.dir
        if self.task == "translation" and len({bool(source), bool(target), bool(folder)}) > 1:
            raise ValueError(
                f"translation.source is {source!r}, translation.target {target!r} and data.dir "
                f"{folder!r}: pairs of texts are read from a folder in two languages, so set all "
                "three, or none for numbers and dates that are made"
            )
        if self.task == "translation" and not self.model.embedding.features:
            raise ValueError(
                "model.embedding.features is 0 and task is 'translation': a translator has no "
                "one-hot input, so set model.embedding.features to the size of its vectors"
            )
        if self.replicates > 1 and self.early_stopping.patience:
            raise ValueError(
                "early_stopping.patience and replicates are set: replicates take every step "
                "together, and one cannot stop alone, so set replicates=1 and train the seeds one "
                "after the other, or early_stopping.patience=0"
            )
        if self.replicates > 1 and self.model.engine == "cudnn":
            raise ValueError(
                "model.engine is 'cudnn' and replicates are set: JAX cannot run NVIDIA's library "
                "for several networks at once, so set replicates=1 or model.engine='auto'"
            )
        if self.seed + self.replicates > _SEEDS:
            raise ValueError(
                f"seed is {self.seed} and replicates {self.replicates}: the last seed, seed + "
                f"replicates - 1, should be less than {_SEEDS}"
            )
        if self.evaluate_every and not self.validated:
            raise ValueError(
                "evaluate_every is set and data.validation is 0: there is nothing to evaluate on, "
                "so set data.validation (0.1, say) or evaluate_every=0"
            )
        if self.model.regularization.embedding_dropout and not self.model.embedding.features:
            raise ValueError(
                "model.regularization.embedding_dropout is set and model.embedding.features is 0: "
                "one-hot input has no embedding to drop words of, so set one of them otherwise"
            )
        if self.model.regularization.adversarial and not self.model.embedding.features:
            raise ValueError(
                "model.regularization.adversarial is set and model.embedding.features is 0: "
                "one-hot input has no vectors to move, so set one of them otherwise"
            )
        embedding = self.model.embedding
        if self.init_from and embedding.path:
            raise ValueError("init_from and model.embedding.path are set: leave one of them out")
        if not embedding.features and (embedding.path or embedding.tied or not embedding.trainable):
            key = "path" if embedding.path else "tied" if embedding.tied else "trainable"
            raise ValueError(
                f"model.embedding.{key} is set and model.embedding.features is 0: one-hot input "
                "has no vectors, so set model.embedding.features to their size, or leave "
                f"model.embedding.{key} out"
            )
        return self


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and value of everything that is in nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
