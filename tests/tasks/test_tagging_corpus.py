"""Files of labelled tokens, and the labelled source files of the installed libraries."""

import re

import pytest

from rnnjax.config.sections import DataConfig
from rnnjax.errors import InputError
from rnnjax.tasks.tagging import python_sources
from rnnjax.tasks.tagging.config import TaggingConfig
from rnnjax.tasks.tagging.corpus import load_corpus, read_file

CONLL = """-DOCSTART- -X- O

Ada NNP B-PER
Lovelace NNP I-PER
wrote VBD O

Paris NNP B-LOC
"""
UNIVERSAL = """# text = vámonos
1-2\tvámonos\t_\t_
1\tvamos\tir\tVERB
2\tnos\tnosotros\tPRON

# another
1\t#\t#\tSYM
"""


def read(folder, name, text, **options):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [
        (list(tokens), list(labels), line)
        for tokens, labels, line in read_file(path, TaggingConfig.model_validate(options))
    ]


def test_columns_are_read(tmp_path):
    rows = [
        (["Ada", "Lovelace", "wrote"], ["B-PER", "I-PER", "O"], 3),
        (["Paris"], ["B-LOC"], 7),
    ]
    assert read(tmp_path, "a.conll", CONLL) == rows
    assert read(tmp_path, "b.txt", CONLL.replace(" ", "\t").replace("\n", "\r\n")) == rows
    labels = [labels for _, labels, _ in read(tmp_path, "a.conll", CONLL, labels="1")]
    assert labels == [["NNP", "NNP", "VBD"], ["NNP"]]


def test_universal_dependencies_are_read(tmp_path):
    assert read(tmp_path, "a.conllu", UNIVERSAL) == [
        (["vamos", "nos"], ["VERB", "PRON"], 3),
        (["#"], ["SYM"], 7),
    ]


def test_json_lines_are_read(tmp_path):
    text = '{"words": ["New York", "is"], "tags": [3, 0]}\n\n{"words": ["x"], "tags": [0]}\n'
    assert read(tmp_path, "a.jsonl", text, tokens="words", labels="tags") == [
        (["New York", "is"], ["3", "0"], 1),
        (["x"], ["0"], 3),
    ]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "a B\nb C D\n", {}, "a.txt, line 2: has 3 columns, and expected are 2"),
        ("a.txt", "a\n", {}, "line 1: has 1 columns, and expected are two or more"),
        ("a.txt", "\n\n", {}, "has no labelled tokens"),
        ("a.txt", "a B\n", {"labels": "2"}, "config.tagging.labels: given column 2"),
        ("a.txt", "a B\n", {"tokens": "word"}, "config.tagging.tokens: given 'word'"),
        ("a.txt", "a\t\n", {}, "line 1: has an empty label"),
        ("a.jsonl", "{\n", {}, "a.jsonl, line 1: is no JSON"),
        ("a.jsonl", "[1]\n", {}, "line 1: given list, expected an object"),
        ("a.jsonl", '{"text": "a"}\n', {}, "'tokens' is no list of strings; its fields are text"),
        ("a.jsonl", '{"tokens": ["a"], "labels": []}\n', {}, "given 1 tokens and 0 labels"),
        ("a.jsonl", '{"tokens": ["a"], "labels": [null]}\n', {}, "'labels' is no list of strings"),
    ],
)
def test_invalid_files_are_refused(tmp_path, name, text, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, name, text, **options)


def test_labels_of_the_test_file_occur_in_training(tmp_path):
    for name, text in (("train", "a O\nb B-X\n"), ("test", "a O\n\nc B-Y\n")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    paths = {"file": str(tmp_path / "train.txt"), "test_file": str(tmp_path / "test.txt")}
    config = DataConfig.model_validate(paths)
    with pytest.raises(InputError, match=r"test\.txt, line 3: .*'B-Y'.* expected one of O, B-X"):
        load_corpus(config, TaggingConfig())
    (tmp_path / "test.txt").write_text("b B-X\n", encoding="utf-8")
    corpus = load_corpus(config, TaggingConfig())
    assert corpus.metadata == {"classes": ["O", "B-X"], "unit": "character"}


def test_each_character_of_a_source_is_labelled():
    source = "def f(x):\n\treturn x + 1.5  # no 'text'\n\ny = f'''a\nb'''\n"
    text, labels = python_sources.label_source(source.encode())
    assert text == source
    expected = {
        "def": "keyword",
        "f": "name",
        "(": "operator",
        "\t": "space",
        "1.5": "number",
        "# no 'text'": "comment",
        "f'''a\nb'''": "string",
    }
    for part, label in expected.items():
        start = text.index(part, 4 if part == "f" else 0)
        assert set(labels[start : start + len(part)]) == {label}, part
    assert labels[text.index("\n")] == "space"


def test_a_form_feed_ends_no_line():
    text, labels = python_sources.label_source(b"x = 1\n\x0cy = 2\n")
    assert [labels[text.index(name)] for name in "xy12"] == ["name", "name", "number", "number"]


def test_a_file_that_is_no_python_has_no_text():
    assert python_sources.label_source(b"x = (\n") == ("", [])
    assert python_sources.label_source(b"\xff\xfe") == ("", [])


def test_source_files_are_split_by_file(monkeypatch):
    monkeypatch.setattr(python_sources, "_FILES_PER_LIBRARY", 8)
    splits, fingerprint = python_sources.collect()
    assert (splits, fingerprint) == python_sources.collect()
    texts = {name: {text for text, _ in rows} for name, rows in splits.items()}
    assert len(texts["train"]) > len(texts["test"]) > 10
    assert not texts["train"] & texts["test"]
    for rows in splits.values():
        for text, labels in rows:
            assert 0 < len(text) == len(labels) <= python_sources._TEXT_CHARACTERS
