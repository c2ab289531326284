"""User files: refusals, speed and advice."""

import errno
import gzip
import io
import os
import resource
import signal
import socket
import tracemalloc
import types
from pathlib import Path

import pytest

from rnnjax import input_files, lint
from rnnjax.cli import texts as texts_lib
from rnnjax.data.corpora.csv_files import read_classes, read_csv
from rnnjax.data.corpora.parallel_text import read_parallel_text
from rnnjax.data.corpora.plain_text import load_text_files
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.data.word_vector_files import check_vector_format, read_vectors
from rnnjax.errors import InputError
from rnnjax.experiment.plan import Experiment
from rnnjax.reporting import markdown, metrics_log, run_files
from rnnjax.training.run_folder import RunFolder

READERS = {
    "csv": ("x", lambda folder: list(read_csv(folder / "x", ("a", "b")))),
    "classes": ("classes.txt", read_classes),
    "text": ("x", lambda folder: load_text_files(folder / "x")),
    "pairs": ("train.de", lambda folder: read_parallel_text(folder, "de", "en")),
    "packed pairs": ("train.de.gz", lambda folder: read_parallel_text(folder, "de", "en")),
    "digest": ("x", lambda folder: input_files.digest(folder / "x")),
    "vectors, beginning": ("x", lambda folder: check_vector_format(folder / "x", 3)),
    "vectors": ("x", lambda folder: read_vectors(folder / "x", ["a"], 3)),
    "config.json": ("config.json", lambda folder: RunFolder(folder).read_config()),
    "environment.json": ("environment.json", lambda folder: RunFolder(folder).read_data()),
    "record": ("config.json", run_files.read),
    "metrics": ("metrics.jsonl", lambda folder: metrics_log.read(folder / "metrics.jsonl")),
    "tokenizer.json": ("tokenizer.json", lambda folder: Vocabulary.load(folder / "tokenizer.json")),
    "experiment.toml": ("experiment.toml", Experiment.read),
    "page": ("README.md", lambda folder: markdown.read(folder / "README.md")),
    "config.py": ("c.py", lambda folder: lint.lint(folder / "c.py")),
}
"""How the package reads files, each with the name of one in a folder."""


@pytest.fixture(autouse=True)
def alarm():
    """Ends a test that waits for a pipe or reads without end."""

    def fail(*_):
        raise AssertionError("took more than ten seconds")

    handler = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


def make_special(path: Path, kind: str) -> None:
    """Makes a file that is not regular."""
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))  # an address is short


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a socket"])
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_read(tmp_path, reader, kind):
    name, read = READERS[reader]
    (tmp_path / "train.en").write_text("a\n")
    make_special(tmp_path / name, kind)
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert name in str(caught.value)
    assert f"it is {kind}" in str(caught.value)


@pytest.mark.parametrize("reader", ["config.json", "environment.json", "record", "metrics"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", "nested more than 64 deep"),
        ('{"a": ' * 70 + "1" + "}" * 70, "nested more than 64 deep"),
        ('{"a": ' + "9" * 5_000 + "}", "a number of thousands of digits"),
    ],
    ids=["deep", "less deep", "digits"],
)
def test_json_without_measure_is_damaged(tmp_path, reader, content, message):
    name, read = READERS[reader]
    (tmp_path / name).write_text(content + "\n")
    with pytest.raises(InputError, match=name) as caught:
        read(tmp_path)
    assert message in str(caught.value) or reader == "metrics"


def test_json_is_read_to_its_depth():
    assert input_files.parse_json("[" * 64 + "]" * 64)
    with pytest.raises(ValueError, match="64 deep"):
        input_files.parse_json("[" * 66 + "]" * 66)


@pytest.mark.parametrize("content", ["a = " + "[" * 5_000, "a = " + "9" * 5_000])
def test_a_plan_without_measure_is_refused(tmp_path, content):
    (tmp_path / "experiment.toml").write_text(content)
    with pytest.raises(InputError, match=r"experiment\.toml"):
        Experiment.read(tmp_path)


