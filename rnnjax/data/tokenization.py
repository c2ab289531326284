"""Tokenizers of the four units: words, words between white space, characters and subwords."""

import collections
import itertools
import re
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import tokenizers
from jaxtyping import Int32, UInt32
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from rnnjax.data.sequences import Sequences

PADDING = 0
UNKNOWN = 1
END = 2
"""Id of the token that ends a text; a vocabulary without an end token has a word in its place."""
PADDING_TOKEN, UNKNOWN_TOKEN, END_TOKEN = "[PAD]", "[UNK]", "[END]"
SPECIAL_WORDS = ("[PAD] ", "<unk>", "<eos>")
"""Padding, unknown and end of white-space words. Published texts hold the last two, and a space
keeps the first from being a word of a text."""
_CHARACTERS_PER_CALL = 2**20
"""Characters that are counted at once."""
_TEXTS_IN_CACHE = 500
"""ASCII texts that are split at once, few enough for the processor's cache."""

Unit = Literal["word", "whitespace", "character", "subword"]

_SPACE = "\u2581"
"""Stands for a space in the tokens of subwords, and a space for this character."""
_ESCAPE = "\u241b"
_SPACES_SWAPPED = (
    (_ESCAPE, _ESCAPE + "-"),
    (_SPACE, _ESCAPE + "_"),
    (" ", _SPACE),
    (_ESCAPE + "_", " "),
    (_ESCAPE + "-", _ESCAPE),
)
"""Ordered replacements that swap the two characters in any text; the escapes are all gone in the
end. The swap is its own inverse."""

_MAX_PIECE = 512
"""Most letters without space or punctuation that are merged to subwords; longer runs are cut."""

_ASCII_PUNCTUATION = string.punctuation.encode()
_LOWER = bytes(range(256)).lower()
_WORD = re.compile("[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""A word between white space of Unicode; `str.split` also splits at four control characters."""
_PUNCTUATION = r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']"""


def encode_ascii_words(texts: Sequence[str], ids: dict[bytes, int], max_tokens: int) -> Sequences:
    """Encodes ASCII texts without NUL as words do, faster than the library."""
    values, lengths = [], []
    for start in range(0, len(texts), _TEXTS_IN_CACHE):
        joined = "\0".join(texts[start : start + _TEXTS_IN_CACHE]).encode()
        joined = joined.translate(_LOWER, _ASCII_PUNCTUATION)
        rows = [row.split()[: max_tokens or None] for row in joined.split(b"\0")]
        numbers = map(ids.get, itertools.chain.from_iterable(rows), itertools.repeat(UNKNOWN))
        lengths += map(len, rows)
        values.append(np.fromiter(numbers, np.int32, sum(lengths[start:])))
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return Sequences(np.concatenate([np.zeros(0, np.int32), *values]), offsets)


def encode_characters(
    texts: Sequence[str], table: Int32[np.ndarray, " codes"], max_tokens: int
) -> Sequences:
    """Encodes texts by the id of each code point."""
    texts = [text[:max_tokens] for text in texts] if max_tokens else texts
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return Sequences(table[_code_points(texts)], offsets)


def _code_points(texts: Sequence[str]) -> UInt32[np.ndarray, " characters"]:
    return np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")


def _group(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Yields consecutive texts that have at least so many characters together, and the rest."""
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= characters:
            yield group
            group, size = [], 0
    yield group


def fit_characters(texts: Iterable[str], size: int, special: Sequence[str]) -> tokenizers.Tokenizer:
    """Returns a tokenizer of the commonest characters, as the library's trainer makes it."""
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    for part in _group(texts, _CHARACTERS_PER_CALL):
        numbers = np.bincount(_code_points(part))
        counts[: len(numbers)] += numbers
    (points,) = np.nonzero(counts)
    points = points[np.argsort(-counts[points], kind="stable")][: max(size - len(special), 0)]
    tokenizer, trainer = make_tokenizer("character", size, list(special))
    tokenizer.train_from_iterator([], trainer)
    ids = {token: number for number, token in enumerate([*special, *map(chr, points)])}
    tokenizer.model = models.WordLevel(ids, unk_token=UNKNOWN_TOKEN)
    return tokenizer


def fit_whitespace_words(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """Returns a tokenizer of the commonest words; equal counts rank by first occurrence."""
    special = {name: token_id for token_id, name in enumerate(SPECIAL_WORDS)}
    counts: collections.Counter[str] = collections.Counter()  # in the order of first occurrence
    for text in texts:
        counts.update(_WORD.findall(text.replace("\n", f" {SPECIAL_WORDS[END]} ")))
    names = [name for name, _ in counts.most_common() if name not in special]
    names = names[: max(size - len(special), 0)]
    return _whitespace_tokenizer(special | {name: len(special) + i for i, name in enumerate(names)})


def _whitespace_tokenizer(ids: dict[str, int]) -> tokenizers.Tokenizer:
    """Returns a tokenizer of words between white space, with a token for each end of a line."""
    _, unknown, end = SPECIAL_WORDS
    tokenizer = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.Replace("\n", f" {end} ")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def make_tokenizer(
    unit: Unit, size: int, special: list[str]
) -> tuple[tokenizers.Tokenizer, trainers.Trainer]:
    """Returns an untrained tokenizer of a unit, and its trainer."""
    options = {"vocab_size": size, "special_tokens": special, "show_progress": False}
    if unit == "subword":
        tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
        # Not Metaspace, from whose tokens a "\u2581" of the text comes back as a space.
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Replace(*pair) for pair in _SPACES_SWAPPED]
        )
        # Nothing is added before a text, and no token crosses lines: lines make up their text.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split("\n", "isolated"),
                pre_tokenizers.Split(_SPACE, "merged_with_next"),
                pre_tokenizers.Punctuation(),
                # Merging takes quadratic time in the letters: 5 minutes for a million of them.
                pre_tokenizers.FixedLength(_MAX_PIECE),
            ]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Fuse(), *(decoders.Replace(*pair) for pair in _SPACES_SWAPPED)]
        )
        limit = max(size - len(special), 1)
        return tokenizer, trainers.BpeTrainer(**options, limit_alphabet=limit)
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN_TOKEN))
    if unit == "word":
        strip = normalizers.Replace(tokenizers.Regex(_PUNCTUATION), "")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), strip])
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.WordLevelTrainer(**options)
