"""Plain text: lines of a file, the test split, and refused files."""

import numpy as np
import pytest

from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.plain_text import load_text_files, strip_labels
from rnnjax.errors import InputError


def write_file(tmp_path, content):
    """Writes a file and returns its path."""
    path = tmp_path / "play.txt"
    path.write_bytes(content)
    return path


def test_last_twentieth_of_lines_is_test_split(tmp_path):
    lines = [f"line {number:02}\n" for number in range(40)]
    corpus = load_text_files(write_file(tmp_path, "".join(lines).encode()))
    assert corpus.splits == {"train": lines[:38], "test": lines[38:]}
    assert corpus.connected
    assert corpus.name == "play"
    assert "320 characters" in corpus.source
    assert corpus.describe()["fingerprint"] == corpus.fingerprint


@pytest.mark.parametrize(
    "content", [b"one\ntwo", b"one\n\n\ntwo\n", b"\xef\xbb\xbfone\r\ntwo\x0cthree\n"]
)
def test_splits_preserve_the_text(tmp_path, content):
    corpus = load_text_files(write_file(tmp_path, content))
    text = "".join(corpus.splits["train"]) + "".join(corpus.splits["test"])
    assert text.encode() == content.removeprefix(b"\xef\xbb\xbf")


def test_files_of_their_own_are_the_splits(tmp_path):
    paths = {name: tmp_path / f"{name}.txt" for name in ("train", "valid", "test")}
    for name, path in paths.items():
        path.write_bytes(f"one\n{name}".encode())
    corpus = load_text_files(*paths.values())
    assert corpus.splits == {
        "train": ["one\n", "train"],
        "validation": ["one\n", "valid"],
        "test": ["one\n", "test"],
    }
    assert corpus.connected
    assert corpus.name == "train"
    assert "train.txt, 9 characters; of valid.txt, 9 characters; of test.txt, 8" in corpus.source
    fingerprints = [corpus.fingerprint]
    for path in paths.values():
        path.write_bytes(b"two\n")
        fingerprints.append(load_text_files(*paths.values()).fingerprint)
    assert len(set(fingerprints)) == 4
    tested = load_text_files(paths["train"], test_path=paths["test"])
    assert tested.splits == {"train": ["two\n"], "test": ["two\n"]}
    paths["valid"].write_bytes(b"\n\n")
    with pytest.raises(InputError, match=r"valid\.txt: there is no text"):
        load_text_files(*paths.values())


def test_single_line_is_split_within(tmp_path):
    corpus = load_text_files(write_file(tmp_path, b"abcdefghij" * 10))
    assert corpus.splits == {"train": [("abcdefghij" * 10)[:95]], "test": ["fghij"]}


def test_fingerprint_depends_on_text_only(tmp_path):
    first, copy, edited = (
        load_text_files(write_file(tmp_path, content)).fingerprint
        for content in (b"a\nb\n", b"a\nb\n", b"a\nc\n")
    )
    assert first == copy
    assert first != edited


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has 0 characters; expected at least 2"),
        (b"\n", r"has 1 characters; expected at least 2"),
        (b"fine\n\xff\xfe\n", r"line 2: byte 0xff is not UTF-8"),
    ],
)
def test_invalid_file_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        load_text_files(write_file(tmp_path, content))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.txt: there is no such file"):
        load_text_files(tmp_path / "absent.txt")


def column(texts):
    """Returns texts as a column of a corpus."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    return TextColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def test_strip_labels_returns_documents():
    split = CorpusSplit(
        np.zeros(2, np.int32), {"title": column(["a", "b"]), "description": column(["c", "d"])}
    )
    labelled = Corpus("n", "s", "f", "1", ("x",), {"train": split, "test": split})
    corpus = strip_labels(labelled, "title+description")
    assert corpus.splits["train"] == ["a c", "b d"]
    assert not corpus.connected
    assert corpus.fallback == "f"
    assert corpus.fingerprint != strip_labels(labelled, "title").fingerprint
