"""A process that encodes texts as token ids: `python -m rnnjax.data.encoding_worker`.

It reads pickled messages from its standard input, which `rnnjax.data.token_files` sends: the
vocabulary and the limit of tokens, then a piece at a time. It answers each with a line.
"""

import itertools
import pickle
import sys
from pathlib import Path

import numpy as np
import tokenizers

from rnnjax.data.array_files import write_piece
from rnnjax.data.vocabulary import Vocabulary


def main() -> None:
    """Encodes pieces until the standard input ends."""
    serialized, max_tokens = pickle.load(sys.stdin.buffer)
    vocabulary = Vocabulary(tokenizers.Tokenizer.from_str(serialized))
    _answer()
    while True:
        try:
            path, utf8, offsets = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        texts = [utf8[start:end].decode() for start, end in itertools.pairwise(offsets.tolist())]
        encode_piece(Path(path), texts, vocabulary, max_tokens)
        _answer()


def _answer() -> None:
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def encode_piece(path: Path, texts: list[str], vocabulary: Vocabulary, max_tokens: int) -> None:
    """Encodes texts, and writes their token ids and lengths to a file that is there or is whole."""
    sequences = vocabulary.encode(texts, max_tokens)
    values = sequences.values.astype(token_dtype(len(vocabulary)))
    write_piece(path, {"values": values, "lengths": sequences.lengths})


def token_dtype(vocab_size: int) -> np.dtype:
    """Returns the dtype of token ids in files."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.int32)


if __name__ == "__main__":
    main()
