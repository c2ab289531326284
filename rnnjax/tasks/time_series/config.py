"""The keys of a config that the time series task reads."""

import math
from typing import Literal

import pydantic

from rnnjax.config.schema import Config
from rnnjax.config.sections import ColumnNames, ConfigSection
from rnnjax.config.task_schema import (
    DIRECTION_KEYS,
    FILE_KEYS,
    RECURRENT_KEYS,
    SPLIT_KEYS,
    TaskSchema,
)

OUTPUTS = ("class", "number", "step_class", "step_number", "forecast")
MAX_HORIZON = 10_000


class TimeSeriesConfig(ConfigSection):
    """Series of numbers.

    `data.file` is `.ts` of the UEA archive, `.npz` (values `[rows, time, channels]`; lengths, mask,
    times and labels), a table with a row for each step (CSV, TSV, JSON Lines, Parquet), or `.npy`
    (one series `[time, channels]`, memory-mapped, for forecasts). Without it, series of a known
    random process are generated. `data.label` names the column or array of the labels.
    """

    output: Literal["class", "number", "step_class", "step_number", "forecast"] = "class"
    """Prediction: a class or a number for each series or for each step, or the next values after
    each step."""
    id: str = pydantic.Field(default="id", max_length=1_000)
    """Column of a table that names the series of each row; '' for one series."""
    time: str = pydantic.Field(default="", max_length=1_000)
    """Column of a table with the time of each row, a number or an ISO 8601 date; '' for none."""
    channels: ColumnNames = ""
    """Columns of a table with the values, or numbers of the channels of another file, counted from
    0, joined by '+'; '' for all channels, of files that are no tables."""
    missing: Literal["", "mask", "indicator"] = ""
    """Reading of missing values: '' refuses them, 'mask' skips the step, 'indicator' reads the mean
    of the training part and adds a channel that is 1 where the value is missing."""
    elapsed: bool = False
    """Whether the time since the previous step is a further channel."""
    loss: Literal["squared", "absolute", "quantile"] = "squared"
    """Loss of numbers, in standard deviations of the training part; 'quantile' is the pinball loss
    of `quantiles`."""
    quantiles: str = pydantic.Field(default="0.1,0.5,0.9", max_length=1_000)
    """Quantiles to predict, rising, with 0.5 among them as the prediction of a number."""
    horizon: int = pydantic.Field(default=1, ge=1, le=MAX_HORIZON)
    """Number of values after a step that a forecast predicts."""


def parse_quantiles(options: TimeSeriesConfig) -> tuple[float, ...]:
    """Returns the predicted quantiles; none of another loss.

    Raises:
      ValueError: they are no rising numbers between 0 and 1 with 0.5 among them.
    """
    if options.loss != "quantile":
        return ()
    try:
        values = tuple(map(float, options.quantiles.split(",")))
    except ValueError:
        values = (math.nan,)
    if 0.5 not in values or list(values) != sorted({q for q in values if 0 < q < 1}):
        raise ValueError(
            f"time_series.quantiles is {options.quantiles!r}: give rising numbers between 0 and 1 "
            "with 0.5 among them, such as '0.1,0.5,0.9'"
        )
    return values


def _check(config: Config) -> None:
    options = config.section(TimeSeriesConfig)
    if not config.model.mask:
        raise ValueError("model.mask is False, and series need a mask: set model.mask to True")
    if options.output == "forecast" and config.model.bidirectional:
        raise ValueError(
            "time_series.output is 'forecast' and model.bidirectional is True: a network that "
            "reads what it predicts learns nothing, so set model.bidirectional=False"
        )
    if options.horizon > 1 and options.output != "forecast":
        raise ValueError(
            f"time_series.horizon is {options.horizon} and time_series.output "
            f"{options.output!r}: only a forecast has a horizon, so leave one of them out"
        )
    if options.loss != "squared" and options.output.endswith("class"):
        raise ValueError(
            f"time_series.loss is {options.loss!r} and time_series.output {options.output!r}: "
            "classes have the cross-entropy, so leave time_series.loss out"
        )
    if not config.data.file and options.output not in ("class", "forecast"):
        raise ValueError(
            f"time_series.output is {options.output!r} and data.file is '': the generated series "
            "have a class each, so set data.file, or the output to 'class' or 'forecast'"
        )
    parse_quantiles(options)


SCHEMA = TaskSchema(
    name="time_series",
    section=TimeSeriesConfig,
    keys=(
        *(*FILE_KEYS, *SPLIT_KEYS, *RECURRENT_KEYS, *DIRECTION_KEYS, "model.pooling"),
        *("data.label", "data.test", "data.take", "data.sequence_length"),
    ),
    check=_check,
    metrics={
        "macro_f1": "higher",
        "mae": "lower",
        "rmse": "lower",
        "r2": "higher",
        "pinball": "lower",
    },
)
