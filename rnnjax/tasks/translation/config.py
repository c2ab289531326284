"""The keys of a config that the translation task reads."""

from typing import Literal

import pydantic

from rnnjax.config.schema import Config
from rnnjax.config.sections import MAX_COUNT, ConfigSection
from rnnjax.config.task_schema import FILE_KEYS, TEXT_KEYS, TaskSchema


class TranslationConfig(ConfigSection):
    """Sequence-to-sequence translation with an attention decoder."""

    source: str = ""
    """Source language, as in the file names of `data.dir`, or the column of the source texts in
    `data.file`; '' for the synthetic examples."""
    target: str = ""
    """Target language, likewise."""
    attention: Literal["additive", "multiplicative"] = "multiplicative"
    """Attention scores by a one-layer network (additive) or by a product (multiplicative)."""
    input_feeding: bool = False
    """Whether the decoder also reads the previous attention vector. Its steps then run one by one,
    which is slower."""
    label_smoothing: float = pydantic.Field(default=0.0, ge=0.0, lt=1.0)
    """Probability mass that the training loss spreads evenly over all tokens."""
    scheduled_sampling: float = pydantic.Field(default=0.0, ge=0.0, le=1.0)
    """Final probability that a training step reads the model's prediction instead of the reference
    token; 0 for off."""
    scheduled_sampling_steps: int = pydantic.Field(default=1_000, ge=1, le=MAX_COUNT)
    """Training steps over which `scheduled_sampling` rises from zero."""
    beam_size: int = pydantic.Field(default=5, ge=1, le=1_000)
    """Hypotheses of beam search; 1 for greedy decoding."""
    length_penalty: float = pydantic.Field(default=1.0, ge=0.0)
    """Exponent of the length normalization of beam search: 0 for none, 1 for nearly the mean by
    token."""
    coverage_penalty: float = pydantic.Field(default=0.0, ge=0.0)
    """Weight of the coverage penalty of beam search; 0 for off."""


def _check(config: Config) -> None:
    options, data = config.section(TranslationConfig), config.data
    path = data.dir or data.file
    if len({bool(options.source), bool(options.target), bool(path)}) > 1:
        raise ValueError(
            f"translation.source is {options.source!r}, translation.target {options.target!r}, "
            f"data.dir {data.dir!r} and data.file {data.file!r}: pairs of texts are read from a "
            "folder in two languages or from two columns of a file, so set both and one of the "
            "paths, or none for numbers and dates that are made"
        )
    has_part = bool(data.validation or data.validation_file)
    if has_part != bool(data.file):
        raise ValueError(
            f"data.file is {data.file!r}, data.validation {data.validation} and "
            f"data.validation_file {data.validation_file!r}: a file of pairs needs a validation "
            "part, and other pairs have one, so set data.validation (0.1, say) or "
            "data.validation_file where data.file is set, and there alone"
        )
    if not config.model.embedding.features:
        raise ValueError(
            "model.embedding.features is 0 and task is 'translation': a translator has no "
            "one-hot input, so set model.embedding.features to the size of its vectors"
        )


SCHEMA = TaskSchema(
    name="translation",
    section=TranslationConfig,
    keys=(
        *(*TEXT_KEYS, *FILE_KEYS, "data.validation", "data.test"),
        *("data.buckets", "model.embedding.features", "model.embedding.tied"),
        *("model.cell", "model.features", "model.layers", "model.dropout"),
        *("model.initialization", "model.recurrent_scale", "model.output.scale"),
        "model.embedding.scale",
    ),
    check=_check,
    has_validation=True,
    metrics={
        "bleu": "higher",
        "chrf": "higher",
        "exact": "higher",
        "bits": "lower",
        "perplexity": "lower",
    },
    vocabulary_free=("bleu", "chrf", "exact"),
)
