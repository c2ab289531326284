"""Vocabularies: tokens and ids of a text, and refused files."""

import itertools
import json
import random
import re
import time
import unicodedata

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from rnnjax.data.vocabulary import Vocabulary, has_excess_unknowns, unknown_share
from rnnjax.errors import InputError

KERAS = r"""[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']"""
"""The characters that Keras' TextVectorization strips from lower-cased text."""

TEXTS = [
    "The cat, the DOG.",
    "don't re-do   U.S. #39;s\tthings\n(now)",
    "  ",
    "",
    "!?...",
    "a \\ b ` c ~ d ^ e _ f | g",
    "[x] {y} <z> $1.50 50% a&b a@b c++ a=b 'quoted' \"too\"",
    "1,000 - 2/3; 4:5",
    "naïve café — “curly” …",
    "[UNK] [PAD] unk pad",
    "日本 語",
    "\r\n line \x0b feed \x0c",
]


def words(text):
    """Returns the tokens of a text by the documentation of Keras."""
    return re.sub(KERAS, "", text.lower()).split()


def ids(vocabulary, *texts, **options):
    """Returns the token ids of each text as lists."""
    sequences = vocabulary.encode(texts, **options)
    ends = sequences.offsets
    return [sequences.values[ends[i] : ends[i + 1]].tolist() for i in range(len(texts))]


def entries(vocabulary):
    """Returns the entries by id."""
    return [vocabulary.tokenizer.id_to_token(token_id) for token_id in range(len(vocabulary))]


def test_punctuation_equals_that_of_keras():
    # Compared character by character, over ASCII and the code points after it.
    vocabulary = Vocabulary.fit(["ab"], 10)
    for code in range(33, 0x180):
        removed = ids(vocabulary, f"a{chr(code)}b") == [[2]]
        assert removed == bool(re.fullmatch(KERAS, chr(code))), repr(chr(code))


@pytest.mark.parametrize("text", TEXTS)
def test_words_equal_those_of_keras(text):
    vocabulary = Vocabulary.fit([*TEXTS, "anchor"], 1000)
    names = entries(vocabulary)
    (token_ids,) = ids(vocabulary, text)
    assert [names[token_id] for token_id in token_ids] == words(text)


def test_first_ids_are_padding_and_unknown():
    vocabulary = Vocabulary.fit(["a b"], 10)
    assert entries(vocabulary)[:2] == ["[PAD]", "[UNK]"]
    assert ids(vocabulary, "z a y") == [[1, 2, 1]]


def test_ids_follow_count_then_alphabet():
    vocabulary = Vocabulary.fit(["d c c b b", "a d b"], 10)
    assert entries(vocabulary)[2:] == ["b", "c", "d", "a"]


def test_size_includes_padding_and_unknown():
    texts = ["one two two three three three"]
    assert entries(Vocabulary.fit(texts, 4))[2:] == ["three", "two"]
    assert len(Vocabulary.fit(texts, 4)) == 4
    assert len(Vocabulary.fit(texts, 100)) == 5


def test_max_tokens_truncates():
    vocabulary = Vocabulary.fit(["a b c"], 10)
    assert ids(vocabulary, "c b a", "a", max_tokens=2) == [[4, 3], [2]]
    assert ids(vocabulary, "c b a", max_tokens=0) == [[4, 3, 2]]


@pytest.mark.parametrize("text", ["Ab, a\tb!", "line\nend\r\n", "日本 é", "[PAD][UNK]", ""])
def test_characters_are_code_points(text):
    vocabulary = Vocabulary.fit(
        ["Ab, a\tb!", "line\nend\r\n", "日本 é[PAD][UNK]"], 100, "character"
    )
    names = entries(vocabulary)
    (token_ids,) = ids(vocabulary, text)
    assert [names[token_id] for token_id in token_ids] == list(text)


def test_saved_vocabulary_loads_unchanged(tmp_path):
    path = tmp_path / "tokenizer.json"
    vocabulary = Vocabulary.fit(TEXTS, 20)
    path.write_text(vocabulary.to_json(), encoding="utf-8")
    loaded = Vocabulary.load(path)
    assert entries(loaded) == entries(vocabulary)
    assert ids(loaded, *TEXTS) == ids(vocabulary, *TEXTS)
    assert loaded.to_json() == vocabulary.to_json()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\xff\xfe\x00", b'{"model": 3}'])
