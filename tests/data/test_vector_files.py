"""Files of word vectors: what is read of each kind, and what is said of a damaged one."""

import codecs
import gzip
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from rnnjax.data.vector_files import check_beginning, read_vectors
from rnnjax.errors import InputError

VECTORS = {
    "the": [0.25, -1.5, 3e-05],
    "naïve": [-0.125, 7.0, 0.3],
    "unused": [1.0, 2.0, 3.0],
    "Reuters": [0.1, 0.2, -0.3],
}
WANTED = ["reuters", "naïve", "the", "absent"]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "word_vectors"


def glove(vectors, end="\n"):
    """Returns words and numbers as GloVe writes them."""
    lines = [f"{word} {' '.join(map(str, row))}{end}" for word, row in vectors.items()]
    return "".join(lines).encode()


def word2vec(vectors):
    """Returns them as word2vec writes text: a first line, and a space before each line break."""
    return f"{len(vectors)} 3\n".encode() + glove(vectors, " \n")


def binary(vectors, end=b"\n"):
    """Returns them as word2vec writes binary."""
    rows = [
        word.encode() + b" " + np.array(row, "<f4").tobytes() + end for word, row in vectors.items()
    ]
    return f"{len(vectors)} 3\n".encode() + b"".join(rows)


FORMS = {
    "glove": glove(VECTORS),
    "tabs": glove(VECTORS).replace(b" ", b"\t"),
    "windows": glove(VECTORS, "\r\n"),
    "blank lines": glove(VECTORS, "\n\n"),
    "no last break": glove(VECTORS).rstrip(),
    "byte order mark": codecs.BOM_UTF8 + glove(VECTORS),
    "word2vec": word2vec(VECTORS),
    "word2vec, byte order mark": codecs.BOM_UTF8 + word2vec(VECTORS),
    "binary": binary(VECTORS),
    "binary without breaks": binary(VECTORS, b""),
}


def read(tmp_path, content, words=WANTED, features=3, normalize=str.lower):
    """Returns what is read of a file of some content."""
    path = tmp_path / "vectors"
    path.write_bytes(content)
    return read_vectors(path, words, features, normalize)


