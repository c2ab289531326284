"""Batches of contiguous text for truncated backpropagation, a pure function of seed and step."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from rnnjax.config import Config
from rnnjax.config.sections import DataConfig
from rnnjax.data.corpora import load as load_labelled
from rnnjax.data.corpora import plain_text
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.dataset import TextDataset
from rnnjax.data.sequences import Sequences
from rnnjax.data.streams import Stream
from rnnjax.data.token_files import encode_stream, fit_vocabulary
from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError

_WARM_UP = 256
"""Tokens that a row of an evaluation of documents reads before those that are scored, because a
text that begins in its middle is not the text to be predicted."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextStream(Stream):
    """The tokens of a text, each with the next one as its target; a restarting row reads `END`.

    Attributes:
      tokens: all tokens of the text, of which `inputs` and `targets` are views.
      num_characters: of the text before it was encoded; 0 if the tokens do not preserve it.
      num_bytes: likewise, in UTF-8.
    """

    restart_input: int | None = END
    tokens: Any = None  # pyright: ignore
    num_characters: int = 0
    num_bytes: int = 0

    @classmethod
    def of_tokens(
        cls,
        tokens: Int[np.ndarray, " tokens"],
        batch_size: int,
        sequence_length: int,
        **options: Any,
    ) -> Self:
        """Returns the stream of at least two tokens; options are the other attributes.

        Raises:
          InputError: there are fewer.
        """
        if len(tokens) < 2:
            raise InputError(
                f"the text: given {len(tokens)} tokens, and each predicts the next one; expected "
                "at least 2, so give more text"
            )
        options["tokens"] = tokens
        return cls(tokens[:-1], tokens[1:], batch_size, sequence_length, **options)


@dataclasses.dataclass(frozen=True)
class TextStreamDataset(TextDataset[TextStream]):
    """A data set of running text, or of texts that are read one after the other."""

    corpus: TextCorpus

    def texts(self, config: DataConfig, split: str) -> Sequence[str]:
        """Returns the texts of a split; none of connected text, whose pieces are no texts."""
        connected = self.corpus.connected
        return () if connected else self.corpus.splits[split][: config.take or None]


def load_corpus(config: DataConfig) -> TextCorpus:
    """Loads the text of the files or of the labelled corpus that a data section names.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    if config.file:
        evaluation_files = config.validation_file, config.test_file
        return plain_text.load_text_files(
            Path(config.file), *(Path(name) if name else None for name in evaluation_files)
        )
    names = {"text": config.text, "label": "", "test": config.test}
    corpus = load_labelled(config.corpus, config.dir, config.fallback, **names)
    return plain_text.strip_labels(corpus, config.text)


def make_dataset(
    config: Config, corpus: TextCorpus, vocabulary: Vocabulary | None = None
) -> TextStreamDataset:
    """Splits a text, fits the vocabulary and makes the stream of each split.

    The validation split is that of the corpus, or the end of the training texts, whatever the seed.

    Args:
      config: the data section, and the batches.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit one as `config.data.vocabulary` says.

    Raises:
      InputError: there is too little text for the validation split.
    """
    data, connected = config.data, corpus.connected
    train, validation, test = (
        corpus.splits.get(name, [])[: data.take or None] for name in ("train", "validation", "test")
    )
    train_texts = train
    if data.validation:
        train_texts, validation = plain_text.split_off(train, data.validation, connected=connected)
        if not (len(train_texts) and len(validation)):
            raise InputError(
                f"config.data.validation: {data.validation} of {len(train)} training texts is "
                f"{len(validation)}; expected at least one on either side, so take more"
            )
    if vocabulary is None:
        options = data.vocabulary
        texts = train_texts[: options.rows or None]
        vocabulary = fit_vocabulary(texts, options.size, options.unit, end_token=True)

    def evaluation_stream(name: str, texts: Sequence[str]) -> TextStream:
        shape = config.batch_size, data.sequence_length
        return make_evaluation_stream(name, texts, vocabulary, *shape, connected=connected)

    return TextStreamDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=TextStream.of_tokens(
            encode_texts("train", train_texts, vocabulary, connected=connected),
            config.batch_size,
            data.sequence_length,
            shuffle=data.shuffle,
            restarts=data.restarts,
            length_variation=data.length_variation,
            group_size=config.steps_per_call,
        ),
        validation=evaluation_stream("validation", validation) if len(validation) else None,
        test=evaluation_stream("test", test),
    )


def make_evaluation_stream(
    name: str,
    texts: Sequence[str],
    vocabulary: Vocabulary,
    batch_size: int,
    sequence_length: int,
    *,
    connected: bool,
) -> TextStream:
    """Returns texts as an unshuffled stream.

    Connected text is one row, from the initial state to the end, as language models are compared:
    each token but the first is a target once. Rows of documents, whose states end with each
    document, warm up on the preceding tokens.

    Args:
      name: as for `encode_texts`.
      texts: as for `encode_texts`.
      vocabulary: as for `encode_texts`.
      batch_size: as for `Stream`.
      sequence_length: as for `Stream`.
      connected: as for `encode_texts`.
    """
    tokens = encode_texts(name, texts, vocabulary, connected=connected)
    options: dict[str, Any] = {"shuffle": False}
    if vocabulary.preserves_text:
        options["num_characters"] = plain_text.count_characters(texts)
        options["num_bytes"] = sum(len(text.encode()) for text in texts)
    if not connected:
        options["warm_up"] = _WARM_UP
        return TextStream.of_tokens(tokens, batch_size, sequence_length, **options)
    # As many tokens in a batch as in training.
    options["restart_input"] = None
    return TextStream.of_tokens(tokens, 1, batch_size * sequence_length, **options)


def encode_texts(
    name: str, texts: Sequence[str], vocabulary: Vocabulary, *, connected: bool
) -> Int[np.ndarray, " tokens"]:
    """Encodes texts as one array of tokens.

    `END` stands before each document and after the last, and at both ends of connected text. With
    white-space words, `END` stands at the end of each line of connected text instead, and a
    document is one line.

    Args:
      name: of the split, for the progress.
      texts: documents, or the pieces of one text.
      vocabulary: with an end token.
      connected: the texts are one.
    """
    has_lines = connected and vocabulary.has_line_ends
    if vocabulary.has_line_ends and not connected:
        texts = [text.replace("\n", " ") for text in texts]

    def join(parts: Iterable[Sequences]) -> Iterator[np.ndarray]:
        if connected and not has_lines:
            yield np.array([END])
        last = None
        for sequences in parts:
            tokens = np.insert(sequences.values, [] if connected else sequences.offsets[:-1], END)
            last = tokens[-1] if len(tokens) else None
            yield tokens
        if not (has_lines and last == END):
            yield np.array([END])

    return encode_stream(name, texts, vocabulary, join, f"connected {connected}")
