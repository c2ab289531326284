"""Texts larger than memory: the same tokens as in memory, resumed, verified, in other processes."""

import json

import numpy as np
import pytest

from rnnjax import input_files
from rnnjax.config import parse
from rnnjax.data import array_files, encoding_worker, token_files
from rnnjax.data.array_files import ArrayWriter, map_array, prepare_folder
from rnnjax.data.corpora.corpus import CorpusSplit, TextColumn
from rnnjax.data.corpora.mapped_lines import map_lines
from rnnjax.data.corpora.plain_text import load_text_files
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.tasks.language_modeling.task import LanguageModelingTask

LINES = [f"{'xyzé漢'[i % 5] * (i % 7)} word{i % 4}, {'The end' * (i % 3)}\n" for i in range(60)]
CONTENTS = {
    "lines": "".join(LINES),
    "no end": "".join(LINES) + "last",
    "mark": "\ufeff" + "".join(LINES),
    "blank": "\n\n" + "".join(LINES) + "\n" * 40,
    "one line": "a b\n" + "é" * 99,
}


@pytest.fixture(autouse=True)
def small_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_memory(monkeypatch):
    """A memory of few bytes; pieces are encoded in this process."""

    def encode_here(pieces, settings):
        vocabulary = Vocabulary(encoding_worker.tokenizers.Tokenizer.from_str(settings[0]))
        for path, texts in pieces.items():
            yield encoding_worker.encode_piece(path, list(texts), vocabulary, settings[1])

    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    monkeypatch.setattr(array_files, "_BLOCK", 7)
    monkeypatch.setattr(token_files, "_PIECE_BYTES", 100)
    monkeypatch.setattr(token_files, "_run_workers", encode_here)


def is_mapped(array):
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def language_model_data(folder, unit, **data):
    config = parse(
        {
            "task": "language_modeling",
            "batch_size": 3,
            "data": {"file": str(folder / "train.txt"), "sequence_length": 5, **data}
            | {"vocabulary": {"unit": unit, "size": 30}},
        }
    )
    return LanguageModelingTask.make_dataset(config, LanguageModelingTask.load_corpus(config))


@pytest.mark.parametrize("unit", ["character", "word", "whitespace", "subword"])
@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_large_files_have_the_tokens_of_small_ones(name, unit, tmp_path, request):
    (tmp_path / "train.txt").write_text(CONTENTS[name], encoding="utf-8")
    (tmp_path / "test.txt").write_text("a test\nof words")
    options = [{}, {"validation": 0.2}, {"test_file": str(tmp_path / "test.txt"), "take": 50}]
    if name == "one line":
        options = options[:2]
    expected = [language_model_data(tmp_path, unit, **data) for data in options]
    request.getfixturevalue("small_memory")
    for data, in_memory in zip(options, expected, strict=True):
        large = language_model_data(tmp_path, unit, **data)
        assert is_mapped(large.train.tokens)
        assert large.train.tokens.dtype == np.uint16
        assert large.describe() == in_memory.describe()
        assert large.vocabulary.to_json() == in_memory.vocabulary.to_json()
        for split in ("train", "validation", "test"):
            pair = getattr(large, split), getattr(in_memory, split)
            if pair[1] is None:
                assert pair[0] is None
                continue
            np.testing.assert_array_equal(pair[0].tokens, pair[1].tokens)
            assert pair[0].num_characters == pair[1].num_characters
            batches = [split.batch_at(1, 2) for split in pair]
            for values, expected_values in zip(*batches, strict=True):
                np.testing.assert_array_equal(values, expected_values)
                assert values.dtype == expected_values.dtype
        task = LanguageModelingTask
        assert task.input_free_loss(large) == task.input_free_loss(in_memory)


def test_splits_of_large_files(tmp_path, small_memory):
    (tmp_path / "a.txt").write_text(CONTENTS["lines"], encoding="utf-8")
    corpus = load_text_files(tmp_path / "a.txt")
    assert [*corpus.splits["train"], *corpus.splits["test"]] == LINES
    (tmp_path / "a.txt").write_bytes(b"fine\nfine fine fine fine\n\xff\n")
    with pytest.raises(InputError, match=r"a\.txt, line 3: byte 0xff is not UTF-8"):
        load_text_files(tmp_path / "a.txt")
    assert not list((tmp_path / "cache" / "lines").glob("preparing*/*.json"))


