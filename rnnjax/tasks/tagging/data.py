"""Batches of labelled tokens: rows, vocabulary, alphabet and padded lengths."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from rnnjax.config import Config
from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import Batches, fit_boundaries, hold_out
from rnnjax.data.dataset import TextDataset
from rnnjax.data.sequences import Sequences
from rnnjax.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from rnnjax.tasks.tagging.config import TaggingConfig
from rnnjax.tasks.tagging.corpus import TaggedText, TaggingCorpus

MAX_ALPHABET = 1_000
_SPECIAL = {"[PAD]": PADDING, "[UNK]": UNKNOWN}


@dataclasses.dataclass(frozen=True, eq=False)
class TokenBatches(Batches):
    """Batches of labelled tokens, with the characters of each token beside its id if any."""

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The token ids of all texts."""
        values = self.sequences.values
        return values if values.ndim == 1 else values[:, 0]


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Encodes texts for a tagger.

    Attributes:
      vocabulary: of tokens as they stand.
      labels: of the network.
      alphabet: the characters that it knows; '' for a network that reads none.
      characters_per_token: of a token, from its start.
    """

    vocabulary: Vocabulary
    labels: Sequence[str]
    alphabet: str
    characters_per_token: int

    @classmethod
    def from_metadata(
        cls, config: Config, vocabulary: Vocabulary, metadata: Mapping[str, Any]
    ) -> "Encoder":
        """Returns the encoder of a config, for the labels and the alphabet of its data."""
        limit = config.section(TaggingConfig).characters_per_token
        return cls(vocabulary, metadata["classes"], metadata["alphabet"], limit)

    def inputs(self, texts: Sequence[Sequence[str]]) -> Sequences:
        """Encodes tokens as ids, `[tokens]`, or `[tokens, 1 + characters]` with characters."""
        ids = self.vocabulary.tokenizer.get_vocab()
        tokens = list(itertools.chain.from_iterable(texts))
        values = np.array([ids.get(token, UNKNOWN) for token in tokens], np.int32)
        values[values == PADDING] = UNKNOWN  # a token that is spelled as the padding
        if self.alphabet:
            values = np.concatenate([values[:, None], self._spell(tokens)], axis=1)
        return Sequences(values, _offsets(texts))

    def targets(self, labels: Sequence[Sequence[str]]) -> Sequences:
        """Encodes labels as classes."""
        classes = {label: number for number, label in enumerate(self.labels)}
        values = [classes[label] for label in itertools.chain.from_iterable(labels)]
        return Sequences(np.array(values, np.int32), _offsets(labels))

    def _spell(self, tokens: Sequence[str]) -> Int32[np.ndarray, "tokens characters"]:
        ids = {character: number for number, character in enumerate(self.alphabet, UNKNOWN + 1)}
        spelled = {}
        for token in dict.fromkeys(tokens):
            numbers = [ids.get(character, UNKNOWN) for character in token]
            row = np.full(self.characters_per_token, PADDING, np.int32)
            row[: len(numbers)] = numbers[: self.characters_per_token]
            spelled[token] = row
        shape = (len(tokens), self.characters_per_token)
        return np.array([spelled[token] for token in tokens], np.int32).reshape(shape)


@dataclasses.dataclass(frozen=True)
class TaggedDataset(TextDataset[TokenBatches]):
    """A data set of labelled tokens, and the alphabet of the network."""

    corpus: TaggingCorpus
    alphabet: str = ""

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, ready for JSON."""
        return {**super().describe(), "alphabet": self.alphabet}

    def texts(self, config: DataConfig, split: str) -> list[str]:
        """Returns the texts of a split, tokens joined by spaces, or characters by nothing."""
        texts = self.corpus.splits[split][: config.take or None]
        return [token_separator(self.corpus.metadata).join(text.tokens) for text in texts]


