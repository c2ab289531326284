"""Characters counted and encoded by code point, beside the tokenizers library."""

from rnnjax.data.tokenization import make_tokenizer
from rnnjax.data.vocabulary import Vocabulary


def test_characters_are_those_of_the_library():
    texts = ["abca\né漢", "", "b😀a[UNK]\0\x1c", "z" * 3]
    for size in (6, 9, 99):
        vocabulary = Vocabulary.fit(iter(texts), size, "character", end_token=True)
        expected, trainer = make_tokenizer("character", size, ["[PAD]", "[UNK]", "[END]"])
        expected.train_from_iterator(texts, trainer)
        assert vocabulary.to_json() == Vocabulary(expected).to_json()
        for max_tokens in (0, 2):
            encoded = vocabulary.encode([*texts, "ñ"], max_tokens)
            ids = [row.ids[: max_tokens or None] for row in expected.encode_batch([*texts, "ñ"])]
            assert encoded.values.tolist() == [number for row in ids for number in row]
            assert encoded.lengths.tolist() == list(map(len, ids))
