"""Labelled files larger than memory: parsed by pieces, and from the last one on after a kill."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from rnnjax.config.sections import DataConfig
from rnnjax.data import array_files
from rnnjax.data.corpora import labelled_rows, tables
from rnnjax.data.corpora.labelled_files import load_labelled_files, load_labelled_split
from rnnjax.errors import InputError
from rnnjax.input_files import reading

ROWS = [(f"é{n}, \n{'x' * (n % 9)}", f'say "{n}"', f"c{n * n % 5}") for n in range(50)]


def write_delimited(path, delimiter=","):
    lines = [delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in ROWS]
    header = delimiter.join(["title", "body", "label"])
    path.write_text("\ufeff" + "\r\n\n".join([header, *lines]), encoding="utf-8", newline="")


def write_json_lines(path):
    lines = [json.dumps(dict(zip(("title", "body", "label"), row, strict=True))) for row in ROWS]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(path):
    title, body, label = zip(*ROWS, strict=True)
    table = pyarrow.table({"title": title, "body": body, "label": label})
    parquet.write_table(table, path, row_group_size=8)


def write_folder(path):
    path.mkdir()
    write_delimited(path / "a.csv")
    write_parquet(path / "b.parquet")
    write_delimited(path / "c.tsv", "\t")
    write_json_lines(path / "d.jsonl")


WRITERS = {
    "a.csv": write_delimited,
    "a.jsonl": write_json_lines,
    "a.parquet": write_parquet,
    "folder": write_folder,
}


@pytest.fixture(autouse=True)
def small_pieces(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(labelled_rows, "_PIECE_ROWS", 7)


def config_of(path, **values):
    return DataConfig.model_validate({"file": str(path), "text": "title+body", **values})


def digests(cache):
    (folder,) = (path for path in (cache / "labelled").iterdir() if path.is_dir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_after_any_of_them(tmp_path, name):
    WRITERS[name](tmp_path / name)
    columns = ["body", "title", "label"]
    rows = list(tables.read_rows(tmp_path / name, columns))
    assert [row.values for row in rows] == [(b, a, c) for a, b, c in ROWS] * (
        4 if name == "folder" else 1
    )
    for number, row in enumerate(rows):
        assert list(tables.read_rows(tmp_path / name, columns, row.place[1:])) == rows[number + 1 :]
    units = tables.count_units(tmp_path / name)
    assert (rows[-1].place.file, rows[-1].place.end) in [
        (len(units) - 1, units[-1] - rest) for rest in (0, 1)
    ]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_an_interrupted_preparation_goes_on_to_the_same_files(tmp_path, monkeypatch, name, several):
    WRITERS[name](tmp_path / name)
    config = config_of(tmp_path / name, multi_label=several)
    in_memory = load_labelled_files(config)
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    load_labelled_files(config)
    expected = digests(tmp_path / "cache")
    monkeypatch.setenv("RNNJAX_CACHE", str(tmp_path / "other"))
    write_piece, written, read = labelled_rows.write_piece, [], []

    def write_some(path, arrays):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        write_piece(path, arrays)

    def count_rows(*args):
        for row in tables.read_rows(*args):
            read.append(row)
            yield row

    monkeypatch.setattr(labelled_rows, "write_piece", write_some)
    with pytest.raises(KeyboardInterrupt):
        load_labelled_files(config)
    monkeypatch.setattr(labelled_rows, "write_piece", write_piece)
    monkeypatch.setattr(labelled_rows, "read_rows", count_rows)
    corpus = load_labelled_files(config)
    assert len(read) == len(ROWS) * (4 if name == "folder" else 1) - 3 * 7
    assert digests(tmp_path / "other") == expected
    assert corpus.fingerprint == in_memory.fingerprint
    assert corpus.classes == in_memory.classes
    for split, part in corpus.splits.items():
        np.testing.assert_array_equal(part.labels, in_memory.splits[split].labels)
        texts = in_memory.splits[split].texts("title+body")
        assert part.texts("title+body") == texts


KILLED = """
import sys, time
from rnnjax.config.sections import DataConfig
from rnnjax.data import array_files
from rnnjax.data.corpora import labelled_files, labelled_rows
array_files.MAX_BYTES_IN_MEMORY, labelled_rows._PIECE_ROWS = 20, 7
write_piece = labelled_rows.write_piece
def write(path, arrays):
    write_piece(path, arrays)
    print(path, flush=True)
    time.sleep(float(sys.argv[2]))
labelled_rows.write_piece = write
labelled_files.load_labelled_files(DataConfig(file=sys.argv[1], text="title+body"))
"""


def test_a_killed_preparation_goes_on(tmp_path, monkeypatch):
    write_delimited(tmp_path / "a.csv")
    environment = {**os.environ, "RNNJAX_CACHE": str(tmp_path / "killed")}

    def start(seconds):
        arguments = [sys.executable, "-c", KILLED, str(tmp_path / "a.csv"), str(seconds)]
        return subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )

    with start(60) as process:
        assert process.stdout
        assert process.stdout.readline().endswith("train-0.npz\n")
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    (piece,) = (tmp_path / "killed").rglob("train-0.npz")
    (piece.parent / "train-1.npz").write_bytes(piece.read_bytes()[:-50])
    with start(0) as process:
        output = process.communicate()[0]
    assert output.splitlines()[0].endswith("train-1.npz")
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    load_labelled_files(config_of(tmp_path / "a.csv"))
    assert digests(tmp_path / "killed") == digests(tmp_path / "cache")


def test_a_wrong_row_at_the_end_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    write_json_lines(tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 100: has no column 'title'"):
        load_labelled_files(config_of(tmp_path / "a.jsonl"))
    assert not [path for path in (tmp_path / "cache" / "labelled").iterdir() if path.is_dir()]


def test_a_failed_disk_costs_no_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    write_json_lines(tmp_path / "a.jsonl")

    def read_some(*args):
        for number, row in enumerate(tables.read_rows(*args)):
            if number == 20:
                with reading(tmp_path / "a.jsonl"):
                    raise OSError(errno.EIO, "input/output error")
            yield row

    monkeypatch.setattr(labelled_rows, "read_rows", read_some)
    with pytest.raises(InputError, match="cannot be read"):
        load_labelled_files(config_of(tmp_path / "a.jsonl"))
    assert len(list((tmp_path / "cache").rglob("train-*.npz"))) == 2


def test_a_large_file_is_a_split_of_known_classes(tmp_path, monkeypatch):
    write_delimited(tmp_path / "a.csv")
    classes = ("c4", "c1", "c0", "c9")
    config = config_of(tmp_path / "a.csv")
    expected = load_labelled_split(tmp_path / "a.csv", config, classes)
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    split = load_labelled_split(tmp_path / "a.csv", config, classes)
    np.testing.assert_array_equal(split.labels, expected.labels)
    assert [classes[number] for number in split.labels] == [label for *_, label in ROWS]
    assert split.texts("title+body") == [f"{a} {b}" for a, b, _ in ROWS]
    with pytest.raises(InputError, match=r"a\.csv, line 3: the class is 'c0'"):
        load_labelled_split(tmp_path / "a.csv", config, ("c4", "c1"))