def token_separator(metadata: Mapping[str, Any]) -> str:
    """Returns the text between tokens: nothing between characters, a space between words."""
    return "" if metadata["unit"] == "character" else " "


def fit_vocabulary(
    texts: Iterable[Sequence[str]], size: int, *, are_characters: bool = False
) -> Vocabulary:
    """Fits a vocabulary of the most frequent tokens as they stand.

    Args:
      texts: tokens to count.
      size: most entries, padding and unknown included. Equal counts: the first to occur.
      are_characters: a text without labels is split into characters, otherwise at white space.
    """
    counts = collections.Counter(itertools.chain.from_iterable(texts))
    for name in _SPECIAL:
        counts.pop(name, None)
    words = [token for token, _ in counts.most_common(max(size - len(_SPECIAL), 0))]
    ids = {**_SPECIAL, **{word: number for number, word in enumerate(words, len(_SPECIAL))}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    if are_characters:
        every = tokenizers.Regex(r"[\s\S]")
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(every, "isolated")
        tokenizer.decoder = tokenizers.decoders.Fuse()
    else:
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return Vocabulary(tokenizer)


def fit_alphabet(texts: Iterable[Sequence[str]]) -> str:
    """Returns the most frequent characters of tokens, at most `MAX_ALPHABET`."""
    tokens = collections.Counter(itertools.chain.from_iterable(texts))
    counts: collections.Counter[str] = collections.Counter()
    for token, count in tokens.items():
        for character in token:
            counts[character] += count
    return "".join(character for character, _ in counts.most_common(MAX_ALPHABET))


def make_dataset(
    config: Config, corpus: TaggingCorpus, vocabulary: Vocabulary | None = None
) -> TaggedDataset:
    """Splits a corpus, fits vocabulary and alphabet, and makes the batches of each split.

    Args:
      config: the data section, the batches, and the seed that draws the validation split.
      corpus: as `rnnjax.tasks.tagging.corpus.load_corpus` returns it.
      vocabulary: None to fit one.

    Raises:
      InputError: there are too few texts for the validation split.
    """
    data, take = config.data, slice(config.data.take or None)
    train, test = corpus.splits["train"][take], corpus.splits["test"][take]
    train_rows, validation_rows = hold_out(len(train), data.validation, config.seed)
    fitted = [train[row].tokens for row in train_rows[: data.vocabulary.rows or None]]
    if vocabulary is None:
        are_characters = corpus.metadata["unit"] == "character"
        size = data.vocabulary.size
        vocabulary = fit_vocabulary(fitted, size, are_characters=are_characters)
    spells = config.section(TaggingConfig).character_features
    alphabet = fit_alphabet(fitted) if spells else ""
    encoder = Encoder.from_metadata(config, vocabulary, {**corpus.metadata, "alphabet": alphabet})

    def batches(texts: Sequence[TaggedText], **options: Any) -> TokenBatches:
        return make_batches(config, encoder, texts, **options)

    training = fit_boundaries(
        batches(
            [train[row] for row in train_rows],
            shuffle=data.shuffle,
            group_size=config.steps_per_call,
        ),
        data.buckets,
        epochs=config.epochs,
        seed=config.seed,
    )
    assert isinstance(training, TokenBatches)
    padded = {"boundaries": training.boundaries}
    validation = corpus.splits.get("validation", [train[row] for row in validation_rows])[take]
    return TaggedDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=training,
        validation=batches(validation, **padded) if validation else None,
        test=batches(test, **padded),
        alphabet=alphabet,
    )


def make_batches(
    config: Config, encoder: Encoder, texts: Sequence[TaggedText], **options: Any
) -> TokenBatches:
    """Encodes labelled texts and returns them as batches, in their order by default."""
    options = {"shuffle": False, "bucketing": config.data.bucketing} | options
    return TokenBatches(
        encoder.inputs([text.tokens for text in texts]),
        encoder.targets([text.labels for text in texts]),
        config.batch_size,
        **options,
    )


def _offsets(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
