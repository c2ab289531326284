"""Series in the `.ts` format of the UEA archive.

Bagnall et al., The UEA multivariate time series classification archive, 2018, arXiv:1811.00075:
a header of lines `@key value`, `@data`, then a line for each series, its channels separated by ':'
and the label last.
"""

from pathlib import Path

import numpy as np

from rnnjax.errors import InputError
from rnnjax.input_files import read_text
from rnnjax.tasks.time_series.series import SeriesTable

_LABELS = ("@classlabel", "@targetlabel")


def read_ts(path: Path, *, labels: bool = True) -> SeriesTable:
    """Reads a file; '?' is a missing value.

    Args:
      path: of the file.
      labels: read the labels, strings.

    Raises:
      InputError: it cannot be read, or a line of it is no series. The message names file and line.
    """
    header: dict[str, list[str]] = {}
    is_data, rows, names, places = False, [], [], []
    for number, raw in enumerate(read_text(path).split("\n"), start=1):
        line, place = raw.strip(), f"{path}, line {number}"
        if not line or line.startswith("#"):
            continue
        if is_data:
            parts = line.split(":")
            if header["labelled"]:
                *parts, name = parts
                _check_label(place, name.strip(), header["classes"])
                names.append(name.strip())
            rows.append(_parse(place, parts, len(rows[0]) if rows else 0))
            places.append(place)
            continue
        key, *values = line.split()
        if not key.startswith("@"):
            raise InputError(
                f"{place}: given {line[:40]!r}, expected a line of the header, '@key value', or "
                "'@data' before the series"
            )
        header[key.lower()] = values
        if key.lower() == "@data":
            is_data = True
            _finish_header(path, header, labels)
    if not rows:
        raise InputError(f"{path}: has no series after '@data'; give another file")
    offsets = np.cumsum([0, *(row.shape[1] for row in rows)]).astype(np.int64)
    values = np.concatenate(rows, axis=1).T
    return SeriesTable(values, offsets, np.array(names) if labels else None, places)


def _finish_header(path: Path, header: dict[str, list[str]], labels: bool) -> None:
    if header.get("@timestamps", ["false"])[0].lower() == "true":
        raise InputError(f"{path}: has time stamps, which are not read; convert it to a table")
    label = next((header[key] for key in _LABELS if key in header), ["false"])
    header["labelled"] = label[:1] if label[0].lower() == "true" else []
    header["classes"] = label[1:]
    if labels and not header["labelled"]:
        raise InputError(f"{path}: the header says that there are no labels; give another file")


def _check_label(place: str, name: str, classes: list[str]) -> None:
    if not name or (classes and name not in classes):
        raise InputError(
            f"{place}: the label is {name[:40]!r}, expected one of those in the header, "
            f"{', '.join(classes[:20])}: mend the line"
        )


def _parse(place: str, parts: list[str], channels: int) -> np.ndarray:
    if channels and len(parts) != channels:
        raise InputError(
            f"{place}: has {len(parts)} channels, and the first series has {channels}: mend the "
            "line (channels are separated by ':', the label is last)"
        )
    rows = []
    for channel, part in enumerate(parts):
        texts = ["nan" if text.strip() == "?" else text for text in part.split(",")]
        try:
            rows.append(np.array(texts, np.float64))
        except ValueError:
            column = next(n for n, text in enumerate(texts) if not _is_number(text))
            raise InputError(
                f"{place}: value {column + 1} of channel {channel} is {texts[column][:40]!r}, "
                "expected a number, or '?' where it is missing: mend the line"
            ) from None
    lengths = [len(row) for row in rows]
    if len(set(lengths)) > 1:
        channel = next(n for n, length in enumerate(lengths) if length != lengths[0])
        raise InputError(
            f"{place}: channel {channel} has {lengths[channel]} steps, and channel 0 has "
            f"{lengths[0]}: mend the line"
        )
    return np.stack(rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
