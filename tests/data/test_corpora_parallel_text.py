"""Parallel text: aligned lines, and refused files."""

import gzip
from pathlib import Path

import pytest

from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs, read_parallel_text
from rnnjax.errors import InputError

MULTI30K = Path(__file__).resolve().parents[3] / "shared" / "data" / "multi30k"
FILES = {
    "train.de": "ein Hund\nzwei\u2028 Katzen\n\n",
    "train.en": "a dog\ntwo cats\r\n\n",
    "val.de": "drei\n",
    "val.en": "three",
    "test_2016_flickr.de": "vier\n",
    "test_2016_flickr.en": "four\n",
}


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with a small corpus, half of it packed with gzip."""
    for name, text in FILES.items():
        if name.endswith("de"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def test_pairs_are_aligned_lines(folder):
    corpus = read_parallel_text(folder, "de", "en")
    train = corpus.splits["train"]
    assert train == SentencePairs(("ein Hund", "zwei\u2028 Katzen", ""), ("a dog", "two cats", ""))
    assert len(train) == 3
    assert corpus.splits["validation"] == SentencePairs(("drei",), ("three",))
    assert corpus.splits["test"] == SentencePairs(("vier",), ("four",))
    reverse = read_parallel_text(folder, "en", "de")
    assert reverse.splits["train"] == SentencePairs(train.targets, train.sources)


def test_byte_order_mark_is_skipped(folder):
    (folder / "val.en").write_text("three", encoding="utf-8-sig")
    assert read_parallel_text(folder, "de", "en").splits["validation"] == SentencePairs(
        ("drei",), ("three",)
    )


def test_fingerprint_depends_on_texts_only(folder):
    corpus = read_parallel_text(folder, "de", "en")
    (folder / "train.de").write_text(FILES["train.de"])
    assert read_parallel_text(folder, "de", "en").fingerprint == corpus.fingerprint
    assert read_parallel_text(folder, "en", "de").fingerprint != corpus.fingerprint

    def fingerprint(*sides):
        return ParallelCorpus("", "", {"train": SentencePairs(*sides)}).fingerprint

    fingerprints = [
        fingerprint(("ab", ""), ("c", "d")),
        fingerprint(("a", "b"), ("c", "d")),
        fingerprint(("a", "b"), ("c", "e")),
    ]
    resplit = {"test": SentencePairs(("a",), ("b",)), "train": SentencePairs(("c",), ("d",))}
    assert len({*fingerprints, ParallelCorpus("", "", resplit).fingerprint}) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val.en", None, "val.en or val.en.gz, and it has val.de.gz"),
        ("val.en", b"three\nfour\n", r"val.de.gz has 1 lines, and .*val.en has 2"),
        ("train.en", b"a\nb\xe9\nc\n", r"train.en, line 2: byte 0xe9 is not UTF-8"),
        ("train.en", b"\xef\xbb\xbfa\nb\xe9\nc\n", r"train.en, line 2: byte 0xe9 is not UTF-8"),
        ("train.en", "a\nb\nc\n".encode("utf-16-le"), r"train.en, line 1: a NUL character"),
        ("train.de.gz", b"train", "train.de.gz: cannot be unpacked"),
        ("train.de.gz", gzip.compress(FILES["train.de"].encode(), mtime=0)[:-9], "lost its end"),
        ("train.de.gz", gzip.compress(b"x" * 99, mtime=0)[:12] + b"\xff" * 9, "cannot be unpacked"),
    ],
)
def test_invalid_file_is_refused_by_name(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_parallel_text(folder, "de", "en")


def test_empty_and_missing_files_are_refused(folder):
    for name in ("val.de", "val.en"):
        (folder / name).write_text("")
    with pytest.raises(InputError, match="there are no lines"):
        read_parallel_text(folder, "de", "en")
    with pytest.raises(InputError, match=r"no such folder; give one that holds train\.de"):
        read_parallel_text(folder / "none", "de", "en")
    with pytest.raises(InputError, match="given 'de' twice"):
        read_parallel_text(folder, "de", "de")
    with pytest.raises(InputError, match=r"there is no train\.fr or train\.fr\.gz, and it has"):
        read_parallel_text(folder, "fr", "en")


@pytest.mark.skipif(not MULTI30K.is_dir(), reason="needs ../shared/data/multi30k")
def test_multi30k():
    corpus = read_parallel_text(MULTI30K, "de", "en")
    assert {name: len(pairs) for name, pairs in corpus.splits.items()} == {
        "train": 29_000,
        "validation": 1_014,
        "test": 1_000,
    }
    train = corpus.splits["train"]
    assert train.sources[0].startswith("Zwei junge weiße Männer")
    assert train.targets[0].startswith("Two young, White males")
