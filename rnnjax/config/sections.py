"""The sections of a config that tasks share: every key with its type, range, default and meaning.

There is no `None`: 0 and '' mean off.
"""

from typing import Annotated, Any, Literal, TypeVar

import pydantic

from rnnjax import paths
from rnnjax.config.arguments import Arguments, ClassWeights, Factors

MAX_COUNT = 2**31 - 1
"""Limit of steps and rows, which are counted in int32. The limits are beyond any sensible use: they
turn an absurd value into a message instead of a machine without memory."""
MAX_LENGTH, _FEATURES, _TOKENS = 10**6, 2**16, 10**7


Schedule = Literal[
    "constant",
    "linear",
    "cosine",
    "polynomial",
    "exponential_decay",
    "piecewise_constant",
    "piecewise_interpolate",
    "cosine_onecycle",
    "linear_onecycle",
    "plateau",
]

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

    corpus: str = pydantic.Field(
        default="ag_news_subset", max_length=200, pattern=r"^\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?$"
    )
    """The corpus: AG News, the docstrings of the installed Python libraries ('docstrings'), or
    another data set of tensorflow_datasets by its name ('imdb_reviews', 'glue/sst2'), prepared as
    array_record, with `data.text` and `data.label` set to its features."""
    dir: FilePath = ""
    """Folder of AG News: with train.csv and test.csv in the original layout, or the data folder of
    tensorflow_datasets with a prepared ag_news_subset; '' to download it. Of other data sets, the
    data folder of tensorflow_datasets; '' for its default. Of pairs of texts, the
    folder of files named like those of Multi30k; '' for synthetic numbers and dates."""
    fallback: Literal["", "docstrings"] = "docstrings"
    """Corpus to train on when AG News cannot be downloaded; '' to stop with an error instead."""
    text: ColumnNames = "title+description"
    """Fields of a row that make up its text, joined by a space: names joined by '+', or a tuple of
    names in a config file. The corpora have 'title' and 'description'."""
    label: str = pydantic.Field(default="label", max_length=1_000)
    """Column of the class in labelled files, or feature of a data set."""
    classes: str = pydantic.Field(default="", max_length=10**6)
    """Names of the classes of labelled files, separated by commas; '' for those of the training
    rows, sorted."""
    multi_label: bool = False
    """Whether a row of labelled files has any number of labels, none included: a list in JSON Lines
    and Parquet, otherwise text. The network then has a sigmoid output for each."""
    label_separator: str = pydantic.Field(default=";", min_length=1, max_length=100)
    """Separator of the labels where several of them are one text."""
    class_weights: ClassWeights = ""
    """Weights of the training loss by the class of a row, a mapping ('spam=5, ham=0.5', 1 for those
    that it lacks); 'balanced' for rows / (classes * rows of the class), counted in the training
    part with its validation rows, as scikit-learn has it; '' for 1."""
    file: FilePath = ""
    """A file instead of a corpus. Of running text, its last lines are the test split, unless
    `data.test_file` is set. Labelled text has named columns: CSV, TSV, JSON Lines (`.jsonl`) or
    Parquet, or a folder of such files."""
    validation_file: FilePath = ""
    """A file as the validation split, instead of a part of `data.file`; '' for none."""
    test_file: FilePath = ""
    """A file as the test split, so that all of `data.file` is for training; '' for none."""
    test: float = pydantic.Field(default=0.1, gt=0.0, le=0.5)
    """Fraction of the labelled rows of `data.file`, of each class, or of its pairs, for the test
    split, the same for every seed, where there is no `data.test_file`; likewise of a data set that
    has no test split."""
    take: int = pydantic.Field(default=0, ge=0, le=MAX_COUNT)
    """Number of rows (of a file: lines) to use of each split, from the start; 0 for all."""
    max_tokens: int = pydantic.Field(default=0, ge=0, le=MAX_LENGTH)
    """Maximum number of tokens of a text, whose end is cut; 0 for no limit."""
    validation: float = pydantic.Field(default=0.0, ge=0.0, le=0.5)
    """Fraction of the training rows for validation, drawn by `seed`, of labelled files from each
    class, or of running text its end; of pairs in `data.file` the same for every seed; 0 for no
    validation split."""
    shuffle: bool = True
    """Whether the training rows are shuffled every epoch; running text begins at another position
    instead."""
    sequence_length: int = pydantic.Field(default=64, ge=1, le=MAX_LENGTH)
    """Tokens of running text in a row of a batch: the length of truncated backpropagation."""
    length_variation: float = pydantic.Field(default=0.0, ge=0.0, le=0.5)
    """Largest relative difference of a training batch's length from `sequence_length`; all are
    padded to the longest."""
    restarts: float = pydantic.Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a row of a training batch of running text starts from the initial state. A
    model that always receives a state does not learn to start without one."""
    bucketing: bool = True
    """Whether a batch holds texts of similar length."""
    buckets: int = pydantic.Field(default=6, ge=1, le=64)
    """Maximum number of padded lengths, each compiled once."""
    vocabulary: VocabularyConfig = VocabularyConfig()

    @property
    def has_named_columns(self) -> bool:
        """Whether labelled text has fields named by the user, not those of AG News."""
        return bool(self.file) or self.corpus not in ("ag_news_subset", "docstrings")


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
    scale: float = pydantic.Field(default=0.0, ge=0.0)
    """Bound of a uniform distribution of the initial embedding; 0 for `model.initialization`'s."""


