"""Sentence pairs from files with named columns."""

import json
import re

import pytest

from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.data import load_corpus, make_dataset
from rnnjax.tasks.translation.pair_files import load_pair_files

PAIRS = [(f"ein Haus {n}", f'a "house", {n}') for n in range(20)]


def write(path):
    if path.suffix == ".jsonl":
        rows = [json.dumps({"en": en, "de": de, "id": 1}) for de, en in PAIRS]
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        rows = [f"en{mark}de"]
        rows += ['"' + en.replace('"', '""') + f'"{mark}{de}' for de, en in PAIRS]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def data_config(**values):
    translation = {"source": values.pop("source", "de"), "target": values.pop("target", "en")}
    return parse({"task": "translation", "translation": translation, "data": values})


def load(**values):
    config = data_config(**values)
    options = config.section(TranslationConfig)
    return load_pair_files(config.data, options.source, options.target)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".tsv"])
def test_pairs_are_read_by_the_names_of_columns(tmp_path, suffix):
    path = write(tmp_path / f"pairs{suffix}")
    corpus = load(file=path, validation_file=path, test=0.1)
    assert {name: len(pairs) for name, pairs in corpus.splits.items()} == {
        "train": 18,
        "validation": 20,
        "test": 2,
    }
    whole = corpus.splits["validation"]
    assert list(zip(whole.sources, whole.targets, strict=True)) == PAIRS
    drawn = corpus.splits["test"]
    rest = corpus.splits["train"]
    assert sorted([*rest.sources, *drawn.sources]) == sorted(whole.sources)
    assert all(pair in PAIRS for pair in zip(drawn.sources, drawn.targets, strict=True))
    assert corpus.name == "pairs"


def test_drawn_parts_are_the_same_for_every_seed(tmp_path):
    path = write(tmp_path / "a.tsv")
    corpora = [load(file=path, validation=0.25) for _ in range(2)]
    assert corpora[0].fingerprint == corpora[1].fingerprint
    splits = corpora[0].splits
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 14,
        "validation": 4,
        "test": 2,
    }
    assert not {*splits["validation"].sources} & {*splits["train"].sources, *splits["test"].sources}


def test_pairs_make_a_data_set(tmp_path):
    config = data_config(file=write(tmp_path / "a.tsv"), validation=0.25)
    dataset = make_dataset(config, load_corpus(config.data, config.section(TranslationConfig)))
    assert dataset.validation is not None
    sizes = [len(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [14, 4, 2]


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("", {}, "a.tsv, line 1: has no column 'de'; its columns are none"),
        ("de\tfr\nx\ty\n", {}, "a.tsv, line 1: has no column 'en'; its columns are 'de', 'fr'"),
        ("de\ten\n", {}, "a.tsv: there are no rows"),
        ("de\ten\nx\n", {}, "a.tsv, line 2: has 1 columns, and the header has 2"),
        ("de\ten\nx\ty\n", {}, "config.data.test: 0.1 of 1 rows"),
        ("de\ten\nx\ty\n", {"target": "de"}, "config.translation.target: given 'de'"),
    ],
)
def test_invalid_files_are_refused(tmp_path, text, values, message):
    path = tmp_path / "a.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        load(file=str(path), validation=0.5, **values)


@pytest.mark.parametrize("value", ["null", "3", "NaN", '["x"]'])
def test_texts_that_are_no_strings_are_refused(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"de": "x", "en": {value}}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: 'en' is .*, expected a text"):
        load(file=str(path), validation=0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file": "a.tsv"}, "a file of pairs needs a validation part"),
        ({"dir": "pairs", "validation": 0.1}, "other pairs have one"),
        ({"file": "a.tsv", "validation": 0.1, "target": ""}, "set both and one of the paths"),
        ({"file": "a.tsv", "dir": "b", "validation": 0.1}, r"data\.file and data\.dir are set"),
    ],
)
def test_invalid_options_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        data_config(**values)
