"""The schemas of the files in a run's folder; `run_files` reads and writes them."""

import math
from typing import Annotated, Any, Literal

import pydantic

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


Number = Annotated[float, pydantic.BeforeValidator(_number)]
"""A float, as a string in JSON if it is not finite."""


def _within_bounds(share: float | None) -> float | None:
    if share is None or math.isnan(share):
        return None
    # Sums of float32 weights have rounding errors.
    if not -1e-5 <= share <= 1 + 1e-5:
        raise ValueError("expected a share between 0 and 1")
    return min(max(share, 0.0), 1.0)


Share = Annotated[Number | None, pydantic.AfterValidator(_within_bounds)]
"""Between 0 and 1; None if undefined."""


class RecordModel(pydantic.BaseModel):
    """Base of the schemas; undeclared keys are retained."""

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True
    )

    def values(self) -> dict[str, Any]:
        """Returns the keys that were set."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class DataSummary(RecordModel):
    """Summary of the data. Reports show all keys and interpret these."""

    name: str = ""
    fallback: str = ""
    """The corpus used instead of the configured one; '' if there is none."""
    fingerprint: str = ""
    classes: list[str] = []
    rows: dict[str, int] = {}
    """Number of rows by split."""
    vocabulary: int = 0
    """Number of token ids, padding and unknown included; 0 without text."""
    unknown_share: Number = 0.0
    """Share of unknown tokens in the training text."""
    longest: int = 0
    """Tokens of the longest target that a translator was trained on."""
    connected: bool = False
    """Whether the rows of a language model are one continuous text."""


class Scores(RecordModel):
    """Scores on a split. All numbers can be compared, and reports show these."""

    loss: Number | None = None
    accuracy: Share = None
    macro_f1: Share = None
    micro_f1: Share = None
    perplexity: Number | None = None
    bits: Number | None = None
    """Bits per token."""
    bits_per_character: Number | None = None
    """Bits of all tokens by the number of characters of the raw text."""
    bits_per_byte: Number | None = None
    baseline: Number | None = None
    """Minimum loss without memory."""
    bleu: Number | None = None
    chrf: Number | None = None
    exact: Share = None
    """Share of translations that equal their reference."""
    rows: int | None = None
    unknown_share: Share = None
    """Share of unknown tokens."""


class LayerSummary(RecordModel):
    """A row of the model table."""

    layer: str
    type: str = ""
    output: str = ""
    parameters: int = 0


class RecordedConfig(RecordModel):
    """The file config.json."""

    name: str
    config: dict[str, Any]
    data: str = ""
    """Warning that the data is a fallback; '' if it is not."""


class Environment(RecordModel):
    """Software and hardware of a run. Reports show all keys and interpret these."""

    started: str = ""
    command: str = ""
    resumed: list[dict[str, Any]] = []
    """Environment and first step of each later process."""

    @property
    def last_command(self) -> str:
        """The command of the last process."""
        return next(
            (entry["command"] for entry in self.resumed[::-1] if "command" in entry), self.command
        )


class Manifest(Environment):
    """The file environment.json."""

    run: str
    """Random id of the run, which result and checkpoints have as well."""
    files: dict[Literal["config.json", "tokenizer.json"], str]
    """SHA-256 of the files that are fixed at the start of a run."""
    data: DataSummary
    bucketing_epochs: int = 0
    """Number of epochs by which the bucket lengths were chosen; 0 for that of config.json."""
    init_from: dict[str, Any] | None = None
    """Source of the initial parameters, its digest, and the parameters that matched."""

    @property
    def environment(self) -> Environment:
        """The environment without keys of the folder."""
        of_folder = {"run", "files", "data"}
        return Environment.model_validate(self.model_dump(exclude_unset=True, exclude=of_folder))


class RunOutcome(RecordModel):
    """Keys of result.json that single runs and replicates share."""

    run: str
    files: dict[Literal["metrics.jsonl"], str]
    """SHA-256 of the metrics."""
    task: str = ""
    steps: int | None = None
    epochs: Number | None = None
    best_step: int | None = None
    """Step of the evaluated parameters, which early stopping chooses."""
    resumed_from: int = 0
    timed_steps: int | None = None
    """Number of steps in `train_seconds`; fewer than `steps` if timing.json was lost."""
    train_seconds: Number | None = None
    rows_per_second: Number | None = None
    tokens_per_second: Number | None = None
    compilations: dict[str, int] = {}
    stopped_early: bool = False
    parameters: int | None = None
    model: list[LayerSummary] = []


class Spread(RecordModel):
    """A score over several seeds."""

    mean: Number
    sd: Number
    by_seed: list[Number]


class ReplicatesResult(RunOutcome):
    """The file result.json of replicates."""

    seeds: list[int]
    test: dict[str, Spread | int]
    validation: dict[str, Spread | int] | None = None


class RunResult(RunOutcome):
    """The file result.json, without the entries that a task adds."""

    test: Scores = Scores()
    validation: Scores | None = None
    buckets: list[int | list[int]] = []
    """Bucket lengths; a list for each kind of sequences if there are several."""
    data: DataSummary = DataSummary()