@pytest.mark.parametrize("unit", ["character", "word", "whitespace", "subword"])
def test_a_long_line_has_the_same_tokens_in_pieces(unit, tmp_path, request, monkeypatch):
    words = " ".join(f"é{'xyz漢'[i % 4] * (i % 6)}, the\tend" for i in range(200))
    (tmp_path / "train.txt").write_text(f"{words}\nshort\n{words}", encoding="utf-8")
    (tmp_path / "test.txt").write_text(words, encoding="utf-8")
    files = {"test_file": str(tmp_path / "test.txt")}
    expected = language_model_data(tmp_path, unit, **files)
    request.getfixturevalue("small_memory")
    monkeypatch.setattr(input_files, "_CHUNK", 64)
    large = language_model_data(tmp_path, unit, **files)
    lines = large.corpus.splits["train"]
    assert isinstance(lines, TextColumn)
    lengths = np.diff(lines.offsets)
    assert len(lengths) > 50
    assert lengths.max() < 2 * 64
    assert large.vocabulary.to_json() == expected.vocabulary.to_json()
    for split in ("train", "test"):
        pair = getattr(large, split), getattr(expected, split)
        np.testing.assert_array_equal(pair[0].tokens, pair[1].tokens)
        assert pair[0].num_characters == pair[1].num_characters
        assert pair[0].num_bytes == pair[1].num_bytes


def test_a_long_word_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(input_files, "_CHUNK", 7)
    text = "漢é" * 30 + " a\n" + "b" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    lines = list(map_lines(tmp_path / "a.txt"))
    assert "".join(lines) == text
    assert max(len(line.encode()) for line in lines) < 14


def column_of(texts):
    vocabulary = Vocabulary.fit(texts, 20)
    return TextColumn.from_texts(texts), vocabulary


def test_encoding_resumes(small_memory, monkeypatch, tmp_path):
    column, vocabulary = column_of(LINES)
    encode_piece, encoded = encoding_worker.encode_piece, []

    def encode_some(path, *args):
        if len(encoded) == 5:
            raise KeyboardInterrupt
        encoded.append(path)
        encode_piece(path, *args)

    monkeypatch.setattr(encoding_worker, "encode_piece", encode_some)
    with pytest.raises(KeyboardInterrupt):
        token_files.encode("train", column, vocabulary)
    first = list(encoded)
    (folder,) = (tmp_path / "cache" / "tokens").glob("preparing-*")
    assert len(list((folder / "pieces").iterdir())) == 5
    damaged = first.pop()
    damaged.write_bytes(damaged.read_bytes()[:100])
    monkeypatch.setattr(
        encoding_worker,
        "encode_piece",
        lambda path, *args: (encoded.append(path), encode_piece(path, *args)),
    )
    sequences = token_files.encode("train", column, vocabulary)
    expected = vocabulary.encode(LINES)
    np.testing.assert_array_equal(sequences.values, expected.values)
    np.testing.assert_array_equal(sequences.offsets, expected.offsets)
    assert len(encoded) > len(first) + 5
    assert not set(first) & set(encoded[5:])
    assert damaged in encoded[5:]
    count = len(encoded)
    token_files.encode("train", column, vocabulary)
    assert len(encoded) == count
    assert not list((tmp_path / "cache" / "tokens").glob("preparing-*"))


