"""The metrics log survives crashes, and damaged lines are named."""

import hashlib
import json
import math
import resource

import pytest

from rnnjax.errors import InputError
from rnnjax.reporting.metrics_log import MetricsLog, digest, read, truncate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_lines_round_trip(path):
    file = MetricsLog(path)
    file.write({"step": 100, "split": "train", "loss": 1.25})
    assert read(path) == [{"step": 100, "split": "train", "loss": 1.25}]
    file.write({"step": 200, "split": "train", "loss": 0.5})
    assert [line["step"] for line in read(path)] == [100, 200]
    assert path.read_bytes().count(b"\n") == 2
    assert path.read_bytes().endswith(b"}\n")


def test_new_file_is_empty(path):
    MetricsLog(path)
    assert read(path) == []


def test_mark_is_merged_into_all_lines(path):
    file = MetricsLog(path, {"data": "docstrings (fallback)"})
    file.write({"step": 1})
    file.write({"step": 2, "data": "ag_news_subset"})
    assert [line["data"] for line in read(path)] == ["docstrings (fallback)"] * 2


def test_non_finite_numbers_round_trip_through_strict_json(path):
    MetricsLog(path).write({"step": 1, "loss": math.nan, "norm": math.inf, "low": -math.inf})
    assert json.loads(path.read_text()) == {"step": 1, "loss": "nan", "norm": "inf", "low": "-inf"}
    (line,) = read(path)
    assert math.isnan(line["loss"])
    assert (line["norm"], line["low"]) == (math.inf, -math.inf)


@pytest.mark.parametrize("rest", ['{"step": 300, "lo', '{"step": 300}', "\0\0\0"])
def test_unfinished_last_line_is_ignored_and_cut_off(path, rest):
    MetricsLog(path).write({"step": 200})
    with path.open("a") as file:
        file.write(rest)
    assert read(path) == [{"step": 200}]
    MetricsLog(path).write({"step": 250})
    assert read(path) == [{"step": 200}, {"step": 250}]


@pytest.mark.parametrize("line", ["", "{", "[1]", "12"])
def test_damaged_line_is_named(path, line):
    path.write_text('{"step": 1}\n' + line + '\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        read(path)


def test_missing_file_is_named(path):
    with pytest.raises(InputError, match=r"metrics\.jsonl is missing"):
        read(path)


def test_partial_line_on_a_full_disk_is_an_error_and_is_cut_off(path):
    file = MetricsLog(path)
    file.write({"step": 100})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(InputError, match=r"metrics\.jsonl: could not be written \(File too"):
            file.write({"step": 200})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b'{"step": 100}\n{"ste'
    MetricsLog(path).write({"step": 200})
    assert read(path) == [{"step": 100}, {"step": 200}]


def test_truncate_drops_later_lines(path):
    file = MetricsLog(path)
    for step, split in [(100, "train"), (200, "train"), (200, "validation"), (300, "train")]:
        file.write({"step": step, "split": split, "loss": math.nan})
    lines = path.read_text().splitlines(keepends=True)
    with path.open("a") as unfinished:
        unfinished.write('{"step": 1')
    truncate(path, 200)
    assert path.read_text() == "".join(lines[:3])
    file.write({"step": 300, "split": "train"})
    assert [line["step"] for line in read(path)] == [100, 200, 200, 300]
    truncate(path, 0)
    assert read(path) == []


@pytest.mark.parametrize(
    "line", ['{"step": "1", "split": "train"}', '{"split": "train"}', '{"step": 1}']
)
def test_line_without_step_or_split_is_named(path, line):
    path.write_text('{"step": 1, "split": "train"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: given .*a step and a split"):
        truncate(path, 100)


def test_digest_equals_that_of_the_truncated_file(path):
    file = MetricsLog(path)
    for step, split in [(1, "train"), (2, "train"), (2, "test"), (3, "train")]:
        file.write({"step": step, "split": split, "loss": math.inf})

    def is_no_test(line):
        return line["split"] != "test"

    actual = digest(path, 2, is_no_test)
    truncate(path, 2, is_no_test)
    assert actual == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_bytes().count(b"\n") == 2
    assert digest(path, 0, is_no_test) == digest(path.with_name("none"), 2, is_no_test)


def test_truncate_without_a_file_creates_an_empty_one(path):
    truncate(path, 100)
    assert read(path) == []


def test_failed_truncate_leaves_all_lines(path, monkeypatch):
    file = MetricsLog(path)
    file.write({"step": 100, "split": "train"})
    file.write({"step": 200, "split": "train"})

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InputError, match=r"could not be written \(no space\)"):
        truncate(path, 100)
    assert len(read(path)) == 2