def test_a_packed_line_is_refused_before_it_is_in_memory(tmp_path):
    path = tmp_path / "train.de.gz"
    path.write_bytes(gzip.compress(b"a" * (40 * 2**20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"train\.de\.gz, line 1: is longer than 1,048,576"):
            input_files.read_text(path, packed=True, max_line=2**20)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_a_long_line_in_the_middle_is_counted_from_its_start(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a\n" * 600_000 + b"b" * 1_200_000 + b"\nc\n")
    with pytest.raises(InputError, match="line 600001: is longer than 1,000,000"):
        input_files.read_text(path, max_line=1_000_000)
    assert len(input_files.read_text(path, max_line=1_200_000)) == 2_400_003


@pytest.mark.parametrize("reader", ["packed pairs", "vectors"])
def test_what_unpacks_beyond_measure_is_refused(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(input_files, "MIN_UNPACKED", 2**18)
    name, read = READERS[reader]
    start = b"a 1 2 3\n" if reader == "vectors" else b"a\n"
    (tmp_path / name).write_bytes(gzip.compress(start + b"\n" * 2**21, 9))
    (tmp_path / "train.en").write_text("a\n")
    with pytest.raises(InputError, match=f"{name}: unpacks to more than 0 MiB"):
        read(tmp_path)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    for name in ("x", "train.de", "train.en"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(input_files.MAX_BYTES + 1)
    for reader in ("csv", "pairs", "digest"):
        with pytest.raises(InputError, match="4,096 MiB are not read into memory"):
            READERS[reader][1](tmp_path)


def test_lines_of_a_stream_have_a_limit(monkeypatch):
    monkeypatch.setattr(input_files, "MAX_LINE", 10)
    lines = input_files.lines(
        io.BytesIO(b"0123456789"[:9] + b"\n" + b"x" * 11 + b"\n"), "standard input"
    )
    assert next(lines) == b"012345678\n"
    with pytest.raises(InputError, match="standard input, line 2: is longer than 10 bytes"):
        next(lines)


def test_standard_input_has_lines(monkeypatch):
    monkeypatch.setattr(input_files, "MAX_LINE", 10)
    monkeypatch.setattr(
        "sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"text\n" + bytes(99)))
    )
    texts = texts_lib.read_lines()
    assert next(texts) == "text"
    with pytest.raises(InputError, match="standard input, line 2: is longer than 10 bytes"):
        next(texts)


GERMAN = "Die Größe der Hütte\nüberrascht auch Käufer\n" * 3
ENGLISH = "It\u2019s the company\u2019s \u201cbest\u201d year\n" * 3


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (ENGLISH.encode("cp1252"), "WINDOWS-1252"),
        ((GERMAN + ENGLISH).encode("cp1252"), "WINDOWS-1252"),
        (GERMAN.encode("latin-1"), "LATIN1"),
        (GERMAN.encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + GERMAN.encode("utf-16-be"), "UTF-16"),
        (GERMAN.encode("utf-16-le"), "UTF-16LE"),
        (GERMAN.encode("utf-16-be"), "UTF-16BE"),
        (GERMAN.encode("utf-32"), "UTF-32"),
    ],
)
def test_an_encoding_is_named_and_the_command_converts_it(tmp_path, content, encoding):
    path = tmp_path / "my text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"my text\.txt, line 1: ") as caught:
        input_files.read_text(path)
    command = str(caught.value).split("`")[1]
    assert command.startswith(f"iconv -f {encoding} -t UTF-8 ")
    assert "LATIN1" not in command or encoding == "LATIN1"
    assert os.system(command) == 0
    text = input_files.read_text(tmp_path / "my text.utf8.txt")
    assert text in (GERMAN, ENGLISH, GERMAN + ENGLISH)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GERMAN.encode() + b"caf\xe9\n", "line 7: byte 0xe9 is not UTF-8 text; the other letters"),
        ("Привет, мир, как дела\n".encode("koi8-r"), "cannot be told"),
        ("\u0141\u00f3d\u017a i Krak\u00f3w".encode("cp1250") + b"\x8f\n", "cannot be told"),
        (gzip.compress(b"text", mtime=0), "packed with gzip: unpack it (`gunzip "),
        (b"PK\x03\x04\x00\x00\xff", "packed with zip"),
        (b"some text\0 and more\n", "line 1: a NUL character; the file is damaged"),
        (b"text\n" * 3_000 + b"\0", "line 3001: a NUL character; the file is damaged"),
    ],
)
def test_nothing_is_converted_that_would_be_corrupted(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        input_files.read_text(path)
    assert message in str(caught.value)


def test_letters_and_lines_may_lie_across_pieces(tmp_path):
    text = "\ufeff" + "ü" * 2**19 + "\nü\n" + "x" * 2**20 + "ß"
    (tmp_path / "x").write_text(text, encoding="utf-8")
    assert input_files.read_text(tmp_path / "x") == text[1:]
    (tmp_path / "x").write_bytes(text.encode()[:-1])
    with pytest.raises(InputError, match="line 3: byte 0xc3"):
        input_files.read_text(tmp_path / "x")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_have(name):
    for path in (name, Path(name)):
        with pytest.raises(InputError, match="no file can have such a name"):
            input_files.read_text(path)


def test_too_many_open_files_are_named(tmp_path):
    (tmp_path / "x").write_text("text")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(InputError, match="Too many open files") as caught:
            input_files.read_text(tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "ulimit -n" in str(caught.value)
    assert "room" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device", "make room"),
        (RuntimeError("write() failed: No space left on device; at byte 0"), "No space", "room"),
        (ValueError("x: Too many open files [os_error_code='24']"), "Too many open", "ulimit -n"),
        (OSError("odd"), "odd", "check the path"),
    ],
)
def test_an_error_is_explained(error, cause, remedy):
    result = input_files.explain(error)
    assert result[0].startswith(cause)
    assert remedy in result[1]


def test_an_error_is_explained_through_what_wraps_it():
    error = RuntimeError("failed")
    error.__cause__ = OSError(errno.EROFS, "Read-only file system")
    assert input_files.explain(error)[0] == "Read-only file system"


def test_a_folder_is_tried_without_a_trace(tmp_path):
    input_files.check_writable(tmp_path / "new" / "deep")
    input_files.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        input_files.check_writable(tmp_path / "file" / "run")
    with pytest.raises(OSError, match="too long"):
        input_files.check_writable(tmp_path / ("x" * 300))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            input_files.check_writable(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