def test_damaged_tokens_are_encoded_again(small_memory, tmp_path, capfd):
    column, vocabulary = column_of(LINES)
    expected = np.array(token_files.encode("train", column, vocabulary).values)
    (path,) = (tmp_path / "cache" / "tokens").glob("*/tokens.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    np.testing.assert_array_equal(token_files.encode("train", column, vocabulary).values, expected)
    assert "tokens.npy has another digest" in capfd.readouterr().err
    for texts, max_tokens in ((LINES, 2), (LINES[1:], 0)):
        part = TextColumn.from_texts(texts)
        assert len(token_files.encode("train", part, vocabulary, max_tokens).values) < len(expected)


def test_other_processes_encode(monkeypatch):
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    monkeypatch.setattr(token_files, "_PIECE_BYTES", 300)
    fields = {"a": TextColumn.from_texts(LINES), "b": TextColumn.from_texts(LINES[::-1])}
    split = CorpusSplit(np.zeros(len(LINES), np.int32), fields)
    rows = np.arange(0, len(LINES), 2)
    vocabulary = Vocabulary.fit(LINES, 20)
    encoded = token_files.encode("train", split.joined_texts("a+b", rows), vocabulary, 3)
    expected = vocabulary.encode(split.texts("a+b", rows), 3)
    np.testing.assert_array_equal(encoded.values, expected.values)
    np.testing.assert_array_equal(encoded.offsets, expected.offsets)
    assert is_mapped(encoded.values)
    indices = np.array([[3, -1], [0, 29]])
    for values, expected_values in zip(
        encoded.pad(indices, 4), expected.pad(indices, 4), strict=True
    ):
        np.testing.assert_array_equal(values, expected_values)
        assert values.dtype == expected_values.dtype


def test_a_process_that_is_killed_is_an_error(monkeypatch):
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    monkeypatch.setattr(token_files, "_PIECE_BYTES", 300)
    start = token_files._start_worker

    def start_killed():
        process = start()
        process.kill()
        return process

    monkeypatch.setattr(token_files, "_start_worker", start_killed)
    column, vocabulary = column_of(LINES)
    with pytest.raises(InputError, match=r"ended \(exit status -9\), killed for want of memory"):
        token_files.encode("train", column, vocabulary)


def test_array_files(tmp_path):
    with ArrayWriter(tmp_path / "a.npy", np.int32) as writer:
        for count in (0, 3, 10_000):
            writer.append(np.arange(count))
    np.testing.assert_array_equal(map_array(tmp_path / "a.npy"), [0, 1, 2, *range(10_000)])
    with ArrayWriter(tmp_path / "b.npy", np.uint16):
        pass
    assert np.load(tmp_path / "b.npy").shape == (0,)


def test_folder_of_other_data_is_prepared_again(tmp_path):
    def write(folder):
        (folder / "a").write_text("a")

    folder = prepare_folder("kind", "name", "1" * 64, write)
    header = json.loads((folder / "header.json").read_text())
    assert list(header["files"]) == ["a"]
    other = prepare_folder("kind", "name", "1" * 16 + "2" * 48, write)
    assert other == folder
    assert json.loads((folder / "header.json").read_text())["key"][-1] == "2"
    (tmp_path / "cache" / "wrong").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        prepare_folder("wrong", "name", "1" * 64, write)


def test_large_labelled_files_are_those_of_small_ones(tmp_path, request):
    labels = [f"c{i % 3}" for i in range(len(LINES))]
    rows = [
        {"a": a, "b": f"b{i}", "label": label, "several": [label, "c9"][: i % 3]}
        for i, (a, label) in enumerate(zip(LINES, labels, strict=True))
    ]
    for name, part in (("train", rows), ("test", rows[:7])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    file, test = (str(tmp_path / f"{name}.jsonl") for name in ("train", "test"))
    data = {"file": file, "text": "a+b", "vocabulary": {"size": 30}}
    options = [
        {"validation": 0.2, "class_weights": "balanced"},
        {"test_file": test, "validation_file": test, "max_tokens": 3},
        {"multi_label": True, "label": "several"},
    ]
    task = ClassificationTask
    configs = [parse({"batch_size": 4, "data": data | values}) for values in options]
    in_memory = [task.make_dataset(config, task.load_corpus(config)) for config in configs]
    request.getfixturevalue("small_memory")
    for config, expected in zip(configs, in_memory, strict=True):
        dataset = task.make_dataset(config, task.load_corpus(config))
        assert dataset.describe() == expected.describe()
        assert is_mapped(dataset.train.sequences.values)
        assert is_mapped(dataset.corpus.splits["train"].fields["a"].utf8)
        assert not is_mapped(expected.corpus.splits["train"].fields["a"].utf8)
        for name in ("train", "validation", "test"):
            pair = [getattr(part, name) for part in (dataset, expected)]
            assert (pair[0] is None) == (pair[1] is None)
            for step in range(pair[0].steps_per_epoch if pair[0] else 0):
                batches = [split.batch_at(1, step) for split in pair]
                for values, expected_values in zip(*batches, strict=True):
                    np.testing.assert_array_equal(values, expected_values)
                    assert values.dtype == expected_values.dtype
        assert list(dataset.texts(config.data, "test")) == list(expected.texts(config.data, "test"))
