"""Vocabularies: text to token ids and back."""

import collections
import functools
import itertools
import json
import re
import string
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tokenizers
from jaxtyping import Int, Int32, Int64, UInt32
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from rnnjax.data.array_files import read_blocks
from rnnjax.data.sequences import Sequences
from rnnjax.errors import InputError
from rnnjax.input_files import load_text

PADDING = 0
UNKNOWN = 1
END = 2
"""Id of the token that ends a text; a vocabulary without an end token has a word in its place."""
_MAX_UNKNOWN_SHARE = 0.1
"""Share of unknown tokens up to which no warning is due."""
_PADDING, _UNKNOWN, _END = "[PAD]", "[UNK]", "[END]"
_SPECIAL_WORDS = ("[PAD] ", "<unk>", "<eos>")
"""Padding, unknown and end of white-space words. Published texts hold the last two, and a space
keeps the first from being a word of a text."""
_TEXTS_PER_CALL = 10_000
"""Texts whose characters are counted at once."""
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


class Vocabulary:
    """Maps tokens to ids: 0 is padding, 1 is unknown, then the tokens by falling count.

    Words are those of Keras' TextVectorization: lower case, the punctuation of ASCII removed, split
    on white space. Subwords are those of byte pair encoding (Sennrich, Haddow, Birch, ACL 2016),
    which no punctuation shares with a word; their ids are in the order of the merges. White-space
    words are those of published language models: a text split at white space and otherwise left as
    it is, `<eos>` for each end of a line, `<unk>` in a text the unknown token. Characters,
    which are code points, and subwords keep a text as it is: no Unicode normalization takes place,
    and decoding returns the code points that were encoded where all of them are in the vocabulary.
    Hugging Face tokenizers does the work; `tokenizer.json` is a file of that library.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        """Wraps a tokenizer whose tokens 0 and 1 are padding and unknown."""
        self.tokenizer = tokenizer
        # "[UNK]" or "[PAD]" in a text are five characters, not the special token.
        self.tokenizer.encode_special_tokens = True

    @classmethod
    def fit(
        cls, texts: Iterable[str], size: int, unit: Unit = "word", *, end_token: bool = False
    ) -> "Vocabulary":
        """Fits a vocabulary to the most frequent tokens of texts.

        Args:
          texts: the texts to count.
          size: most entries, padding, unknown and end included. Equal counts: by the alphabet, and
            of white-space words by their first occurrence. An alphabet that is larger is cut as
            words are.
          unit: of a token.
          end_token: adds the token that ends a text, `END`, which white-space words always have.

        Raises:
          InputError: the texts hold no token at all.
        """
        texts = _check_unicode(texts)
        special = [_PADDING, _UNKNOWN, *([_END] if end_token else [])]
        if unit == "whitespace":
            special = list(_SPECIAL_WORDS)
            tokenizer = _fit_whitespace_words(texts, size)
        elif unit == "character":
            tokenizer = _fit_characters(texts, size, special)
        else:
            tokenizer, trainer = _make_tokenizer(unit, size, special)
            tokenizer.train_from_iterator(texts, trainer)
        if tokenizer.get_vocab_size() == len(special):
            if size <= len(special):
                raise InputError(
                    f"config.data.vocabulary.size: given {size}, which {', '.join(special)} fill; "
                    f"expected more than {len(special)}"
                )
            token = "word" if unit == "whitespace" else unit
            raise InputError(
                f"the texts to fit the vocabulary on hold no {token}: give texts that do, or fit "
                "it on more of them (config.data.vocabulary.rows and .text)"
            )
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Loads the vocabulary of a tokenizer.json.

        Raises:
          InputError: the file is missing or damaged.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_str(load_text(path))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); repeat the command of the run, which "
                "writes it again, or bring it back from a copy"
            ) from error
        except Exception as error:  # the library raises plain Exception for what it cannot parse
            raise InputError(
                f"{path}: is no tokenizer of the Hugging Face tokenizers library ({error}); "
                "restore the file, or train again in a new folder"
            ) from error
        first = [tokenizer.id_to_token(token_id) for token_id in (PADDING, UNKNOWN)]
        is_whitespace = first == list(_SPECIAL_WORDS[:2])
        if not is_whitespace and first != [_PADDING, _UNKNOWN]:
            raise InputError(
                f"{path}: its tokens 0 and 1 are {first}, expected {[_PADDING, _UNKNOWN]}, which "
                "networks read as padding and unknown; restore the file, or train again in a new "
                "folder"
            )
        ids = tokenizer.get_vocab()
        if sorted(ids.values()) != list(range(len(ids))):
            raise InputError(
                f"{path}: its {len(ids)} tokens are numbered up to {max(ids.values())}, "
                f"expected each number from 0 to {len(ids) - 1} once; restore the file, or "
                "train again in a new folder"
            )
        end = _SPECIAL_WORDS[END] if is_whitespace else _END
        if ids.get(end, END) != END:
            raise InputError(
                f"{path}: the token {end}, which ends a text, is number {ids[end]}, expected "
                f"{END}; restore the file, or train again in a new folder"
            )
        return cls(tokenizer)

    def to_json(self) -> str:
        """Serializes the vocabulary as the text of a tokenizer.json."""
        return self.tokenizer.to_str(pretty=True)

    @property
    def words(self) -> list[str]:
        """The tokens by id, padding and unknown included."""
        ids = self.tokenizer.get_vocab()
        return sorted(ids, key=ids.__getitem__)

    def normalize(self, text: str) -> str:
        """Normalizes a text as tokens are: words in lower case and without punctuation."""
        normalizer = self.tokenizer.normalizer
        return normalizer.normalize_str(text) if normalizer else text

    def __len__(self) -> int:
        """Returns the number of entries, padding and unknown included."""
        return self.tokenizer.get_vocab_size()

    def encode(self, texts: Iterable[str], max_tokens: int = 0) -> Sequences:
        """Encodes texts as token ids.

        Args:
          texts: any strings; an empty one becomes an empty sequence.
          max_tokens: longer sequences lose their end; 0 for no limit.

        Raises:
          InputError: a text is not valid Unicode.
        """
        texts = list(_check_unicode(texts))
        if (table := self._character_table) is not None:
            return _encode_characters(texts, table, max_tokens)
        ids = self._ascii_word_ids
        if ids is None:
            return self._tokenize(texts, max_tokens)
        is_ascii = np.array([text.isascii() and "\0" not in text for text in texts], bool)
        if is_ascii.all():
            return _encode_ascii_words(texts, ids, max_tokens)
        rows, others = np.flatnonzero(is_ascii), np.flatnonzero(~is_ascii)
        parts = [
            _encode_ascii_words([texts[row] for row in rows], ids, max_tokens),
            self._tokenize([texts[row] for row in others], max_tokens),
        ]
        return Sequences.concatenate(parts).take(np.argsort(np.concatenate([rows, others])))

    def _tokenize(self, texts: Sequence[str], max_tokens: int) -> Sequences:
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return Sequences.from_lists([encoding.ids[: max_tokens or None] for encoding in encodings])

    @functools.cached_property
    def _ascii_word_ids(self) -> dict[bytes, int] | None:
        """The ids of words as `fit` makes them; None where tokens are others."""
        ids = self._ids_of_unit("word")
        return None if ids is None else {word.encode(): number for word, number in ids.items()}

    @functools.cached_property
    def _character_table(self) -> Int32[np.ndarray, " codes"] | None:
        """The id of each code point, of characters as `fit` makes them; None of other tokens."""
        ids = self._ids_of_unit("character")
        if ids is None:
            return None
        table = np.full(sys.maxunicode + 1, UNKNOWN, np.int32)
        for character, number in ids.items():
            if len(character) == 1:
                table[ord(character)] = number
        return table

    def _ids_of_unit(self, unit: Unit) -> dict[str, int] | None:
        """Returns the id of each token if the tokenizer is one of `fit` for this unit."""
        settings, expected = (
            json.loads(tokenizer.to_str())
            for tokenizer in (self.tokenizer, _make_tokenizer(unit, 0, [])[0])
        )
        ids = settings["model"].pop("vocab")
        expected["model"].pop("vocab")
        are_special = all(token["special"] for token in settings.pop("added_tokens"))
        expected.pop("added_tokens")
        return ids if are_special and settings == expected else None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Returns the start and end of each token in a text.

        Raises:
          InputError: the text is not valid Unicode.
        """
        (text,) = _check_unicode([text])
        return self.tokenizer.encode(text, add_special_tokens=False).offsets

    def decode(self, ids: Iterable[int]) -> str:
        """Decodes token ids, padding and ends left out, to a text: words are joined by spaces."""
        skipped = {PADDING, END} if self.has_end_token else {PADDING}
        visible = [token_id for token_id in map(int, ids) if token_id not in skipped]
        # The library counts unknown tokens as special, and they are to be seen.
        return self.tokenizer.decode(visible, skip_special_tokens=False)

    @property
    def has_end_token(self) -> bool:
        """Whether there is a token that ends a text."""
        return self.has_line_ends or self.tokenizer.id_to_token(END) == _END

    @property
    def has_line_ends(self) -> bool:
        """Whether `END` ends each line of a text, as with white-space words."""
        return self.tokenizer.id_to_token(UNKNOWN) == _SPECIAL_WORDS[UNKNOWN]

    @property
    def preserves_text(self) -> bool:
        """Whether decoding returns a text as it was, where all tokens are in the vocabulary."""
        return self.tokenizer.decoder is not None

    def unknown_shares(self, texts: Iterable[str], max_tokens: int = 0) -> list[float]:
        """Returns the share of unknown tokens of each text, 1 for a text without tokens.

        Args:
          texts: as for `encode`.
          max_tokens: as for `encode`.
        """
        sequences = self.encode(texts, max_tokens)
        cumulative = np.concatenate([[0], np.cumsum(sequences.values != UNKNOWN)])
        counts = np.diff(cumulative[sequences.offsets])
        return (1 - counts / np.maximum(sequences.lengths, 1)).tolist()

    def advise_unicode_form(self, texts: Sequence[str], max_tokens: int = 0) -> str:
        """Advises to normalize texts that have fewer unknown tokens in another Unicode form.

        The same letters may be other code points (NFC, NFD) than in the texts that the vocabulary
        was fitted on, and no vocabulary normalizes. Returns '' where that is not the case.

        Args:
          texts: as for `encode`.
          max_tokens: as for `encode`.
        """
        for form in ("NFC", "NFD"):
            if all(unicodedata.is_normalized(form, text) for text in texts):
                continue
            share = unknown_share(self.encode(texts, max_tokens).values)
            normalized = [unicodedata.normalize(form, text) for text in texts]
            share_in_form = unknown_share(self.encode(normalized, max_tokens).values)
            if share_in_form < share / 2:
                return f"; in the Unicode form {form} {share_in_form:.1%} are: convert the text"
        return ""


