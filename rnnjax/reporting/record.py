"""What a run left in its folder, read and checked."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import pydantic

from rnnjax.errors import InputError
from rnnjax.files import explain, load_text, parse_json
from rnnjax.reporting import metrics


def _within_bounds(share: float | None) -> float | None:
    if share is None or math.isnan(share):
        return None
    # Sums of float32 weights may miss one by a hair.
    if not -1e-5 <= share <= 1 + 1e-5:
        raise ValueError("expected a share between 0 and 1")
    return min(max(share, 0.0), 1.0)


Share = Annotated[float | None, pydantic.AfterValidator(_within_bounds)]
"""Between 0 and 1; None where it is undefined."""


class Part(pydantic.BaseModel):
    """A part of a record. What is unknown is passed over: a later version may write more."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="ignore", coerce_numbers_to_str=True, use_attribute_docstrings=True
    )


class Data(Part):
    """What the run read. Every key is shown; these are also looked at."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str = ""
    fallback: str = ""
    """The corpus used instead of the one asked for; '' if it is the one asked for."""
    fingerprint: str = ""
    classes: list[str] = []


class Scores(Part):
    """Results on one part of the data. Every number can be compared; these are also shown."""

    model_config = pydantic.ConfigDict(extra="allow")

    loss: float | None = None
    accuracy: Share = None
    macro_f1: Share = None
    perplexity: float | None = None
    bits: float | None = None
    """A token."""
    baseline: float | None = None
    """The least loss without memory."""
    bleu: float | None = None
    chrf: float | None = None
    exact: Share = None
    """Translations that are their reference letter for letter."""
    rows: int | None = None
    unknown_share: Share = None
    """Tokens that the vocabulary lacks."""


class Layer(Part):
    """A line of the model table."""

    layer: str
    type: str = ""
    output: str = ""
    parameters: int = 0


class ClassScores(Part):
    """Results on the rows of one class. What a class without rows leaves undefined is None."""

    name: str
    precision: Share = None
    recall: Share = None
    f1: Share = None
    rows: int = 0


class LengthBin(Part):
    """Accuracy on texts of like length, in tokens, both ends included."""

    first: int = pydantic.Field(alias="from")
    last: int = pydantic.Field(alias="to")
    rows: int
    accuracy: Share = None


class Mistake(Part):
    """A row that the network got wrong."""

    text: str
    label: str
    predicted: str
    probability: Share = None
    """Given to the class predicted."""
    probability_of_label: Share = None


class Sample(Part):
    """A text that a network has written by itself."""

    text: str
    temperature: float


class Example(Part):
    """A translation, and where the network looked when it wrote each token."""

    source: str
    reference: str
    text: str
    read: list[str]
    written: list[str]
    attention: list[list[float]]
    """A row for each token written, a column for each one read."""

    @pydantic.model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        rows, columns = len(self.written), len(self.read)
        if [len(row) for row in self.attention] != [columns] * rows:
            raise ValueError(f"attention is not {rows} rows of {columns} columns")
        return self


class Translation(Part):
    """What a translator writes."""

    signatures: dict[str, str]
    """What sacrebleu calls the settings of a score."""
    examples: list[Example] = []


class Config(Part):
    """The file config.json."""

    name: str
    config: dict[str, Any]
    data: str = ""
    """A mark, where the data is not what was asked for."""


class Environment(Part):
    """The file environment.json. Every key is shown; these are also looked at."""

    model_config = pydantic.ConfigDict(extra="allow")

    started: str = ""
    command: str = ""
    data: Data = Data()


class Result(Part):
    """The file result.json."""

    task: str = ""
    test: Scores = Scores()
    validation: Scores | None = None
    steps: int | None = None
    epochs: float | None = None
    resumed_from: int = 0
    train_seconds: float | None = None
    examples_per_second: float | None = None
    compilations: dict[str, int] = {}
    buckets: list[int | tuple[int, ...]] = []
    """The padded lengths; where there are several kinds of sequences, some for each."""
    stopped_early: bool = False
    parameters: int | None = None
    data: Data = Data()
    model: list[Layer] = []
    confusion: list[list[int]] = []
    """A row for each true class, a column for each predicted one."""
    per_class: list[ClassScores] = []
    accuracy_by_length: list[LengthBin] = []
    worst_mistakes: list[Mistake] = []
    sample: Sample | None = None
    """What a language model writes."""
    translation: Translation | None = None

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


@dataclasses.dataclass(frozen=True)
class Record:
    """A run, as its folder tells it."""

    config: Config
    environment: Environment
    metrics: list[dict[str, Any]]
    result: Result

    @property
    def fallback(self) -> str:
        """The corpus used instead of the one asked for, or ''."""
        return self.result.data.fallback or self.environment.data.fallback or self.config.data

    @property
    def data(self) -> Data:
        """What the run read."""
        return self.environment.data if self.environment.data.name else self.result.data

    @property
    def classes(self) -> list[str]:
        """The names of the classes, or their numbers."""
        result = self.result
        size = len(result.confusion)
        names = [scores.name for scores in result.per_class] or self.data.classes
        return names if len(names) == size else [str(number) for number in range(size)]


def read(folder: Path) -> Record:
    """Returns what the files of a finished run say.

    Raises:
      InputError: a file is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected the folder of a run")
    return Record(
        config=_file(folder / "config.json", Config),
        environment=_file(folder / "environment.json", Environment),
        metrics=metrics.read(folder / "metrics.jsonl"),
        result=_file(folder / "result.json", Result),
    )


_Schema = TypeVar("_Schema", bound=Part)


def _file(path: Path, schema: type[_Schema]) -> _Schema:
    try:
        return schema.model_validate(parse_json(load_text(path)))
    except FileNotFoundError:
        cure = (
            "The run has not finished: start it again with the same command, and it goes on."
            if schema is Result
            else "Give the folder that a run was started with."
        )
        raise InputError(f"{path} is missing. {cure}") from None
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "the whole"
        problem = f"{where}: {detail['msg']}, given {str(detail['input'])[:80]!r}"
    except ValueError as error:
        problem = f"not JSON: {error}"
    except OSError as error:
        problem = explain(error)[0]
    raise InputError(
        f"{path} is damaged ({problem}). Bring it back from a copy, or repeat the run."
    )