class OutputConfig(ConfigSection):
    """The output layer. A soft cap, samples and cutoffs are for language models."""

    scale: float = pydantic.Field(default=0.0, ge=0.0)
    """Bound of a uniform distribution of its initial kernel, its bias being then zero; 0 for
    `model.initialization`'s."""
    soft_cap: float = pydantic.Field(default=0.0, ge=0.0)
    """Logits z become `soft_cap * tanh(z / soft_cap)`; 0 for off."""
    samples: int = pydantic.Field(default=0, ge=0, le=_TOKENS)
    """Tokens that stand for the vocabulary in the training loss, drawn for each batch, the common
    ones more often (sampled softmax); loss and accuracy in training are then among these. 0 for the
    vocabulary itself, which evaluations read in any case."""
    cutoffs: str = pydantic.Field(default="", pattern=r"^(\s*[1-9]\d{0,6}\s*(,|$))*$")
    """The first token id of each cluster of rarer tokens, '2000, 10000', of an adaptive softmax: a
    step computes a cluster for the targets in it alone. Token ids should fall in frequency, as
    those of words do. Training counts as accurate what the most probable token or cluster, and the
    most probable token in that, predict. '' for a linear output layer."""


class BlockConfig(ConfigSection):
    """Residual blocks around the cell, as `rnnjax.layers.ResidualBlock` has them."""

    features: int = pydantic.Field(default=0, ge=0, le=_FEATURES)
    """Size of the inputs and outputs of a block, which are added; `model.features` is then that of
    the cell. 0 for recurrent layers without blocks."""
    inner: int = pydantic.Field(default=0, ge=0, le=_FEATURES)
    """Size of a projection that the cell reads; 0 for none."""
    convolution: int = pydantic.Field(default=0, ge=0, le=1024)
    """Steps of a causal convolution before the cell; 0 for none."""
    groups: int = pydantic.Field(default=0, ge=0, le=_FEATURES)
    """Groups of a norm of the cell's outputs, its heads say; 0 for no norm."""
    gate: bool = False
    """Whether the cell's outputs are gated by the block's inputs."""
    feed_forward: int = pydantic.Field(default=0, ge=0, le=_FEATURES)
    """Size of a gated feed-forward layer after the cell; 0 for none."""


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
    input_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate on the inputs of the lowest layer; 0 for `model.dropout`."""
    hidden_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate between recurrent layers; 0 for `model.dropout`."""
    output_dropout: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate on the outputs of the topmost layer; 0 for `model.dropout`."""
    activation: float = pydantic.Field(default=0.0, ge=0.0)
    """Weight in the loss of the mean square of the topmost layer's outputs, after dropout."""
    temporal_activation: float = pydantic.Field(default=0.0, ge=0.0)
    """Weight in the loss of the mean square of the change of these outputs from step to step,
    before dropout."""
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
    layer_features: str = pydantic.Field(default="", pattern=r"^(\s*[1-9]\d{0,4}\s*(,|$))*$")
    """Size of the hidden state of each layer, the lowest first, '400, 400, 200'; '' for `features`
    in all."""
    connection: Literal["", "residual", "highway"] = ""
    """How a layer's inputs are added to its outputs, in all layers but the lowest: as they are
    (residual), or by a gate (highway); '' for not."""
    layer_norm: bool = False
    """Whether the inputs of all layers but the lowest are normalized (layer normalization)."""
    block: BlockConfig = BlockConfig()
    output: OutputConfig = OutputConfig()
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
    initialization: Literal["", "keras", "torch", "flax", "haiku"] = ""
    """Initial values of embedding, recurrent and output layers: those of a library. '' for the
    task's: for language models those of haiku, for translators an embedding as flax has it, and
    otherwise those of Keras. On a validation part haiku's were the best of the four for a novel of
    words; with Keras' stacked layers stay on the plateau of the word frequencies. Translators
    learn their first epoch faster with those of PyTorch, and end better with those of flax:
    experiments/initial_values. A cell that the library lacks is an error by name, and has its own
    values by ''."""
    recurrent_scale: float = pydantic.Field(default=0.0, ge=0.0)
    """Bound of a uniform distribution of all initial parameters of the recurrent layers; 0 for
    `initialization`'s."""
    learned_initial_state: bool = False
    """Whether the initial state is a parameter; otherwise it is the cell's default."""
    engine: Literal[
        "auto", "scan", "fused", "associative", "chunkwise", "newton", "pallas", "cudnn"
    ] = "auto"
    """Implementation of the recurrence, as for `rnnjax.layers.RNN`; an error where the cell or the
    machine lacks it."""
    remat: bool = False
    """Whether the backward pass recomputes most states (rematerialization): memory grows with the
    square root of the length, and the forward pass runs twice."""
    regularization: RegularizationConfig = RegularizationConfig()


