"""Prepared corpora on the disk: whole or not there."""

import contextlib
import re
import resource
import subprocess
import sys

import pytest

from rnnjax.data.corpora import Row, builders
from rnnjax.data.corpora import cache as kept_corpora
from rnnjax.errors import InputError


def rows_of(split):
    return [
        Row(int(label), *texts)
        for label, *texts in zip(
            split.labels, split.fields["title"], split.fields["description"], strict=True
        )
    ]


PREPARED = kept_corpora.Prepared(
    ("a", "b"), {"train": [Row(1, "x", "y")], "test": [Row(0, "", "z")]}
)


@pytest.mark.parametrize("where", ["prepare", "_publish"])
def test_a_killed_preparation_leaves_nothing_that_is_read(tmp_path, where):
    code = f"""
import os, signal, pathlib
from rnnjax.data.corpora import cache
from rnnjax.data.corpora.csv_files import Row
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prepared = cache.Prepared(("no", "no"), {{"train": [], "test": []}})
if {where!r} == "_publish":
    cache._publish = die
prepare = die if {where!r} == "prepare" else lambda _: prepared
cache.keep(pathlib.Path({str(tmp_path)!r}), "c", "k", prepare)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    kept = kept_corpora.keep(tmp_path, "c", "k", lambda _: PREPARED)
    assert kept.classes == ("a", "b")
    assert rows_of(kept.splits["train"]) == [Row(1, "x", "y")]


@pytest.mark.parametrize("damage", ["corpus.json", "train.title.utf8.npy", "test.labels.npy"])
@pytest.mark.parametrize("cut", [None, 0, -1])
def test_what_is_damaged_is_prepared_again(tmp_path, damage, cut):
    kept_corpora.keep(tmp_path, "c", "k", lambda _: PREPARED)
    path = tmp_path / "corpora" / "c-k" / damage
    content = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(content[:cut].rstrip(b"}\n"))
    kept = kept_corpora.keep(tmp_path, "c", "k", lambda _: PREPARED)
    assert rows_of(kept.splits["train"]) == [Row(1, "x", "y")]
    assert rows_of(kept.splits["test"]) == [Row(0, "", "z")]
    assert path.read_bytes() == content
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["c-k"]


def test_the_slower_of_two_preparations_takes_what_is_there(tmp_path):
    first = []

    def prepare(_):
        # Another process is done first.
        kept_corpora.keep(tmp_path, "c", "k", lambda _: PREPARED)
        first.append((tmp_path / "corpora" / "c-k").stat().st_ino)
        return PREPARED

    kept = kept_corpora.keep(tmp_path, "c", "k", prepare)
    assert rows_of(kept.splits["train"]) == [Row(1, "x", "y")]
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
    rows = [Row(0, f"title {number}", "word " * (number % 90)) for number in range(500)]
    prepared = kept_corpora.Prepared(("a", "b"), {"train": rows, "test": rows[:1]})

    def prepare(scratch):
        if way == "columns":
            return prepared
        return builders.prepare(builders.AgNewsCsv, prepared, scratch)

    place = tmp_path / "cache"
    with files_of_at_most(size), pytest.raises(InputError) as caught:
        kept_corpora.keep(place, "c", "k", prepare)
    said = capsys.readouterr()
    cause = r"\((File too large|only a part could be written)\)"
    assert re.match(rf"the cache {place} cannot be written {cause}; .*kept", str(caught.value))
    assert "RNNJAX_CACHE" in str(caught.value)
    assert "Traceback" not in said.out + said.err
    assert list((place / "corpora").iterdir()) == []
    assert len(kept_corpora.keep(place, "c", "k", lambda _: prepared).splits["train"]) == 500
