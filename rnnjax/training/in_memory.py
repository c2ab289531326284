"""Data in memory, written to the files that a task reads: texts, arrays, and frames."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.errors import InputError

FILE_KEYS = {
    "train": "data.file",
    "validation": "data.validation_file",
    "test": "data.test_file",
}
"""The key of the config that names the file of a split."""

_EXPECTED = (
    "expected a pair (texts, labels) or (arrays, labels), a frame or a mapping with columns, or a "
    "list of texts without labels"
)


def encode_splits(splits: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Encodes the splits of a data set as files.

    A frame is anything with named columns: of pandas, polars or pyarrow, or a mapping of lists. All
    columns are written, and the config names those that are read (`data.text`, `data.label`). A
    pair is a tuple `(inputs, labels)`: texts become the column 'text', numbers `[rows, time,
    channels]` or a list of arrays `[time, channels]` the array 'values', labels 'label'. Texts
    without labels become lines of text.

    Args:
      splits: data by the name of the split, 'train', 'validation' or 'test'.

    Returns:
      The content of each file by its name, and keys of the config: the name of the file of each
      split, and the names of the columns of pairs. Equal data have equal names.

    Raises:
      InputError: data are none of these, or have columns of different lengths.
    """
    files: dict[str, bytes] = {}
    keys: dict[str, str] = {}
    for split, data in splits.items():
        suffix, content, columns = _encode(split, data)
        name = f"{split}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        files[name] = content
        keys |= {FILE_KEYS[split]: name, **columns}
    return files, keys


def _encode(split: str, data: Any) -> tuple[str, bytes, dict[str, str]]:
    """Returns the suffix of a file, its content, and keys of the config that it needs."""
    if isinstance(data, Iterator):
        data = list(data)
    if isinstance(data, tuple) and len(data) == 2:
        inputs, labels = (list(part) if isinstance(part, Iterator) else part for part in data)
        if isinstance(inputs, str) or isinstance(labels, str):
            raise InputError(f"{split}: given a pair of which one is a text; {_EXPECTED}")
        if _are_texts(inputs):
            columns = {"text": _values(inputs), "label": _values(labels)}
            keys = {"data.text": "text", "data.label": "label", "data.vocabulary.text": ""}
            return ".jsonl", _encode_table(split, columns), keys
        return ".npz", _encode_arrays(split, inputs, labels), {"data.label": "label"}
    names = getattr(data, "columns", None)
    if isinstance(data, Mapping):
        names = list(data)
    elif callable(names) or hasattr(data, "column_names"):  # a table of pyarrow
        names = getattr(data, "column_names", None)
    if names is not None and len(names):
        columns = {str(name): _values(data[name]) for name in names}
        return ".jsonl", _encode_table(split, columns), {}
    if not isinstance(data, str) and _are_texts(data):
        return ".txt", "".join(f"{text}\n" for text in _values(data)).encode(), {}
    raise InputError(f"{split}: given {type(data).__name__}; {_EXPECTED}")


def _are_texts(values: Any) -> bool:
    return isinstance(values, Iterable) and isinstance(next(iter(values), None), str)


def _values(column: Any) -> list[Any]:
    """Returns the values of a column as objects of Python."""
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return getattr(column, method)()
    return list(column)


def _encode_table(split: str, columns: Mapping[str, Sequence[Any]]) -> bytes:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise InputError(f"{split}: given columns of different lengths ({listed}); expected one")
    rows = zip(*columns.values(), strict=True)
    lines = (
        json.dumps(dict(zip(columns, map(_without_nan, row), strict=True)), default=_plain)
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _without_nan(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _plain(value: Any) -> Any:
    """Returns a value that JSON knows: lists of arrays, None of missing values, texts of others."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def _encode_arrays(split: str, inputs: Any, labels: Any) -> bytes:
    try:
        values = [np.asarray(row, np.float32) for row in inputs]
    except (TypeError, ValueError) as error:
        raise InputError(f"{split}: the inputs are no numbers ({error}); {_EXPECTED}") from None
    targets, shapes = np.asarray(_values(labels)), {row.shape[1:] for row in values}
    if not values or len(shapes) != 1 or values[0].ndim not in (1, 2):
        raise InputError(
            f"{split}: given {len(values)} arrays of the shapes "
            f"{sorted({row.shape for row in values})[:5]}; expected [time, channels], with the "
            "same number of channels"
        )
    if len(targets) != len(values):
        raise InputError(
            f"{split}: given {len(values):,} arrays and {len(targets):,} labels; expected as many"
        )
    lengths = np.array([len(row) for row in values])
    padded = np.zeros((len(values), lengths.max(), *values[0].shape[1:]), np.float32)
    for row, value in enumerate(values):
        padded[row, : len(value)] = value
    file = io.BytesIO()
    np.savez(file, values=padded, lengths=lengths, label=targets)
    return file.getvalue()