class OptimizerConfig(ConfigSection):
    """The optimizer, gradient clipping and weight decay."""

    name: str = pydantic.Field(default="keras_adam", max_length=1_000)
    """The optimizer: any of optax or optax.contrib that needs gradients alone ('sgd', 'adamw',
    'lion', 'muon'), or 'keras_adam', Adam with the epsilon of Keras."""
    arguments: Arguments = {}
    """Its arguments: 'momentum=0.9, nesterov=True', or a dict of them; of keras_adam b1, b2 and
    epsilon. The learning rate and the weight decay have keys of their own."""
    clip_norm: float = pydantic.Field(default=0.0, ge=0.0)
    """Maximum global norm of the gradients; 0 for off."""
    weight_decay: float = pydantic.Field(default=0.0, ge=0.0)
    """Weight decay, as the optimizer has it; decoupled (times the learning rate) where it has none,
    as it is in adamw; 0 for off."""
    accumulation_steps: int = pydantic.Field(default=1, ge=1, le=MAX_COUNT)
    """Training steps whose mean gradient makes one update."""
    learning_rate_factors: Factors = {}
    """Factors of the learning rate by the start of the path of parameters, a prefix or a regular
    expression: 'embed=0.1'. Those of all that match are multiplied; 0 freezes."""


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


class DevicesConfig(ConfigSection):
    """Devices of all processes. A run may be resumed on another number of them: the results agree
    within rounding, and in every bit with `deterministic_shards`.
    """

    data: int = pydantic.Field(default=0, ge=0, le=2**12)
    """Number of devices among which the rows of a batch are shared out, replicates first; 0 for all
    GPUs, or one CPU of each process. More on a CPU are made of its cores, which pays where matrices
    are large: XLA multiplies in one thread a device inside of a loop over time."""
    fsdp: int = pydantic.Field(default=1, ge=1, le=2**12)
    """Number of these devices that share out each large array of parameters, of the optimizer and
    of the average, along its largest axis (fully sharded data parallel); 1 for a copy on each."""


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
    stacked_plateau: Reason = ""
    """Why stacked layers of a language model have small initial values."""
    truncated: Reason = ""
    """Why many training tokens are cut off."""
    test_leak: Reason = ""
    """Why test texts occur among the training rows."""
    unknown_text: Reason = ""
    """Why test texts have many unknown tokens."""
    chosen_on_test: Reason = ""
    """Why the test split decides between settings."""
    swept_on_test: Reason = ""
    """Why the test split decides between the trials of a sweep."""
    unlike_batch_size: Reason = ""
    """Why the batch size differs between compared configs."""
    few_seeds: Reason = ""
    """Why there are few seeds."""
    bare_claim: Reason = ""
    """Why a score is stated without its spread."""
