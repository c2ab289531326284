"""Files of series: every format, and what is wrong with damaged ones."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from rnnjax.config.sections import DataConfig
from rnnjax.errors import InputError
from rnnjax.tasks.time_series.config import TimeSeriesConfig
from rnnjax.tasks.time_series.corpus import load_corpus
from rnnjax.tasks.time_series.files import SeriesColumns, read_series
from rnnjax.tasks.time_series.series import SeriesEncoder, SeriesTable, check_values

TS = """# a comment
@problemName small
@timeStamps false
@classLabel true a b
@data
1,2,3:4,5,6:a
7,?:8,9:b
"""
CSV = "id,time,x,y,label\nu,1,1.5,2,a\nu,2,,3,a\nv,1,4,5,b\n"
TABLE = SeriesColumns(label="label", id="id", time="time", channels="x+y")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ts_files_are_read(tmp_path):
    table, channels = read_series(write(tmp_path, "a.ts", TS), SeriesColumns(label="label"))
    assert channels == ("0", "1")
    assert table.offsets.tolist() == [0, 3, 5]
    np.testing.assert_array_equal(table.values[:3], [[1, 4], [2, 5], [3, 6]])
    assert np.isnan(table.values[4, 0])
    assert table.labels is not None
    assert table.labels.tolist() == ["a", "b"]
    table, channels = read_series(tmp_path / "a.ts", SeriesColumns(channels="1"))
    assert channels == ("1",)
    assert table.labels is None
    assert table.values.shape == (5, 1)


def test_tables_are_read(tmp_path):
    path = write(tmp_path, "a.csv", CSV.replace("u,2,", "u,4,"))
    columns = SeriesColumns("label", "id", "time", "x+y", elapsed=True)
    table, channels = read_series(path, columns)
    assert channels == ("x", "y", "elapsed")
    np.testing.assert_array_equal(table.values[:, 1:], [[2, 0], [3, 3], [5, 0]])
    assert np.isnan(table.values[1, 0])
    assert table.offsets.tolist() == [0, 2, 3]
    assert table.place(1) == f"{path}, line 3"


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.tsv"])
def test_tables_of_other_formats_are_read(tmp_path, name):
    columns = {
        "name": ["x", "x", "y"],
        "when": [1, 2, 1],
        "u": [0.5, None, 2.5],
        "v": [1, 2, 3],
        "kind": ["a", "a", "b"],
    }
    rows = list(zip(*columns.values(), strict=True))
    path = tmp_path / name
    if name == "a.jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif name == "a.parquet":
        parquet.write_table(pyarrow.table(columns), path)
    else:
        lines = ["\t".join("" if value is None else str(value) for value in row) for row in rows]
        path.write_text("\n".join(["\t".join(columns), *lines]), encoding="utf-8")
    options = SeriesColumns("kind", id="name", time="when", channels="u+v", elapsed=True)
    table, channels = read_series(path, options)
    assert channels == ("u", "v", "elapsed")
    np.testing.assert_array_equal(table.values, [[0.5, 1, 0], [np.nan, 2, 1], [2.5, 3, 0]])
    assert table.offsets.tolist() == [0, 2, 3]
    assert table.labels is not None
    assert table.labels.tolist() == ["a", "a", "b"]


def test_dates_are_seconds(tmp_path):
    text = "time,x\n2026-01-01,1\n2026-01-02T00:00:30,2\n"
    columns = SeriesColumns(id="", time="time", channels="x", elapsed=True)
    table, _ = read_series(write(tmp_path, "a.csv", text), columns)
    assert table.values[:, 1].tolist() == [0, 86_430]


def test_mask_marks_missing_steps_and_padding(tmp_path):
    mask = np.array([[True, False, True, False], [True, True, True, True]])
    np.savez(tmp_path / "a.npz", values=np.ones((2, 4)), mask=mask, label=[1, 2])
    table, _ = read_series(tmp_path / "a.npz", SeriesColumns(label="label"))
    assert table.offsets.tolist() == [0, 3, 7]
    assert np.isnan(table.values[:, 0]).tolist() == [False, True, False, *[False] * 4]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ts", TS.replace("7,?", "7,x"), "line 7: value 2 of channel 0 is 'x'"),
        ("a.ts", TS.replace("8,9", "8"), "line 7: channel 1 has 1 steps, and channel 0 has 2"),
        ("a.ts", TS.replace("7,?:", ""), "line 7: has 1 channels, and the first series has 2"),
        ("a.ts", TS.replace(":b", ":c"), "line 7: the label is 'c', expected one of"),
        ("a.ts", TS.split("@data")[0], "has no series after '@data'"),
        ("a.ts", "1,2:a\n", "line 1: given '1,2:a', expected a line of the header"),
        ("a.ts", TS.replace("timeStamps false", "timeStamps true"), "has time stamps"),
        ("a.ts", TS.replace("classLabel true a b", "classLabel false"), "there are no labels"),
        ("a.csv", CSV.replace("x,", "z,"), "line 1: has no column 'x'"),
        ("a.csv", CSV.replace("1.5", "high"), "line 2: 'x' is 'high', expected a number"),
        ("a.csv", CSV.replace("u,2", "u,1"), "line 3: the time is missing, or not after"),
        ("a.csv", CSV.replace("u,2", "u,2026-01-01"), "line 3: 'time' mixes numbers and dates"),
        ("a.csv", CSV.replace("u,2", "u,soon"), "line 3: 'time' is 'soon', expected a number or"),
        ("a.csv", CSV + "u,3,1,2,a\n", "line 5: the series 'u' began in"),
        ("a.csv", CSV.replace("v,1", ",1"), "line 4: 'id' is empty"),
        ("a.csv", CSV.replace(",b", ","), "line 4: 'label' is '', expected a class"),
        ("a.csv", "id,time,x,y,label\n", "there are no rows"),
        ("a.csv", "", "has no column"),
        ("a.txt", "1", "given the suffix '.txt'"),
        ("a.npz", "no archive", "is no file of NumPy arrays, or damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, text, message):
    columns = TABLE if name == "a.csv" else SeriesColumns(label="label")
    with pytest.raises(InputError, match=re.escape(message)):
        read_series(write(tmp_path, name, text), columns)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": [1]}, "has no array 'values'; its arrays are x"),
        ({"values": np.ones((2, 3))}, "has no array 'label'"),
        ({"values": np.array([["a"]]), "label": [1]}, "expected numbers"),
        ({"values": np.ones(3), "label": [1]}, "has the shape [3], expected [rows"),
        ({"values": np.ones((2, 3)), "label": [1]}, "'label' has the shape [1], expected [2]"),
        ({"values": np.ones((2, 3)), "label": [1, 2], "lengths": [0, 3]}, "row 1: the length is 0"),
        ({"values": np.ones((2, 3)), "label": [1, 2], "lengths": [3, 4]}, "row 2: the length is 4"),
        ({"values": np.ones((2, 3)), "label": [1, 2], "mask": [True]}, "'mask' has the shape [1]"),
        (
            {"values": np.ones((1, 3)), "label": [1], "times": [[1, 3, 2]]},
            "row 1, step 3: the time is missing, or not after",
        ),
        ({"values": np.array([[{}]], object), "label": [1]}, "'values' cannot be read"),
    ],
)
def test_damaged_archives_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        read_series(tmp_path / "a.npz", SeriesColumns(label="label"))


def test_infinite_and_missing_values_are_placed():
    values = np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 5.0]])
    table = SeriesTable(values, np.array([0, 3]), None, ["a.npz, row 1"])
    with pytest.raises(InputError, match=r"a\.npz, row 1, step 2: 'y' is missing"):
        check_values(table, ("x", "y"), "")
    with pytest.raises(InputError, match=r"a\.npz, row 1, step 3: 'x' is infinite"):
        check_values(table, ("x", "y"), "mask")


def test_scaling_is_that_of_observed_values():
    values = np.array([[1.0, 7.0], [3.0, 7.0], [np.nan, 7.0]])
    table = SeriesTable(values, np.array([0, 3]), None, ["a"])
    encoder = SeriesEncoder.fit(table, ("x", "y"), "indicator")
    assert (encoder.mean, encoder.scale) == ((2.0, 7.0), (1.0, 1.0))
    inputs, observed = encoder(values)
    assert inputs.tolist() == [[-1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert observed.all()
    assert SeriesEncoder.from_metadata(encoder.describe()) == encoder


def _config(folder: Path, train: str, test: str) -> DataConfig:
    paths = [write(folder, f"{name}.ts", text) for name, text in (("a", train), ("b", test))]
    return DataConfig.model_validate({"file": str(paths[0]), "test_file": str(paths[1])})


def test_labels_of_the_test_file_occur_in_training(tmp_path):
    header = TS.replace("a b", "a b c")
    config = _config(tmp_path, TS.replace("7,?", "7,7"), header.replace("7,?:8,9:b", "1:2:c"))
    with pytest.raises(InputError, match=r"b\.ts, line 7: the label is 'c', which no training"):
        load_corpus(config, TimeSeriesConfig())
    config = _config(tmp_path, TS.replace("7,?:8,9:b", "7:8:a"), TS.replace("7,?", "7,7"))
    with pytest.raises(InputError, match="every label is 'a'; expected two classes"):
        load_corpus(config, TimeSeriesConfig())
    config = _config(tmp_path, TS.replace("?", "1"), TS.replace("4,5,6:", "").replace("8,9:", ""))
    with pytest.raises(InputError, match=r"has the channels 0, and the training part has 0, 1"):
        load_corpus(config, TimeSeriesConfig(missing="mask"))
    write(tmp_path, "b.ts", TS)
    with pytest.raises(InputError, match=r"a\.ts, line 6: the label is 'a', expected a finite"):
        load_corpus(config, TimeSeriesConfig(output="number", missing="mask"))


def test_ten_thousand_classes_are_read(tmp_path):
    count = 10_000
    np.savez(tmp_path / "a.npz", values=np.ones((count, 1)), label=np.arange(count))
    path = str(tmp_path / "a.npz")
    config = DataConfig.model_validate({"file": path, "test_file": path})
    corpus = load_corpus(config, TimeSeriesConfig())
    assert corpus.metadata["classes"][9_999] == "9999"
    assert corpus.targets["test"].tolist() == list(range(count))


def test_a_damaged_header_of_an_array_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((4, 2)))
    content = path.read_bytes()
    for start in range(8, 60):
        path.write_bytes(content[:start] + content[start + 40 :])
        with pytest.raises(InputError, match=r"a\.npy: "):
            read_series(path, SeriesColumns())