def _encode_ascii_words(texts: Sequence[str], ids: dict[bytes, int], max_tokens: int) -> Sequences:
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


def _encode_characters(
    texts: Sequence[str], table: Int32[np.ndarray, " codes"], max_tokens: int
) -> Sequences:
    """Encodes texts by the id of each code point."""
    texts = [text[:max_tokens] for text in texts] if max_tokens else texts
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return Sequences(table[_code_points(texts)], offsets)


def _code_points(texts: Sequence[str]) -> UInt32[np.ndarray, " characters"]:
    return np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")


def _fit_characters(
    texts: Iterable[str], size: int, special: Sequence[str]
) -> tokenizers.Tokenizer:
    """Returns a tokenizer of the commonest characters, as the library's trainer makes it."""
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    texts = iter(texts)
    while part := list(itertools.islice(texts, _TEXTS_PER_CALL)):
        points, numbers = np.unique(_code_points(part), return_counts=True)
        counts[points] += numbers
    (points,) = np.nonzero(counts)
    points = points[np.argsort(-counts[points], kind="stable")][: max(size - len(special), 0)]
    tokenizer, trainer = _make_tokenizer("character", size, list(special))
    tokenizer.train_from_iterator([], trainer)
    ids = {token: number for number, token in enumerate([*special, *map(chr, points)])}
    tokenizer.model = models.WordLevel(ids, unk_token=_UNKNOWN)
    return tokenizer