def test_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: is no tokenizer .* restore"):
        Vocabulary.load(path)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    content = Vocabulary.fit(TEXTS, 20).to_json()
    path.write_text(content[: len(content) // 2], encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json: is no tokenizer"):
        Vocabulary.load(path)


def test_file_without_padding_and_unknown_ids_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    content = Vocabulary.fit(TEXTS, 20).to_json().replace("[UNK]", "[CLS]")
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json: its tokens 0 and 1 are \['\[PAD\]'"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("token", "number", "message"),
    [
        ("a", 10**6, r"numbered up to 1000000, expected each number from 0 to 6 once"),
        ("a", 2, r"expected each number from 0 to \d+ once"),
        ("[END]", 6, r"\[END\], which ends a text, is number 6, expected 2"),
    ],
)
def test_invalid_ids_are_refused(tmp_path, token, number, message):
    path = tmp_path / "tokenizer.json"
    values = json.loads(Vocabulary.fit(["a b c d"], 20, end_token=True).to_json())
    vocabulary = values["model"]["vocab"]
    if token == "[END]":
        (previous,) = (name for name, token_id in vocabulary.items() if token_id == number)
        vocabulary[previous] = vocabulary[token]
        values["added_tokens"][2]["id"] = number
    vocabulary[token] = number
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Vocabulary.load(path)


@pytest.mark.parametrize("unit", ["word", "character", "subword"])
@pytest.mark.parametrize("end_token", [False, True])
def test_fitted_ids_are_contiguous(tmp_path, unit, end_token):
    path = tmp_path / "tokenizer.json"
    for size in (8, 12, 400):
        vocabulary = Vocabulary.fit(
            ["low lower lowest, new newer"] * 3, size, unit, end_token=end_token
        )
        path.write_text(vocabulary.to_json(), encoding="utf-8")
        assert len(Vocabulary.load(path)) == len(vocabulary)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json: cannot be read \(No such file"):
        Vocabulary.load(tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["half \ud83d", "\udce9t\udce9"])
def test_invalid_unicode_is_refused_by_text_number(text):
    vocabulary = Vocabulary.fit(["half"], 10)
    with pytest.raises(InputError, match=r"text 2 is not valid Unicode .*UTF-8"):
        vocabulary.encode(["fine", text])
    with pytest.raises(InputError, match=r"text 3 is not valid Unicode"):
        Vocabulary.fit(iter(["fine", "too", text]), 10)


@pytest.mark.parametrize("texts", [[], [""], ["!!!", " \n"]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(InputError, match="hold no word"):
        Vocabulary.fit(texts, 10)


def test_unknown_shares():
    vocabulary = Vocabulary.fit(["a b"], 10)
    texts = ["a b z z", "", "z", "b"]
    assert vocabulary.unknown_shares(texts) == [0.5, 1.0, 1.0, 0.0]
    assert vocabulary.unknown_shares(["z a b", "z"], max_tokens=1) == [1.0, 1.0]
    assert unknown_share(vocabulary.encode(texts).values) == 0.5
    assert unknown_share(vocabulary.encode([""]).values) == 0.0


@pytest.mark.parametrize(
    ("share", "training_share", "large"),
    [
        (0.1, 0.0, False),
        (0.11, 0.0, True),
        (0.3, 0.15, False),
        (0.31, 0.15, True),
        (1.0, 0.6, False),
    ],
)
def test_has_excess_unknowns(share, training_share, large):
    assert has_excess_unknowns(share, training_share) == large


@pytest.mark.parametrize("unit", ["word", "character", "subword"])
@pytest.mark.parametrize(("fitted", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_form_of_training_is_advised(unit, fitted, written):
    texts = ["Việt Nam là đẹp", "rất đẹp"]
    training, converted = (
        [unicodedata.normalize(form, text) for text in texts] for form in (fitted, written)
    )
    vocabulary = Vocabulary.fit(training, 200, unit)
    assert vocabulary.advise_unicode_form(training) == ""
    assert f"in the Unicode form {fitted} 0.0% are" in vocabulary.advise_unicode_form(converted)
    # Unknown in either form.
    assert vocabulary.advise_unicode_form(["Йж Ё"]) == ""


def test_words_are_in_the_order_of_ids():
    vocabulary = Vocabulary.fit(["b a b", "c b a"], 10)
    assert vocabulary.words == ["[PAD]", "[UNK]", "b", "a", "c"]
    assert vocabulary.encode(["c a"]).values.tolist() == [4, 3]


def test_normalize():
    assert Vocabulary.fit(["us"], 5).normalize("U.S.") == "us"
    assert Vocabulary.fit(["us"], 5, "character").normalize("U.S.") == "U.S."


SENTENCES = ["Ein Mann läuft.", "Zwei Männer laufen; ein Hund bellt!", "der Hund, der läuft"]


@pytest.mark.parametrize("unit", ["character", "subword"])
@pytest.mark.parametrize("text", [*SENTENCES, "Hund bellt; Mann", ".", " Mann ein  Hund"])
def test_decode_inverts_encode(unit, text):
    vocabulary = Vocabulary.fit(SENTENCES, 60, unit, end_token=True)
    (token_ids,) = ids(vocabulary, text)
    assert vocabulary.decode([*token_ids, 2, 0, 0]) == text


def test_subwords_of_a_long_word_take_bounded_time():
    # Merged in one piece, 50,000 letters take a second, and a million five minutes.
    text = f"a {'x' * 200_000}é b"
    start = time.process_time()
    vocabulary = Vocabulary.fit([text], 20, "subword")
    (token_ids,) = ids(vocabulary, text)
    assert vocabulary.decode(token_ids) == text
    assert time.process_time() - start < 10


FORMS = {
    "decomposed": unicodedata.normalize("NFD", "Äpfel für café, Tiếng Việt 한국어 が"),
    "singletons": "\u212b \u212a \u2126 ﬁ ² \uff21 \u0344 \uf900",
    "space marker": "\u2581a\u2581 \u2581\u2581b \u241b\u241b_ \u241b- a\u241b\u2581",
    "joiners": "👩\u200d👩\u200d👧 नि\u200dक\u200c 🇩🇪 \ufe0f\ufeff\u00ad",
    "white space": "  a\tb\x0b\x0c\x85\xa0\u2028\u2029\u3000 \r\n\n \r ",
    "other planes": "🜁 \U0001d518 \U0010ffff\uffff\ue000\x00\x7f",
}
"""Texts that Unicode normalization or a substitute for the space changes."""


def random_texts(count):
    """Returns random texts of the characters of all forms and of spaces."""
    draw = random.Random(5)
    alphabet = sorted({*"".join(FORMS.values()), *"\u0301\u0323\u0308 e.-_"})
    return [
        "".join(draw.choice([" ", "\u2581", *alphabet]) for _ in range(draw.randint(1, 30)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("unit", ["character", "subword"])
def test_decode_inverts_encode_of_unicode_forms(unit):
    texts = [*FORMS.values(), *random_texts(500)]
    # Merges are learned from a fraction of the texts, so that most texts are new to them.
    fitted = [*texts[:100], "".join(texts)]
    vocabulary = Vocabulary.fit(fitted, 2000, unit, end_token=True)
    for text, token_ids in zip(texts, ids(vocabulary, *texts), strict=True):
        assert 1 not in token_ids
        assert vocabulary.decode(token_ids) == text
        # One by one as well, as in generation.
        assert "".join(vocabulary.decode([token_id]) for token_id in token_ids) == text
        spans = vocabulary.spans(text)
        assert [text[begin:end] for begin, end in spans] == [
            vocabulary.decode([token_id]) for token_id in token_ids
        ]


def test_subwords_equal_those_of_metaspace():
    # Recorded results depend on these ids.
    texts = [*SENTENCES, *TEXTS, " a  b\nb a ", "Ein Hund\n\n läuft"]
    vocabulary = Vocabulary.fit(texts, 200, "subword", end_token=True)
    reference = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="never")
    newline = pre_tokenizers.Split("\n", "isolated")
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [newline, metaspace, pre_tokenizers.Punctuation()]
    )
    special = ["[PAD]", "[UNK]", "[END]"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    reference.train_from_iterator(texts, trainer)
    reference.encode_special_tokens = True
    assert vocabulary.tokenizer.get_vocab() == reference.get_vocab()
    assert ids(vocabulary, *texts) == [encoding.ids for encoding in reference.encode_batch(texts)]


@pytest.mark.parametrize("unit", ["word", "character", "subword"])
def test_tokens_do_not_cross_lines(unit):
    lines = ["der Hund\n", "\n", "läuft, ein Mann\n", " bellt"]
    vocabulary = Vocabulary.fit(lines, 60, unit)
    tokens = vocabulary.encode(["".join(lines)]).values
    assert vocabulary.encode(lines).values.tolist() == tokens.tolist()
    assert unit == "word" or vocabulary.decode(tokens) == "".join(lines)


def test_decoded_words_are_joined_by_spaces():
    vocabulary = Vocabulary.fit(SENTENCES, 60, end_token=True)
    assert vocabulary.decode(ids(vocabulary, "Ein  HUND, neu")[0]) == "ein hund [UNK]"


def test_merges_are_frequent_and_exclude_punctuation():
    vocabulary = Vocabulary.fit(["aab aab. aab, c."] * 3, 60, "subword")
    assert {"aab", "▁aab"} <= set(entries(vocabulary))
    assert {entry for entry in vocabulary.words if set(entry) & set(".,")} == {".", ","}


def test_small_subword_vocabulary_keeps_its_size():
    vocabulary = Vocabulary.fit(["abcdefgh abc ab a"], 6, "subword", end_token=True)
    assert len(vocabulary) <= 6
    assert 1 in ids(vocabulary, "h")[0]


@pytest.mark.parametrize("unit", ["word", "character", "subword"])
def test_end_token_is_in_no_text(unit, tmp_path):
    vocabulary = Vocabulary.fit(["[END] end"], 60, unit, end_token=True)
    assert vocabulary.has_end_token
    assert entries(vocabulary)[2] == "[END]"
    assert 2 not in ids(vocabulary, "[END] end")[0]
    assert not Vocabulary.fit(["[END] end"], 60, unit).has_end_token
    path = tmp_path / "tokenizer.json"
    path.write_text(vocabulary.to_json(), encoding="utf-8")
    assert Vocabulary.load(path).has_end_token


ODD_TEXTS = [
    "The cat, the CAT; don't! (e-mail) a.b.c",
    "",
    "\t tabs\x0band\x0cfeeds\r\nand\x1cseparators\x1f ",
    "ΟΔΟΣ İstanbul straße «quoted» — naïve",
    "a\u00a0b\u2028c\u200bd\x85e",
    "nul\0inside the cat",
    "[PAD] [UNK] [unk] the",
    "".join(map(chr, range(1, 128))),
]


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_words_are_those_of_the_tokenizers_library(max_tokens, monkeypatch):
    monkeypatch.setattr("rnnjax.data.tokenization._TEXTS_IN_CACHE", 7)
    generator = np.random.default_rng(0)
    letters = [*"aAbBcC .,'-\n\t\x1c", "é", "\u3000", "\0"]
    drawn = ["".join(generator.choice(letters, 12)) for _ in range(300)]
    texts = [*ODD_TEXTS, *drawn]
    vocabulary = Vocabulary.fit(texts, 200)
    assert vocabulary._ascii_word_ids is not None
    for part in (texts, [text for text in texts if text.isascii()], [texts[3]], []):
        encodings = vocabulary.tokenizer.encode_batch(part, add_special_tokens=False)
        sequences = vocabulary.encode(part, max_tokens)
        assert sequences.values.dtype == np.int32
        ends = sequences.offsets.tolist()
        rows = [sequences.values[a:b].tolist() for a, b in itertools.pairwise(ends)]
        assert rows == [encoding.ids[: max_tokens or None] for encoding in encodings]


@pytest.mark.parametrize("unit", ["whitespace", "character", "subword"])
def test_other_units_are_encoded_by_the_tokenizers_library(unit):
    assert Vocabulary.fit(ODD_TEXTS, 200, unit)._ascii_word_ids is None
