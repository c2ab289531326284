"""Classification of texts from files with named columns."""

import csv
import json

import pytest

from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.training import load_run

from .small_runs import SMALL_CONFIG, make_config, news_config, train

CLASSES = ("1", "2", "3", "4")


def write_named_columns(source, target):
    """Writes rows of the layout of AG News as CSV with a header, columns in another order."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["abstract", "section", "head line"])
        writer.writerows([description, label, title] for label, title, description in rows)


@pytest.fixture
def files(news, tmp_path):
    for name in ("train", "test"):
        write_named_columns(news / f"{name}.csv", tmp_path / f"{name}.csv")
    paths = {"file": str(tmp_path / "train.csv"), "test_file": str(tmp_path / "test.csv")}
    return {**paths, "text": ("head line", "abstract"), "label": "section"}


def test_named_columns_train_as_the_original_layout(news, files, tmp_path):
    expected = train(news_config(news), tmp_path / "layout")
    data = {**SMALL_CONFIG["data"], **files}
    result = train(parse({**SMALL_CONFIG, "data": data}), tmp_path / "files")
    assert result["test"] == expected["test"]
    run = load_run(tmp_path / "files")
    assert run.outcomes == CLASSES
    assert run.evaluate(files["test_file"]) == pytest.approx(expected["test"])
    (answer,) = run.predictions(["goal striker season"])
    assert answer.values["class"] in CLASSES


def test_test_rows_are_split_off(files, tmp_path):
    data = {**SMALL_CONFIG["data"], **files, "test_file": "", "test": 0.25}
    results = [
        train(
            parse({**SMALL_CONFIG, "epochs": 1, "seed": seed, "data": data}), tmp_path / str(seed)
        )
        for seed in (0, 1)
    ]
    rows = results[0]["data"]["rows"]
    assert rows["test"] == pytest.approx(rows["train"] / 3, abs=4)
    assert results[0]["test"]["rows"] == results[1]["test"]["rows"]
    fingerprints = {
        json.loads((tmp_path / str(seed) / "result.json").read_text())["data"]["fingerprint"]
        for seed in (0, 1)
    }
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__text": "body"}, r"the corpus has no field 'body'"),
        ({"data__vocabulary__text": "body"}, r"the corpus has no field 'body'"),
        ({"data__test_file": "a.csv"}, r"data\.test_file is set and data\.file is ''"),
        ({"data__file": "a.csv", "data__dir": "b"}, r"data\.file and data\.dir are set"),
        (
            {"data__file": "a", "data__validation_file": "b", "data__validation": 0.1},
            r"data\.validation_file is set and data\.validation is 0\.1",
        ),
    ],
)
def test_keys_of_files_are_checked(values, message):
    with pytest.raises(InputError, match=message):
        make_config({}, **values)