def _fit_whitespace_words(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """Returns a tokenizer of the commonest words; equal counts rank by first occurrence."""
    special = {name: token_id for token_id, name in enumerate(_SPECIAL_WORDS)}
    counts: collections.Counter[str] = collections.Counter()  # in the order of first occurrence
    for text in texts:
        counts.update(_WORD.findall(text.replace("\n", f" {_SPECIAL_WORDS[END]} ")))
    names = [name for name, _ in counts.most_common() if name not in special]
    names = names[: max(size - len(special), 0)]
    return _whitespace_tokenizer(special | {name: len(special) + i for i, name in enumerate(names)})


def _whitespace_tokenizer(ids: dict[str, int]) -> tokenizers.Tokenizer:
    """Returns a tokenizer of words between white space, with a token for each end of a line."""
    _, unknown, end = _SPECIAL_WORDS
    tokenizer = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.Replace("\n", f" {end} ")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def _make_tokenizer(
    unit: Unit, size: int, special: list[str]
) -> tuple[tokenizers.Tokenizer, trainers.Trainer]:
    """Returns an untrained tokenizer of a unit, and its trainer."""
    options = {"vocab_size": size, "special_tokens": special, "show_progress": False}
    if unit == "subword":
        tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=_UNKNOWN))
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
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
    if unit == "word":
        strip = normalizers.Replace(tokenizers.Regex(_PUNCTUATION), "")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), strip])
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.WordLevelTrainer(**options)


def _check_unicode(texts: Iterable[str]) -> Iterable[str]:
    for number, text in enumerate(texts, start=1):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {number} is not valid Unicode (character {error.start + 1} is half of a "
                "pair or a byte of another encoding): give it as UTF-8"
            ) from None
        yield text


def count_tokens(
    tokens: Int[np.ndarray, " tokens"], vocab_size: int = 0
) -> Int64[np.ndarray, " vocabulary"]:
    """Counts each token id; mapped tokens are read part by part.

    Args:
      tokens: any ids.
      vocab_size: least number of counts.
    """
    counts = np.zeros(vocab_size, np.int64)
    for part in read_blocks(tokens):
        numbers = np.bincount(part, minlength=len(counts))
        numbers[: len(counts)] += counts
        counts = numbers
    return counts


def unknown_share(tokens: Int[np.ndarray, " tokens"]) -> float:
    """Returns the share of unknown tokens, 0 without tokens."""
    unknown = sum(np.count_nonzero(part == UNKNOWN) for part in read_blocks(tokens))
    return unknown / len(tokens) if len(tokens) else 0.0


def has_excess_unknowns(share: float, training_share: float) -> bool:
    """Returns whether a share of unknown tokens far exceeds that of the training text."""
    return share > max(_MAX_UNKNOWN_SHARE, 2 * training_share)
