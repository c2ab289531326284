"""CSV files: rows, and refused files."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnjax.data.corpora import CsvRow, csv_files, read_csv
from rnnjax.data.corpora.csv_files import AG_NEWS_CLASSES, read_classes
from rnnjax.errors import InputError

NEWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "ag_news_csv"


def read(path, content, classes=AG_NEWS_CLASSES):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_csv(path, classes))


def test_fields_are_unaltered(tmp_path):
    rows = read(
        tmp_path / "a.csv",
        '"3","Fears #39;s \\","a ""quoted"", word"\n4,plain,text\n"1","two\nlines",""\r\n\n'
        '"2","","ü\u2028 漢"\n',
    )
    assert rows == [
        CsvRow(2, "Fears #39;s \\", 'a "quoted", word'),
        CsvRow(3, "plain", "text"),
        CsvRow(0, "two\nlines", ""),
        CsvRow(1, "", "ü\u2028 漢"),
    ]


def test_byte_order_mark_is_skipped(tmp_path):
    assert read(tmp_path / "a.csv", b'\xef\xbb\xbf"2","a","b"\n') == [CsvRow(1, "a", "b")]


def test_field_may_exceed_default_limit_of_csv_module(tmp_path):
    csv.field_size_limit(131_072)
    text = "word " * 60_000
    assert read(tmp_path / "a.csv", f'1,a,b\n2,"{text}",b\n')[1].title == text


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('"1","a","b"\n"2","a"\n', 2, "2 columns"),
        ('"1","a","b"\n\n"2","a","b","c"\n', 3, "4 columns"),
        ("world\n", 1, "1 column,"),
        ('"1","a\nb","c"\n"2"\n', 3, "1 column,"),
        ('"Class Index","Title","Description"\n"1","a","b"\n', 1, "looks like a header"),
        ('"1","a","b"\n"label","title","description"\n', 2, "expected 1 to 4 (World, Sports"),
        ('"0","a","b"\n', 1, "the class is '0'"),
        ('"1","a","b"\n"5","a","b"\n', 2, "the class is '5'"),
        ('"1.0","a","b"\n', 1, "expected 1 to 4"),
        ("3.0,a,b\n", 1, "write 3, in every row"),
        ("1,a,b\n'2',a,b\n", 2, "write 2, in every row"),
        (" 04 ,a,b\n", 1, "write 4, in every row"),
        ("sports,a,b\n", 1, "write 2, and so on"),
        ("0,a,b\n1,a,b\n", 1, "add 1 to every class"),
        ("politics,a,b\nculture,a,b\n", 1, "name the classes in classes.txt"),
        ("label1,a,b\n1,a,b\n", 1, "mend the row"),
        ("label,title,text\n", 1, "mend the row"),
        ("label,title,text\n3.0,a,b\n", 1, "looks like a header"),
        ("label,title,text\nWorld,a,b\n", 1, "looks like a header"),
        ("1;a;b\n2;a;b\n", 1, "separated by semicolons"),
        ('1;"a, b, c";d\n', 1, "separated by semicolons"),
        ('"1";"a";"b, c"\n', 1, "separated by semicolons"),
        ("1\ta, b\tc\n", 1, "separated by tabs"),
        ("1|a|b\n", 1, "separated by vertical bars"),
        ("1,a,b\n2;a;b\n", 2, "separated by semicolons"),
        ("1,a;b\n", 1, "2 columns"),
        ('"","a","b"\n', 1, "expected 1 to 4"),
        ('"1","a","b"\n"2","a","never closed\n"3","a","b"\n', 2, "broken quotes"),
        ('"1","a","b"\n"2","a","never closed\n', 2, "broken quotes"),
        ('"1","a" stray,"b"\n', 1, "broken quotes"),
        (b'"1","a","b"\n"2","caf\xe9","b"\n', 2, "byte 0xe9 is not UTF-8"),
        (b'\xef\xbb\xbf"1","a","b"\n"2","caf\xe9","b"\n', 2, "byte 0xe9 is not UTF-8"),
        ('"1","a","b"\n"2","a\0","b"\n', 2, "NUL"),
    ],
)
def test_invalid_row_is_refused_by_file_and_line(tmp_path, content, line, message):
    path = tmp_path / "bad.csv"
    with pytest.raises(InputError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert message in str(caught.value)
    assert ("delete the line" in str(caught.value)) == (message == "looks like a header")


def test_command_of_message_converts_delimiters(tmp_path):
    path = tmp_path / "my news.csv"
    with pytest.raises(InputError) as caught:
        read(path, '1;"a, ""b""";c\n4;\'d\';"e;f"\n')
    command = str(caught.value).split("`")[1].replace("python", sys.executable, 1)
    assert subprocess.run(command, shell=True, check=True).returncode == 0
    assert list(read_csv(tmp_path / "my news.csv.new", AG_NEWS_CLASSES)) == [
        CsvRow(0, 'a, "b"', "c"),
        CsvRow(3, "'d'", "e;f"),
    ]


def test_unclosed_field_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "MAX_LINE", 1_000)
    with pytest.raises(InputError, match=r"line 2: a field .* longer than 1,000 .* never closed"):
        read(tmp_path / "a.csv", '1,a,b\n2,"' + "a,b\n" * 1_000)


def test_class_name_in_first_line_is_no_header(tmp_path):
    with pytest.raises(InputError, match="'Sports'") as caught:
        read(tmp_path / "a.csv", '"Sports","a","b"\n')
    assert "header" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="no rows"):
        read(tmp_path / "a.csv", content)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        list(read_csv(tmp_path / "none.csv", AG_NEWS_CLASSES))
    with pytest.raises(InputError, match="this is a folder"):
        list(read_csv(tmp_path, AG_NEWS_CLASSES))


def test_read_classes(tmp_path):
    assert read_classes(tmp_path) == AG_NEWS_CLASSES
    (tmp_path / "classes.txt").symlink_to("nowhere")
    with pytest.raises(InputError, match="there is no such file"):
        read_classes(tmp_path)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "classes.txt").write_text("ham\n spam \n\n")
    assert read_classes(tmp_path) == ("ham", "spam")
    (tmp_path / "classes.txt").write_bytes("a\u2028b\r\nc\x85d\re".encode())
    assert read_classes(tmp_path) == ("a\u2028b", "c\x85d", "e")
    for content in ("", "one\n", "one\ntwo\none\n"):
        (tmp_path / "classes.txt").write_text(content)
        with pytest.raises(InputError, match=r"classes\.txt: .*two or more names"):
            read_classes(tmp_path)


@pytest.mark.skipif(not NEWS.is_dir(), reason="needs ../shared/data/ag_news_csv")
def test_real_news_is_read_fast():
    start = time.perf_counter()
    rows = list(read_csv(NEWS / "train.csv", AG_NEWS_CLASSES))
    assert time.perf_counter() - start < 3  # A third of a second on a quiet machine.
    assert [sum(row.label == label for row in rows) for label in range(4)] == [
        12_064,
        12_112,
        12_317,
        12_316,
    ]
    test = next(read_csv(NEWS / "test.csv", AG_NEWS_CLASSES))
    assert test.label == 2
    assert test.title == "Fears for T N pension after talks"
    assert test.description.startswith("Unions representing workers at Turner   Newall say")
