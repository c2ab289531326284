"""Running text: what of a file is read, how it is cut, and what is refused."""

import numpy as np
import pytest

from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.plain_text import load_text_file, strip_labels
from rnnjax.errors import InputError


def file_of(tmp_path, content):
    """Returns the path of a file."""
    path = tmp_path / "play.txt"
    path.write_bytes(content)
    return path


def test_the_last_twentieth_of_the_lines_is_the_test_part(tmp_path):
    lines = [f"line {number:02}\n" for number in range(40)]
    found = load_text_file(file_of(tmp_path, "".join(lines).encode()))
    assert found.splits == {"train": lines[:38], "test": lines[38:]}
    assert found.connected
    assert found.name == "play"
    assert "320 characters" in found.source
    assert found.describe()["fingerprint"] == found.fingerprint


@pytest.mark.parametrize(
    "content", [b"one\ntwo", b"one\n\n\ntwo\n", b"\xef\xbb\xbfone\r\ntwo\x0cthree\n"]
)
def test_nothing_of_the_text_is_lost(tmp_path, content):
    found = load_text_file(file_of(tmp_path, content))
    whole = "".join(found.splits["train"]) + "".join(found.splits["test"])
    assert whole.encode() == content.removeprefix(b"\xef\xbb\xbf")


def test_a_text_of_one_line_is_cut_within_it(tmp_path):
    found = load_text_file(file_of(tmp_path, b"abcdefghij" * 10))
    assert found.splits == {"train": [("abcdefghij" * 10)[:95]], "test": ["fghij"]}


def test_the_fingerprint_is_that_of_the_text(tmp_path):
    one, same, other = (
        load_text_file(file_of(tmp_path, content)).fingerprint
        for content in (b"a\nb\n", b"a\nb\n", b"a\nc\n")
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has 0 characters; expected at least 2"),
        (b"\n", r"has 1 characters; expected at least 2"),
        (b"fine\n\xff\xfe\n", r"line 2: byte 0xff is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        load_text_file(file_of(tmp_path, content))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"absent\.txt: there is no such file"):
        load_text_file(tmp_path / "absent.txt")


def column(texts):
    """Returns texts as a column."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    return TextColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def test_the_texts_of_a_labelled_corpus_are_documents():
    split = CorpusSplit(
        np.zeros(2, np.int32), {"title": column(["a", "b"]), "description": column(["c", "d"])}
    )
    corpus = Corpus("n", "s", "f", "1", ("x",), {"train": split, "test": split})
    found = strip_labels(corpus, "title+description")
    assert found.splits["train"] == ["a c", "b d"]
    assert not found.connected
    assert found.fallback == "f"
    assert found.fingerprint != strip_labels(corpus, "title").fingerprint
