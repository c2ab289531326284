"""Cache of prepared corpora: complete or absent, and verified."""

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

from rnnjax.data.corpora import CsvRow, prepared
from rnnjax.errors import InputError


def rows_of(split):
    return [
        CsvRow(int(label), *texts)
        for label, *texts in zip(
            split.labels, split.fields["title"], split.fields["description"], strict=True
        )
    ]


PREPARED = prepared.PreparedCorpus(
    ("a", "b"), {"train": [CsvRow(1, "x", "y")], "test": [CsvRow(0, "", "z")]}
)


@pytest.mark.parametrize("stage", ["prepare", "_publish"])
def test_killed_preparation_is_repeated(tmp_path, stage):
    code = f"""
import os, signal, pathlib
from rnnjax.data.corpora import prepared as cache
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
corpus = cache.PreparedCorpus(("no", "no"), {{"train": [], "test": []}})
if {stage!r} == "_publish":
    cache._publish = die
prepare = die if {stage!r} == "prepare" else lambda: corpus
cache.load_or_prepare(pathlib.Path({str(tmp_path)!r}), "c", "k", prepare)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    corpus = prepared.load_or_prepare(tmp_path, "c", "k", lambda: PREPARED)
    assert corpus.classes == ("a", "b")
    assert rows_of(corpus.splits["train"]) == [CsvRow(1, "x", "y")]


def test_key_depends_on_name_contents_and_format_version(monkeypatch):
    key = prepared.cache_key("c", [b"a", b"b"])
    assert key == prepared.cache_key("c", iter([b"a", b"b"]))
    variants = [prepared.cache_key("d", [b"a", b"b"]), prepared.cache_key("c", [b"ab"])]
    monkeypatch.setattr(prepared, "FORMAT_VERSION", prepared.FORMAT_VERSION + 1)
    variants.append(prepared.cache_key("c", [b"a", b"b"]))
    assert len({key, *variants}) == 4


def test_groups_of_rows_change_nothing(tmp_path, monkeypatch):
    rows = [CsvRow(index % 2, f"ü{index}", "d" * (index % 3)) for index in range(8)]

    def load(folder):
        corpus = prepared.PreparedCorpus(("a", "b"), {"train": iter(rows), "test": iter(())})
        return prepared.load_or_prepare(tmp_path / folder, "c", "k", lambda: corpus)

    whole = load("whole")
    monkeypatch.setattr(prepared, "_GROUP_ROWS", 3)
    grouped = load("grouped")
    assert rows_of(grouped.splits["train"]) == rows_of(whole.splits["train"]) == rows
    assert len(grouped.splits["test"]) == 0
    assert grouped.fingerprint == whole.fingerprint


@pytest.mark.parametrize("damage", ["corpus.json", "train.title.utf8.npy", "test.labels.npy"])
@pytest.mark.parametrize("cut", [None, 0, -1])
def test_incomplete_corpus_is_prepared_again(tmp_path, damage, cut):
    prepared.load_or_prepare(tmp_path, "c", "k", lambda: PREPARED)
    path = tmp_path / "corpora" / "c-k" / damage
    content = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(content[:cut].rstrip(b"}\n"))
    corpus = prepared.load_or_prepare(tmp_path, "c", "k", lambda: PREPARED)
    assert rows_of(corpus.splits["train"]) == [CsvRow(1, "x", "y")]
    assert rows_of(corpus.splits["test"]) == [CsvRow(0, "", "z")]
    assert path.read_bytes() == content
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["c-k"]


ROWS = [CsvRow(number % 2, f"title {number}", f"text {number}") for number in range(7)]
LARGER = prepared.PreparedCorpus(("a", "b"), {"train": ROWS, "test": ROWS[:3]})


def read(root, key="k"):
    corpus = prepared.load_or_prepare(root, "c", key, lambda: LARGER)
    return corpus.classes, {name: rows_of(split) for name, split in corpus.splits.items()}


def test_flipped_bits_are_reported_and_repaired(tmp_path, capsys):
    expected = read(tmp_path)
    draw = random.Random(0)
    files = sorted((tmp_path / "corpora" / "c-k").iterdir())
    warnings = 0
    for path in files:
        original = path.read_bytes()
        for position in draw.sample(range(len(original)), 5):
            content = bytearray(original)
            content[position] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            capsys.readouterr()
            assert read(tmp_path) == expected, (path.name, position)
            warned = "is damaged" in capsys.readouterr().err
            # White space of a header may be lost; else the file is written again.
            assert warned == (path.read_bytes() == original), (path.name, position)
            warnings += warned
            path.write_bytes(original)
    assert warnings > 40


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
def test_edited_columns_are_prepared_again(tmp_path, capsys, name, damage):
    expected = read(tmp_path)
    damage(tmp_path / "corpora" / "c-k" / name)
    assert read(tmp_path) == expected
    assert "corpora/c-k is damaged" in capsys.readouterr().err
    assert read(tmp_path) == expected
    assert capsys.readouterr().err == ""


def test_corpus_of_another_key_is_prepared_again(tmp_path, capsys):
    prepared.load_or_prepare(tmp_path, "c", "k2", lambda: PREPARED)
    (tmp_path / "corpora" / "c-k2").rename(tmp_path / "corpora" / "c-k")
    assert read(tmp_path)[1]["train"] == ROWS
    assert "is damaged (it was prepared from something else)" in capsys.readouterr().err


def test_inconsistent_columns_with_valid_fingerprint_are_refused(tmp_path):
    read(tmp_path)
    folder = tmp_path / "corpora" / "c-k"
    np.save(folder / "train.labels.npy", np.full(7, 2, "<i4"))
    header = json.loads((folder / "corpus.json").read_text())
    wrong = prepared.PreparedCorpus(
        ("a", "b"), {**LARGER.rows, "train": [CsvRow(2, *row[1:]) for row in ROWS]}
    )
    prepared._write(tmp_path / "wrong", "k", wrong)
    fingerprint = json.loads((tmp_path / "wrong" / "corpus.json").read_text())["fingerprint"]
    (folder / "corpus.json").write_text(json.dumps({**header, "fingerprint": fingerprint}))
    with pytest.raises(ValueError, match="a label of train is not of one of the 2 classes"):
        prepared._read(folder, "k")


def test_slower_of_two_preparations_uses_the_first(tmp_path):
    first = []

    def prepare():
        # Another process is done first.
        prepared.load_or_prepare(tmp_path, "c", "k", lambda: PREPARED)
        first.append((tmp_path / "corpora" / "c-k").stat().st_ino)
        return PREPARED

    corpus = prepared.load_or_prepare(tmp_path, "c", "k", prepare)
    assert rows_of(corpus.splits["train"]) == [CsvRow(1, "x", "y")]
    assert (tmp_path / "corpora" / "c-k").stat().st_ino == first[0]
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["c-k"]


@contextlib.contextmanager
def file_size_limit(size):
    """Makes writes beyond a file size fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 20_000])
def test_full_disk_is_refused_and_leaves_no_files(tmp_path, capsys, size):
    rows = [CsvRow(0, f"title {number}", "word " * (number % 90)) for number in range(500)]
    corpus = prepared.PreparedCorpus(("a", "b"), {"train": rows, "test": rows[:1]})

    root = tmp_path / "cache"
    with file_size_limit(size), pytest.raises(InputError) as caught:
        prepared.load_or_prepare(root, "c", "k", lambda: corpus)
    printed = capsys.readouterr()
    cause = r"\((File too large|only a part could be written)\)"
    assert re.match(rf"the cache {root} cannot be written {cause}; .*kept", str(caught.value))
    assert "RNNJAX_CACHE" in str(caught.value)
    assert "Traceback" not in printed.out + printed.err
    assert list((root / "corpora").iterdir()) == []
    assert len(prepared.load_or_prepare(root, "c", "k", lambda: corpus).splits["train"]) == 500
