"""The schemas of the files in a run's folder; `run_files` reads and writes them."""

import math
from typing import Annotated, Any, Literal, Self

import pydantic

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


Number = Annotated[float, pydantic.BeforeValidator(_number)]
"""A float. JSON has it as a string if it is not finite."""


def _within_bounds(share: float | None) -> float | None:
    if share is None or math.isnan(share):
        return None
    # Sums of float32 weights may miss one by a hair.
    if not -1e-5 <= share <= 1 + 1e-5:
        raise ValueError("expected a share between 0 and 1")
    return min(max(share, 0.0), 1.0)


Share = Annotated[Number | None, pydantic.AfterValidator(_within_bounds)]
"""Between 0 and 1; None where it is undefined."""


class RecordModel(pydantic.BaseModel):
    """A part of a file. Keys that are not declared are kept as they are."""

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True
    )

    def values(self) -> dict[str, Any]:
        """Returns what the file says: the keys that were set."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class DataSummary(RecordModel):
    """What the run read. Every key is shown; these are also looked at."""

    name: str = ""
    fallback: str = ""
    """The corpus used instead of the one asked for; '' if it is the one asked for."""
    fingerprint: str = ""
    classes: list[str] = []
    rows: dict[str, int] = {}
    """Of each split."""
    vocabulary: int = 0
    """Number of token ids, padding and unknown included; 0 where nothing is text."""
    unknown_share: Number = 0.0
    """Tokens of the training text that the vocabulary lacks."""
    longest: int = 0
    """Tokens of the longest target that a translator was trained on."""
    connected: bool = False
    """Whether the texts of a language model follow on one another."""


class Scores(RecordModel):
    """Results on one part of the data. Every number can be compared; these are also shown."""

    loss: Number | None = None
    accuracy: Share = None
    macro_f1: Share = None
    perplexity: Number | None = None
    bits: Number | None = None
    """A token."""
    baseline: Number | None = None
    """The least loss without memory."""
    bleu: Number | None = None
    chrf: Number | None = None
    exact: Share = None
    """Translations that are their reference letter for letter."""
    rows: int | None = None
    unknown_share: Share = None
    """Tokens that the vocabulary lacks."""


class LayerSummary(RecordModel):
    """A line of the model table."""

    layer: str
    type: str = ""
    output: str = ""
    parameters: int = 0


class ClassScores(RecordModel):
    """Results on the rows of one class. What a class without rows leaves undefined is None."""

    name: str
    precision: Share = None
    recall: Share = None
    f1: Share = None
    rows: int = 0


class ConfusedPair(RecordModel):
    """A frequent way of being wrong."""

    label: str
    predicted: str
    rows: int
    share: Share = None
    """Of the rows of the label."""


class LengthBin(RecordModel):
    """Accuracy on texts of like length, in tokens, both ends included."""

    first: int = pydantic.Field(alias="from")
    last: int = pydantic.Field(alias="to")
    rows: int
    accuracy: Share = None


class Mistake(RecordModel):
    """A row that the network got wrong."""

    text: str
    label: str
    predicted: str
    probability: Share = None
    """Given to the class predicted."""
    probability_of_label: Share = None


class Sample(RecordModel):
    """A text that a network has written by itself."""

    text: str
    temperature: Number


class Example(RecordModel):
    """A translation, and where the network looked when it wrote each token."""

    source: str
    reference: str
    text: str
    read: list[str]
    written: list[str]
    attention: list[list[Number]]
    """A row for each token written, a column for each one read."""

    @pydantic.model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        rows, columns = len(self.written), len(self.read)
        if [len(row) for row in self.attention] != [columns] * rows:
            raise ValueError(f"attention is not {rows} rows of {columns} columns")
        return self


class TranslationResult(RecordModel):
    """What a translator writes."""

    signatures: dict[str, str]
    """What sacrebleu calls the settings of a score."""
    examples: list[Example] = []


class RecordedConfig(RecordModel):
    """The file config.json."""

    name: str
    config: dict[str, Any]
    data: str = ""
    """A mark, where the data is not what was asked for."""


class Environment(RecordModel):
    """What a result was made with. Every key is shown; these are also looked at."""

    started: str = ""
    command: str = ""
    resumed: list[dict[str, Any]] = []
    """What the steps from a step on were done with."""

    @property
    def last_command(self) -> str:
        """The command that the training went on with last."""
        return next(
            (each["command"] for each in self.resumed[::-1] if "command" in each), self.command
        )


class Manifest(Environment):
    """The file environment.json."""

    run: str
    """Names the run in its result and in its checkpoints: drawn when it begins."""
    files: dict[Literal["config.json", "tokenizer.json"], str]
    """SHA-256 of the files that are fixed when a run begins."""
    data: DataSummary
    bucketing_epochs: int = 0
    """The number of epochs by which the padded lengths of batches were chosen; 0 for that of
    config.json."""
    init_from: dict[str, Any] | None = None
    """The run whose parameters it began with, its digest, and what of it matched."""

    @property
    def environment(self) -> Environment:
        """What is recorded of a run beside its result: what is of the folder is left out."""
        of_folder = {"run", "files", "data"}
        return Environment.model_validate(self.model_dump(exclude_unset=True, exclude=of_folder))


class RunOutcome(RecordModel):
    """What result.json says of one run and of replicates alike."""

    run: str
    files: dict[Literal["metrics.jsonl"], str]
    """SHA-256 of the metrics."""
    task: str = ""
    steps: int | None = None
    epochs: Number | None = None
    best_step: int | None = None
    """The training step whose parameters are evaluated: with early stopping, not the last."""
    resumed_from: int = 0
    timed_steps: int | None = None
    """The steps that `train_seconds` are of; fewer than `steps` where timing.json was lost."""
    train_seconds: Number | None = None
    rows_per_second: Number | None = None
    tokens_per_second: Number | None = None
    compilations: dict[str, int] = {}
    stopped_early: bool = False
    parameters: int | None = None
    model: list[LayerSummary] = []


class Spread(RecordModel):
    """A score of several seeds."""

    mean: Number
    sd: Number
    by_seed: list[Number]


class ReplicatesResult(RunOutcome):
    """The file result.json of replicates."""

    seeds: list[int]
    test: dict[str, Spread | int]
    validation: dict[str, Spread | int] | None = None


class RunResult(RunOutcome):
    """The file result.json."""

    test: Scores = Scores()
    validation: Scores | None = None
    buckets: list[int | list[int]] = []
    """The padded lengths; where there are several kinds of sequences, some for each."""
    data: DataSummary = DataSummary()
    confusion: list[list[int]] = []
    """A row for each true class, a column for each predicted one."""
    most_confused_pairs: list[ConfusedPair] = []
    """In the place of `confusion` where that would be too large."""
    per_class: list[ClassScores] = []
    accuracy_by_length: list[LengthBin] = []
    worst_mistakes: list[Mistake] = []
    sample: Sample | None = None
    """What a language model writes."""
    translation: TranslationResult | None = None

    @pydantic.model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        sizes = {len(row) for row in self.confusion}
        if self.confusion and sizes != {len(self.confusion)}:
            raise ValueError(f"confusion has {len(self.confusion)} rows of {sizes} columns")
        if self.confusion and self.per_class and len(self.per_class) != len(self.confusion):
            raise ValueError(
                f"per_class has {len(self.per_class)} classes, confusion {len(self.confusion)}"
            )
        return self
