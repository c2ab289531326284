"""Words at white space, as published language models have them, on text and on a real corpus."""

import collections
from pathlib import Path

import numpy as np
import pytest

from rnnjax.data.vocabulary import END, PADDING, UNKNOWN, Vocabulary, unknown_share
from rnnjax.errors import InputError

NOVEL = Path(__file__).parents[3] / "shared" / "data" / "war_and_peace"
LINES = ["Yes , yes .\n", "no <unk> no\tYes no\n", "\n", "x.y , Z"]


def ids(vocabulary, text):
    """Returns the token ids of a text."""
    return vocabulary.encode([text]).values.tolist()


def test_commonest_words_come_first_and_ties_in_order_of_occurrence():
    vocabulary = Vocabulary.fit(LINES, 20, "whitespace")
    words = ["no", "Yes", ",", "yes", ".", "x.y", "Z"]
    assert vocabulary.words == ["[PAD] ", "<unk>", "<eos>", *words]
    cut = Vocabulary.fit(LINES, 6, "whitespace")
    assert cut.words[3:] == words[:3]
    assert ids(cut, "x.y no") == [UNKNOWN, 3]


def test_special_words_of_a_text_are_special_tokens():
    vocabulary = Vocabulary.fit(LINES, 20, "whitespace")
    assert ids(vocabulary, "no <unk>\n") == [3, UNKNOWN, END]
    assert ids(vocabulary, "<eos>") == [END]
    assert ids(vocabulary, "[PAD] [UNK] [END]") == [UNKNOWN] * 3
    assert PADDING not in vocabulary.encode(LINES).values
    assert vocabulary.has_end_token
    assert vocabulary.has_line_ends
    assert not vocabulary.preserves_text
    assert vocabulary.decode(ids(vocabulary, "no never\n")) == "no <unk>"


def test_spans_are_those_of_the_text():
    vocabulary = Vocabulary.fit(LINES, 20, "whitespace")
    text = "é no\n Yes"
    assert [text[start:end] for start, end in vocabulary.spans(text)] == ["é", "no", "\n", "Yes"]


def test_saved_vocabulary_encodes_the_same(tmp_path):
    vocabulary = Vocabulary.fit([*LINES, "[END] [END]"], 20, "whitespace")
    path = tmp_path / "tokenizer.json"
    path.write_text(vocabulary.to_json(), encoding="utf-8")
    loaded = Vocabulary.load(path)
    assert loaded.words == vocabulary.words
    np.testing.assert_array_equal(loaded.encode(LINES).values, vocabulary.encode(LINES).values)
    text = vocabulary.to_json().replace('"<eos>": 2', '"<eos>": 3').replace('"no": 3', '"no": 2')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"the token <eos>, which ends a text, is number 3"):
        Vocabulary.load(path)


@pytest.mark.parametrize(("size", "message"), [(3, "given 3, which"), (9, "hold no word")])
def test_text_without_words_is_refused(size, message):
    with pytest.raises(InputError, match=message):
        Vocabulary.fit(["\n", " "], size, "whitespace")


def test_counts_and_unknown_shares_of_the_novel_are_the_published_ones():
    if not NOVEL.exists():
        pytest.skip(f"the novel is not at {NOVEL}")
    texts = {
        part: (NOVEL / f"{part}.txt").read_text(encoding="utf-8")
        for part in ("train", "valid", "test")
    }
    lines = {part: text.splitlines(keepends=True) for part, text in texts.items()}
    vocabulary = Vocabulary.fit(lines["train"], 10_001, "whitespace")
    words = collections.Counter(texts["train"].split()).most_common(9_998)
    assert vocabulary.words[3:] == [word for word, _ in words]
    tokens = {part: vocabulary.encode(lines[part]).values for part in lines}
    assert [len(values) for values in tokens.values()] == [613_603, 34_254, 33_905]
    shares = [round(100 * unknown_share(values), 1) for values in tokens.values()]
    assert shares == [1.4, 2.6, 4.2]
