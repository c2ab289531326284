"""Vocabularies: text to token ids and back."""

import functools
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int, Int32, Int64

from rnnjax.data.array_files import read_blocks
from rnnjax.data.sequences import Sequences
from rnnjax.data.tokenization import (
    END,
    END_TOKEN,
    PADDING,
    PADDING_TOKEN,
    SPECIAL_WORDS,
    UNKNOWN,
    UNKNOWN_TOKEN,
    Unit,
    encode_ascii_words,
    encode_characters,
    fit_characters,
    fit_whitespace_words,
    make_tokenizer,
)
from rnnjax.errors import InputError
from rnnjax.input_files import load_text

_MAX_UNKNOWN_SHARE = 0.1
"""Share of unknown tokens up to which no warning is due."""


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
        special = [PADDING_TOKEN, UNKNOWN_TOKEN, *([END_TOKEN] if end_token else [])]
        if unit == "whitespace":
            special = list(SPECIAL_WORDS)
            tokenizer = fit_whitespace_words(texts, size)
        elif unit == "character":
            tokenizer = fit_characters(texts, size, special)
        else:
            tokenizer, trainer = make_tokenizer(unit, size, special)
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
        is_whitespace = first == list(SPECIAL_WORDS[:2])
        if not is_whitespace and first != [PADDING_TOKEN, UNKNOWN_TOKEN]:
            raise InputError(
                f"{path}: its tokens 0 and 1 are {first}, expected "
                f"{[PADDING_TOKEN, UNKNOWN_TOKEN]}, which networks read as padding and unknown; "
                "restore the file, or train again in a new folder"
            )
        ids = tokenizer.get_vocab()
        if sorted(ids.values()) != list(range(len(ids))):
            raise InputError(
                f"{path}: its {len(ids)} tokens are numbered up to {max(ids.values())}, "
                f"expected each number from 0 to {len(ids) - 1} once; restore the file, or "
                "train again in a new folder"
            )
        end = SPECIAL_WORDS[END] if is_whitespace else END_TOKEN
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
            return encode_characters(texts, table, max_tokens)
        ids = self._ascii_word_ids
        if ids is None:
            return self._tokenize(texts, max_tokens)
        is_ascii = np.array([text.isascii() and "\0" not in text for text in texts], bool)
        if is_ascii.all():
            return encode_ascii_words(texts, ids, max_tokens)
        rows, others = np.flatnonzero(is_ascii), np.flatnonzero(~is_ascii)
        parts = [
            encode_ascii_words([texts[row] for row in rows], ids, max_tokens),
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
            for tokenizer in (self.tokenizer, make_tokenizer(unit, 0, [])[0])
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
        return self.has_line_ends or self.tokenizer.id_to_token(END) == END_TOKEN

    @property
    def has_line_ends(self) -> bool:
        """Whether `END` ends each line of a text, as with white-space words."""
        return self.tokenizer.id_to_token(UNKNOWN) == SPECIAL_WORDS[UNKNOWN]

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