def refusal(tmp_path, content, features=3):
    """Returns what is said of a file of some content."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, content, features=features)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_vectors(tmp_path, form, packed):
    content = gzip.compress(FORMS[form]) if packed else FORMS[form]
    vectors, fingerprint = read(tmp_path, content)
    assert vectors.keys() == {"the", "naïve", "reuters"}
    for word, row in (("the", "the"), ("naïve", "naïve"), ("reuters", "Reuters")):
        assert vectors[word].dtype == np.float32
        np.testing.assert_array_equal(vectors[word], np.array(VECTORS[row], np.float32))
    assert fingerprint == hashlib.sha256(content).hexdigest()
    check_beginning(tmp_path / "vectors", 3)


def test_a_file_of_many_chunks_is_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnjax.data.vector_files._CHUNK", 64)
    draw = np.random.default_rng(0)
    vectors = {f"w{number}": draw.standard_normal(3).tolist() for number in range(200)}
    for content in (glove(vectors), gzip.compress(word2vec(vectors)), binary(vectors)):
        found, fingerprint = read(tmp_path, content, vectors)
        assert found.keys() == vectors.keys()
        for word, row in vectors.items():
            np.testing.assert_array_equal(found[word], np.array(row, np.float32))
        assert fingerprint == hashlib.sha256(content).hexdigest()


def test_the_word_as_it_is_written_goes_before_those_that_are_alike(tmp_path):
    rows = [("US", 1), ("Us", 2), ("us", 3), ("us", 4), ("Un", 5), ("UN", 6)]
    content = "".join(f"{word} {number} 0 0\n" for word, number in rows).encode()
    vectors, _ = read(tmp_path, content, ["us", "un"])
    assert {word: row[0] for word, row in vectors.items()} == {"us": 3, "un": 5}


def test_a_word_may_hold_spaces_and_what_is_not_utf8_is_passed_over(tmp_path):
    content = b"the 1 2 3\n. . . 4 5 6\nat a@b.c 7 8 9\n\x97 1 1 1\n"
    vectors, _ = read(tmp_path, content, ["the", ". . .", "a@b.c"])
    assert vectors.keys() == {"the", ". . ."}
    assert vectors[". . ."].tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("word 1 2", "line 3: 'word 1 2' has 2 numbers after the word, expected 3"),
        ("word", "line 3: 'word' has 0 numbers"),
        ("word 1 2 3 4", "line 3: 'word 1 2 3 4' has 4 numbers after the word, expected 3"),
        ("word 1 x 3", "line 3: 'x' is no finite float32 number"),
        ("word 1 nan 3", "line 3: 'nan' is no finite float32 number"),
        ("two words 1 2", "line 3: 'words' is no finite float32 number"),
        ("naïve 1 2.3.4 3", "line 3: '2.3.4' is no finite float32 number"),
        ("naïve 1 2 1e39", "line 3: '1e39' is no finite float32 number"),
        ("b 1 2 3d 4 5 6", "line 3: 'b 1 2 3d 4 5 6' has numbers before its last 3: two lines"),
        ("b 1 2 3 d 4 5 6", "line 3: 'b 1 2 3 d 4 5 6' has numbers before its last 3: two lines"),
        ("b\t1\t2\t3d\t4\t5\t6", "line 3: 'b\\t1\\t2\\t3d\\t4\\t5\\t6' has numbers before its"),
        ("b 1 2d 4 5 6", "line 3: 'b 1 2d 4 5 6' has numbers before its last 3: two lines"),
        ("b\t1 2 3 4", "line 3: 'b\\t1 2 3 4' has 4 numbers after the word, expected 3"),
        (" 1 2 3", "line 3: '1 2 3' has 2 numbers after the word, expected 3"),
        ("b 1 2\x0c3", "line 3: 'b 1 2\\x0c3' has 2 numbers after the word, expected 3"),
    ],
)
@pytest.mark.parametrize("header", ["", "4 3\n"], ids=["glove", "word2vec"])
def test_a_line_that_is_no_word_with_its_numbers_is_named(tmp_path, line, message, header):
    before = ["a 1 2 3"] if header else ["a 1 2 3", "b 1 2 3"]
    content = header + "\n".join([*before, line, "c 1 2 3"])
    assert message in refusal(tmp_path, content.encode())


@pytest.mark.parametrize("form", ["glove", "word2vec", "binary"])
def test_vectors_of_another_size_are_refused_at_once(tmp_path, form):
    message = refusal(tmp_path, FORMS[form], 64)
    assert "config.model.embedding.features: given 64" in message
    assert "vectors of 3 numbers; set config.model.embedding.features=3" in message
    with pytest.raises(InputError, match=re.escape(message)):
        check_beginning(tmp_path / "vectors", 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (word2vec(VECTORS)[: -len(glove({"Reuters": VECTORS["Reuters"]}, " \n"))], "has 3 whole"),
        (word2vec(VECTORS) + b"more 1 2 3\n", "has 5 whole words, and its first line announces 4"),
        (binary(VECTORS)[:-6], "has 3 whole words, and its first line announces 4"),
        (binary(VECTORS)[:-17], "has 3 whole words"),
        (binary(VECTORS) + b"more", "goes on after the 4 words"),
        (binary({"a": [1, 2, 3], "the": [1, np.inf, 3]}), "word 2: inf is no finite"),
        (gzip.compress(FORMS["glove"], mtime=0)[:-12], "damaged gzip file"),
        (gzip.compress(FORMS["glove"], mtime=0)[:20] + b"spoilt", "damaged gzip file"),
        (b"\x1f\x8bno gzip", "damaged gzip file"),
        (gzip.compress(FORMS["glove"], mtime=0) + b"more", "damaged gzip file"),
        (b"PK\x03\x04 an archive", "unpack it if it is an archive"),
        (b"", "is empty"),
        (b"a line of text\n", "line 1: 'a line of text' is neither"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_or_another_file_is_refused(tmp_path, content, message):
    said = refusal(tmp_path, content)
    assert message in said
    assert str(tmp_path / "vectors") in said


WHITE_SPACE = [" ", "  ", "\t", "\x0b", "\x0c", "\x85", "\xa0", "\u2028", "\u3000", "\x1c"]


@pytest.mark.parametrize("separator", [" ", "\t"], ids=["spaces", "tabs"])
@pytest.mark.parametrize("header", [False, True], ids=["glove", "word2vec"])
@pytest.mark.parametrize("first", [0, 3], ids=["first", "later"])
def test_a_word_may_be_white_space_or_hold_control_characters(tmp_path, first, header, separator):
    words = ["a", "b", "c", *WHITE_SPACE, "\x01", "d\x07\x7f", "\x00", "e\xa0f", "\u3000g\x0b"]
    words = words[first:] + words[:first]
    if separator == "\t":
        words.remove("  ")  # a space at its end goes with the separators
    rows = [separator.join([word, str(n), "0", "1"]) + "\n" for n, word in enumerate(words)]
    content = (f"{len(rows)} 3\n" if header else "") + "".join(rows)
    vectors, _ = read(tmp_path, content.encode(), words, normalize=str)
    assert {word: row[0] for word, row in vectors.items()} == {w: n for n, w in enumerate(words)}


def test_a_first_line_that_runs_into_the_second_is_refused(tmp_path):
    message = refusal(tmp_path, b"3 3the 1 2 3\nb 4 5 6\nc 7 8 9\n")
    assert "line 1: '3 3the 1 2 3' is neither" in message
    assert "with a line break after the counts" in message


@pytest.mark.parametrize("end", [b"\n", b""], ids=["word2vec", "gensim"])
@pytest.mark.parametrize("word", ["new york", "a b", " b", "a ", "in the city", "x y z", "", "\n"])
@pytest.mark.parametrize("place", [0, 1, 8, 9], ids=["first", "second", "next to last", "last"])
def test_a_word_with_a_space_in_a_binary_file_is_refused(tmp_path, place, word, end):
    draw = np.random.default_rng(1)
    words = [f"w{number}" for number in range(9)]
    words.insert(place, word)
    vectors = {each: draw.standard_normal(50) for each in words}
    content = binary(vectors, end).replace(b" 3\n", b" 50\n", 1)
    message = refusal(tmp_path, content, 50)
    assert re.search(r"holds a space|whole words|no finite", message)
    assert "fetch" in message


@pytest.mark.parametrize("word", ["in the", "Mr ABCDEFG", "a b", "naïve né", "vitamin c"])
@pytest.mark.parametrize(
    "last", [b"abc?", b"  ~=", b"\x00\x00a?"], ids=["letters", "signs", "bf16"]
)
@pytest.mark.parametrize("place", [0, 1, 8], ids=["first", "second", "next to last"])
def test_a_spaced_word_is_refused_where_the_rest_of_its_vector_is_text(tmp_path, place, last, word):
    draw = np.random.default_rng(3)
    rows = draw.standard_normal((10, 50)).astype("<f4")
    if last.startswith(b"\x00"):  # rounded to bfloat16: two bytes of each number are zero
        rows = (rows.view("<u4") & 0xFFFF0000).view("<f4")
    rows[:, -1] = np.frombuffer(last, "<f4")
    words = [f"w{number}" for number in range(9)]
    words.insert(place, word)
    content = binary(dict(zip(words, rows, strict=True)), b"").replace(b" 3\n", b" 50\n", 1)
    assert re.search(r"holds a space|whole words|no finite", refusal(tmp_path, content, 50))


def test_small_numbers_of_a_binary_file_are_read(tmp_path):
    rows = {"a": [0.0, -0.0, 2e-38], "b": [1e-17, -3e-19, 2e-19], "c": [0.5, 1e-30, 2e-19]}
    for end in (b"\n", b""):
        vectors, _ = read(tmp_path, binary(rows, end), [*rows])
        for word, row in rows.items():
            np.testing.assert_array_equal(vectors[word], np.array(row, np.float32))


@pytest.mark.parametrize("end", [b"\n", b""], ids=["word2vec", "gensim"])
def test_a_binary_file_that_loses_or_gains_bytes_is_refused(tmp_path, end):
    draw = np.random.default_rng(2)
    vectors = {f"w{number}": draw.standard_normal(50) for number in range(10)}
    content = binary(vectors, end).replace(b" 3\n", b" 50\n", 1)
    assert read(tmp_path, content, vectors, 50)[0].keys() == vectors.keys()
    for count in range(1, 9):
        place = int(draw.integers(250, len(content) - 300))
        for changed in (
            content[:place] + content[place + count :],
            content[:place] + draw.bytes(count) + content[place:],
        ):
            assert "vectors" in refusal(tmp_path, changed, 50)


def test_a_vector_that_loses_its_last_byte_is_refused(tmp_path):
    content = binary(VECTORS)
    end = content.index(b"\nunused")
    assert "word 3: 'unused' and the" in refusal(tmp_path, content[: end - 1] + content[end:])


def test_words_of_other_encodings_are_passed_over_in_files_of_word2vec(tmp_path):
    content = binary(VECTORS).replace("naïve".encode(), b"na\xefve")
    assert read(tmp_path, content)[0].keys() == {"the", "reuters"}
    content = binary(VECTORS, b"").replace("naïve".encode(), b"na\xefve")
    assert "word 2: 'na\ufffdve' and the numbers" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"9" * 5000 + b" 3\n", "vectors of 1 numbers"),
        (b"9 " + b"3" * 5000 + b"\n", "vectors of 1 numbers"),
        (b"2 3\n" + b"a" * 70_000 + b"\0" * 13, "line 2: 'a+…' goes on for more than 65,728 bytes"),
        (b"2 3\na " + b"\0" * 12 + b"a" * 70_000 + b" " + b"\0" * 12, "word 2: 'a+…' and"),
        (b"a 1 2 3\n" + b"b" * 70_000 + b" 1 2 3\n", "line 2: 'b+…' goes on for more than"),
        (b"a 1 2 3\nb 1 2 " + b"3" * 70_000, "line 2: 'b 1 2 3+…' goes on for more than"),
        (b"c" * 2_000_000, "line 1: 'c+…' is neither"),
    ],
    ids=["count", "width", "no space", "binary word", "word", "number", "line"],
)
def test_endless_words_and_numbers_are_refused(tmp_path, content, message):
    said = refusal(tmp_path, content)
    assert re.search(message, said)
    assert len(said) < 500


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read_it in (lambda path: read_vectors(path, ["a"], 3), lambda p: check_beginning(p, 3)):
            with pytest.raises(
                InputError, match=f"{path} cannot be read .it is a (pipe|device).*regular file"
            ):
                read_it(path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    for path, message in ((tmp_path / "none", "there is no file"), (tmp_path, "is a folder")):
        for read_it in (lambda path: read_vectors(path, ["a"], 3), lambda p: check_beginning(p, 3)):
            with pytest.raises(InputError, match=rf"config\.model\.embedding\.path: .*{message}"):
                read_it(path)


def test_a_large_file_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rnnjax.data.vector_files._CHUNK", 64)
    monkeypatch.setattr("rnnjax.data.vector_files._MEGABYTE", 100)
    monkeypatch.setattr("rnnjax.reporting.progress._SECONDS_BEFORE_LINES", 0.0)
    monkeypatch.setattr("rnnjax.reporting.progress._SECONDS_BETWEEN_LINES", 0.0)
    vectors = {f"w{number}": [0.0, 1.0, 2.0] for number in range(100)}
    content = glove(vectors)
    read(tmp_path, content, vectors)
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("word vectors, MB  step ") for line in lines)
    total = -(-len(content) // 100)
    assert f"step 1/{total} " in lines[0]
    assert f"step {total}/{total} (100 %)" in lines[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [("glove.6B.100d.sample.txt.gz", 100), ("pang_lee_polarity_fasttext.vec", 1_694)],
)
def test_a_file_from_outside_is_read(name, words):
    path = REAL / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    lines = content.decode(errors="replace").split("\n")
    rows = [line.split(" ") for line in lines if len(line.split(" ")) > 100]
    assert len(rows) == words
    vectors, _ = read_vectors(path, [row[0] for row in rows], 100)
    expected = {row[0]: row[1:101] for row in rows if "\ufffd" not in row[0]}
    assert vectors.keys() == expected.keys()
    for word, row in expected.items():
        np.testing.assert_array_equal(vectors[word], np.array([*map(float, row)], np.float32))
