"""Prepared corpora on the disk: whole or not there."""

import contextlib
import json
import random
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from rnnjax.data.corpora import CsvRow, builders
from rnnjax.data.corpora import prepared as kept_corpora
from rnnjax.errors import InputError


def rows_of(split):
    return [
        CsvRow(int(label), *texts)
        for label, *texts in zip(
            split.labels, split.fields["title"], split.fields["description"], strict=True
        )
    ]


PREPARED = kept_corpora.PreparedCorpus(
    ("a", "b"), {"train": [CsvRow(1, "x", "y")], "test": [CsvRow(0, "", "z")]}
)


@pytest.mark.parametrize("where", ["prepare", "_publish"])
def test_a_killed_preparation_leaves_nothing_that_is_read(tmp_path, where):
    code = f"""
import os, signal, pathlib
from rnnjax.data.corpora import prepared as cache
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
corpus = cache.PreparedCorpus(("no", "no"), {{"train": [], "test": []}})
if {where!r} == "_publish":
    cache._publish = die
prepare = die if {where!r} == "prepare" else lambda _: corpus
cache.load_or_prepare(pathlib.Path({str(tmp_path)!r}), "c", "k", prepare)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    kept = kept_corpora.load_or_prepare(tmp_path, "c", "k", lambda _: PREPARED)
    assert kept.classes == ("a", "b")
    assert rows_of(kept.splits["train"]) == [CsvRow(1, "x", "y")]


@pytest.mark.parametrize("damage", ["corpus.json", "train.title.utf8.npy", "test.labels.npy"])
@pytest.mark.parametrize("cut", [None, 0, -1])
def test_what_is_damaged_is_prepared_again(tmp_path, damage, cut):
    kept_corpora.load_or_prepare(tmp_path, "c", "k", lambda _: PREPARED)
    path = tmp_path / "corpora" / "c-k" / damage
    content = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(content[:cut].rstrip(b"}\n"))
    kept = kept_corpora.load_or_prepare(tmp_path, "c", "k", lambda _: PREPARED)
    assert rows_of(kept.splits["train"]) == [CsvRow(1, "x", "y")]
    assert rows_of(kept.splits["test"]) == [CsvRow(0, "", "z")]
    assert path.read_bytes() == content
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["c-k"]


ROWS = [CsvRow(number % 2, f"title {number}", f"text {number}") for number in range(7)]
LARGER = kept_corpora.PreparedCorpus(("a", "b"), {"train": ROWS, "test": ROWS[:3]})


def read(root, key="k"):
    kept = kept_corpora.load_or_prepare(root, "c", key, lambda _: LARGER)
    return kept.classes, {part: rows_of(split) for part, split in kept.splits.items()}


def test_whatever_byte_is_damaged_the_same_corpus_is_read_and_it_is_said(tmp_path, capsys):
    expected = read(tmp_path)
    draw = random.Random(0)
    files = sorted((tmp_path / "corpora" / "c-k").iterdir())
    told = 0
    for path in files:
        whole = path.read_bytes()
        for place in draw.sample(range(len(whole)), 5):
            content = bytearray(whole)
            content[place] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            capsys.readouterr()
            assert read(tmp_path) == expected, (path.name, place)
            said = "is damaged" in capsys.readouterr().err
            # White space of a head may be lost; else the file is made again.
            assert said == (path.read_bytes() == whole), (path.name, place)
            told += said
            path.write_bytes(whole)
    assert told > 40


def shifted(path):
    array = np.load(path)
    np.save(path, np.roll(array, 1))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.labels.npy", shifted),
        ("train.title.utf8.npy", shifted),
        ("train.labels.npy", lambda path: np.save(path, np.load(path) + 1)),
        ("train.labels.npy", lambda path: np.save(path, np.load(path).astype("<i8"))),
        ("train.title.offsets.npy", lambda path: np.save(path, np.load(path)[::-1])),
        ("train.title.offsets.npy", lambda path: np.save(path, np.load(path) * 2)),
        ("train.title.utf8.npy", lambda path: shutil.copy(path.parent / "test.labels.npy", path)),
        ("corpus.json", lambda path: path.write_text(path.read_text().replace('"a"', '"b"'))),
        ("corpus.json", lambda path: path.write_text("[]")),
    ],
)  # fmt: skip
def test_columns_that_were_changed_are_prepared_again(tmp_path, capsys, name, damage):
    expected = read(tmp_path)
    damage(tmp_path / "corpora" / "c-k" / name)
    assert read(tmp_path) == expected
    assert "corpora/c-k is damaged" in capsys.readouterr().err
    assert read(tmp_path) == expected
    assert capsys.readouterr().err == ""


def test_what_was_prepared_from_something_else_is_not_taken(tmp_path, capsys):
    kept_corpora.load_or_prepare(tmp_path, "c", "other", lambda _: PREPARED)
    (tmp_path / "corpora" / "c-other").rename(tmp_path / "corpora" / "c-k")
    assert read(tmp_path)[1]["train"] == ROWS
    assert "is damaged (it was prepared from something else)" in capsys.readouterr().err


def test_columns_that_do_not_fit_together_are_refused_whatever_their_fingerprint(tmp_path):
    read(tmp_path)
    place = tmp_path / "corpora" / "c-k"
    np.save(place / "train.labels.npy", np.full(7, 2, "<i4"))
    about = json.loads((place / "corpus.json").read_text())
    wrong = kept_corpora.PreparedCorpus(
        ("a", "b"), {**LARGER.rows, "train": [CsvRow(2, *row[1:]) for row in ROWS]}
    )
    kept_corpora._write(tmp_path / "wrong", "k", wrong)
    fingerprint = json.loads((tmp_path / "wrong" / "corpus.json").read_text())["fingerprint"]
    (place / "corpus.json").write_text(json.dumps({**about, "fingerprint": fingerprint}))
    with pytest.raises(ValueError, match="a label of train is not of one of the 2 classes"):
        kept_corpora._read(place, "k")


def test_the_slower_of_two_preparations_takes_what_is_there(tmp_path):
    first = []

    def prepare(_):
        # Another process is done first.
        kept_corpora.load_or_prepare(tmp_path, "c", "k", lambda _: PREPARED)
        first.append((tmp_path / "corpora" / "c-k").stat().st_ino)
        return PREPARED

    kept = kept_corpora.load_or_prepare(tmp_path, "c", "k", prepare)
    assert rows_of(kept.splits["train"]) == [CsvRow(1, "x", "y")]
    assert (tmp_path / "corpora" / "c-k").stat().st_ino == first[0]
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["c-k"]


@contextlib.contextmanager
def files_of_at_most(size):
    """Has a write beyond a size of a file fail, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("way", ["array_record", "columns"])
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_full_disk_is_named_with_the_cache_and_leaves_nothing(tmp_path, capsys, way, size):
    rows = [CsvRow(0, f"title {number}", "word " * (number % 90)) for number in range(500)]
    prepared = kept_corpora.PreparedCorpus(("a", "b"), {"train": rows, "test": rows[:1]})

    def prepare(scratch):
        if way == "columns":
            return prepared
        return builders.prepare(builders.AgNewsCsv, prepared, scratch)

    place = tmp_path / "cache"
    with files_of_at_most(size), pytest.raises(InputError) as caught:
        kept_corpora.load_or_prepare(place, "c", "k", prepare)
    said = capsys.readouterr()
    cause = r"\((File too large|only a part could be written)\)"
    assert re.match(rf"the cache {place} cannot be written {cause}; .*kept", str(caught.value))
    assert "RNNJAX_CACHE" in str(caught.value)
    assert "Traceback" not in said.out + said.err
    assert list((place / "corpora").iterdir()) == []
    assert (
        len(kept_corpora.load_or_prepare(place, "c", "k", lambda _: prepared).splits["train"])
        == 500
    )
