"""Tables with named columns, and labelled text from them."""

import json
import os
import re

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from rnnjax.config.sections import DataConfig
from rnnjax.data import text_lines
from rnnjax.data.corpora.labelled_files import load_labelled_files, sort_classes
from rnnjax.data.corpora.tables import read_rows
from rnnjax.errors import InputError

ROWS = [("a, b", 'say "x"\nand y', "yes"), ("", "é", "no"), ("c", "d", "yes")]


def write_csv(path, delimiter=","):
    def quote(text):
        return '"' + text.replace('"', '""') + '"'

    lines = [["body", "title", "kind"], *([b, quote(a), c] for a, b, c in ROWS)]
    lines = [[quote(body), title, kind] for body, title, kind in lines[1:]]
    text = "\n".join(delimiter.join(line) for line in [["body", "title", "kind"], *lines])
    path.write_text(f"\ufeff{text}\n\n", encoding="utf-8")


def write_json_lines(path):
    rows = [{"title": a, "body": b, "kind": c, "other": 1} for a, b, c in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def write_parquet(path):
    title, body, kind = zip(*ROWS, strict=True)
    parquet.write_table(pyarrow.table({"kind": kind, "title": title, "body": body}), path)


WRITERS = {
    "a.csv": write_csv,
    "a.tsv": lambda path: write_csv(path, "\t"),
    "a.jsonl": write_json_lines,
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_named_columns_are_read(tmp_path, name):
    WRITERS[name](tmp_path / name)
    rows = list(read_rows(tmp_path / name, ["title", "body", "kind"]))
    assert [values for values, _ in rows] == ROWS
    place = {"a.parquet": "row 2", "a.jsonl": "line 2"}.get(name, "line 4")
    assert str(rows[1].place) == f"{tmp_path / name}, {place}"


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no table", encoding="utf-8")
    places = [place for _, place in read_rows(tmp_path, ["title"])]
    assert [str(place).split(",")[0] for place in places[::3]] == [
        str(tmp_path / name) for name in sorted(WRITERS)
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "a.csv, line 1: has no column 'title'; its columns are 'a', 'b'"),
        ("a.csv", "", "a.csv, line 1: has no column 'title'; its columns are none"),
        ("a.csv", "title,kind\nx,y\nx\n", "a.csv, line 3: has 1 columns, and the header has 2"),
        ("a.csv", "title,kind,title\n", "line 1: the header names 'title' twice"),
        ("a.csv", 'title,kind\n"x"y,z\n', "a.csv, line 2: "),
        ("a.jsonl", "\n{]\n", "a.jsonl, line 2: is no JSON"),
        ("a.jsonl", "3\n", "a.jsonl, line 1: given int, expected an object"),
        ("a.jsonl", '{"kind": "x"}\n', "line 1: has no column 'title'; its columns are 'kind'"),
        ("a.parquet", "x", "a.parquet: is no Parquet file, or damaged"),
        ("a.txt", "x", "given the suffix '.txt', expected one of .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        list(read_rows(tmp_path / name, ["title", "kind"]))


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no file that ends in \.csv"):
        list(read_rows(tmp_path, ["title"]))


def config_of(folder, **values):
    write_csv(folder / "train.csv")
    values = {"file": str(folder / "train.csv"), "text": ("title", "body"), **values}
    return DataConfig.model_validate({"label": "kind", **values})


def test_labelled_files_are_a_corpus(tmp_path):
    write_json_lines(tmp_path / "test.jsonl")
    paths = {"validation_file": str(tmp_path), "test_file": str(tmp_path / "test.jsonl")}
    corpus = load_labelled_files(config_of(tmp_path, **paths))
    assert corpus.classes == ("no", "yes")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 3,
        "validation": 6,
        "test": 3,
    }
    train = corpus.splits["train"]
    assert train.labels.tolist() == [1, 0, 1]
    assert train.texts("title+body") == ['a, b say "x"\nand y', " é", "c d"]
    again = load_labelled_files(config_of(tmp_path, **paths))
    assert again.fingerprint == corpus.fingerprint
    other = load_labelled_files(config_of(tmp_path, **paths, classes="yes,no"))
    assert other.classes == ("yes", "no")
    assert other.fingerprint != corpus.fingerprint


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('"maybe"', "test.jsonl, line 1: the class is 'maybe', which no training row has"),
        ("null", "test.jsonl, line 1: 'kind' is None, expected a class"),
        ("1.5", "'kind' is 1.5, expected a class, a text or a whole number"),
        ('""', "'kind' is '', expected a class"),
    ],
)
def test_invalid_labels_are_refused(tmp_path, label, message):
    test = tmp_path / "test.jsonl"
    test.write_text(f'{{"title": "a", "body": "b", "kind": {label}}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        load_labelled_files(config_of(tmp_path, test_file=str(test)))


def test_a_text_that_is_no_string_is_refused(tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text('{"title": "a", "body": null, "kind": "no"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1: 'body' is None, expected a text"):
        load_labelled_files(config_of(tmp_path, test_file=str(test)))


def test_one_class_is_refused(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("title,kind\na,x\nb,x\n", encoding="utf-8")
    config = DataConfig.model_validate({"file": str(path), "text": "title", "label": "kind"})
    with pytest.raises(InputError, match="every row has the class 'x'; expected two or more"):
        load_labelled_files(config.model_copy(update={"test": 0.5}))


def test_classes_are_sorted_as_numbers_where_they_are():
    assert sort_classes(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sort_classes(["10", "9", "x"]) == ("10", "9", "x")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def labelled_lines(path, labels):
    rows = [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)]
    return DataConfig(file=write_lines(path, rows), text="text")


def test_test_rows_are_a_share_of_each_class(tmp_path):
    labels = ["a"] * 40 + ["b"] * 10 + ["c"]
    config = labelled_lines(tmp_path / "a.jsonl", labels).model_copy(update={"test": 0.2})
    splits = load_labelled_files(config).splits
    assert np.bincount(splits["test"].labels).tolist() == [8, 2]
    assert np.bincount(splits["train"].labels).tolist() == [32, 8, 1]
    one = labelled_lines(tmp_path / "b.jsonl", ["a"])
    with pytest.raises(InputError, match=r"config\.data\.test: 0\.1 of 1 rows"):
        load_labelled_files(one)


def test_several_labels_a_row(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,b; a\ny,\nz,b;b\n", encoding="utf-8")
    lists = [["b", "a"], [], "b"]
    rows = [{"text": text, "label": row} for text, row in zip("xyz", lists, strict=True)]
    write_lines(tmp_path / "a.jsonl", rows)
    for name in ("a.csv", "a.jsonl"):
        path = str(tmp_path / name)
        config = DataConfig(file=path, test_file=path, text="text", multi_label=True)
        corpus = load_labelled_files(config)
        assert corpus.classes == ("a", "b")
        labels = corpus.splits["train"].labels
        assert labels.tolist() == [[True, True], [False, False], [False, True]]
    single = config.model_copy(update={"multi_label": False})
    with pytest.raises(InputError, match="line 1: 'label' is a list of 2 labels, expected one"):
        load_labelled_files(single)


@pytest.mark.parametrize("label", ["a;;b", 1.5, None, {"a": 1}, ["a", ""], ["a", ["b"]]])
def test_invalid_lists_of_labels_are_refused(tmp_path, label):
    config = labelled_lines(tmp_path / "a.jsonl", [["a"], label])
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: 'label' is .* expected a list of"):
        load_labelled_files(config.model_copy(update={"multi_label": True}))


def test_classes_that_the_config_lists_are_the_only_ones(tmp_path):
    config = labelled_lines(tmp_path / "a.jsonl", ["a", "b"] * 20)
    with pytest.raises(InputError, match=r"'b', which config\.data\.classes does not list"):
        load_labelled_files(config.model_copy(update={"classes": "a,c"}))
    with pytest.raises(InputError, match="given 'a' twice"):
        load_labelled_files(config.model_copy(update={"classes": "a,b,a"}))


def test_ten_thousand_classes(tmp_path):
    labels = [str(n % 10_000) for n in range(20_000)]
    corpus = load_labelled_files(labelled_lines(tmp_path / "a.jsonl", labels))
    assert corpus.classes == tuple(map(str, range(10_000)))
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 18_000,
        "test": 2_000,
    }
    assert len(set(corpus.splits["train"].labels.tolist())) == 10_000


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_line_without_end_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(text_lines, "MAX_LINE", 1_000)
    WRITERS[name](tmp_path / name)
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write("é" * 1_001)
    line = {"a.jsonl": 4}.get(name, 7)
    message = rf"{name}, line {line}: is longer than 1,000 bytes, the limit of a line; break it"
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / name, ["title", "body", "kind"]))


@pytest.mark.parametrize("name", WRITERS)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(it is a pipe"):
        list(read_rows(tmp_path / name, ["title"]))
