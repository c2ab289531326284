"""Tokens of texts larger than memory: encoded by several processes, in files of the cache."""

import contextlib
import hashlib
import itertools
import json
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.data import array_files, encoding_worker
from rnnjax.data.array_files import (
    PIECES,
    Array,
    ArrayWriter,
    map_array,
    prepare_folder,
    read_piece,
    release_pages,
)
from rnnjax.data.corpora.corpus import JoinedTexts, TextColumn
from rnnjax.data.encoding_worker import token_dtype
from rnnjax.data.sequences import Sequences
from rnnjax.data.tokenization import Unit
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress

FORMAT_VERSION = 1
"""Raise it when the files, or the tokens of the same texts, change."""

_PIECE_BYTES = 16 * 2**20
"""Bytes of the texts that are encoded at once by one process."""
_BLOCK_BYTES = 2**20
"""Bytes of the texts whose characters are counted at once."""
_MAX_WORKERS = 4
"""Processes that encode at the same time, few enough for a small memory."""
_TEXTS_PER_CALL = 10_000
"""Texts that are encoded between two updates of the progress."""

Texts = Sequence[str] | TextColumn | JoinedTexts


def encode(name: str, texts: Texts, vocabulary: Vocabulary, max_tokens: int = 0) -> Sequences:
    """Encodes texts as token ids, in memory or, if they are larger than it, in mapped files.

    Args:
      name: of the split, for the progress.
      texts: as for `Vocabulary.encode`.
      vocabulary: maps tokens to ids.
      max_tokens: as for `Vocabulary.encode`.

    Returns:
      int32 tokens in memory, or mapped ones, uint16 where these are enough.
    """
    if not is_large(texts):
        parts = list(encode_parts(name, texts, vocabulary, max_tokens))
        return Sequences.concatenate(parts) if parts else vocabulary.encode([])

    def prepare(folder: Path) -> None:
        parts = _encode_files(name, texts, vocabulary, max_tokens, folder)
        with (
            ArrayWriter(folder / "tokens.npy", token_dtype(len(vocabulary))) as tokens,
            ArrayWriter(folder / "offsets.npy", np.int64) as offsets,
        ):
            count = 0
            offsets.append(np.zeros(1, np.int64))
            for part in parts:
                tokens.append(part.values)
                offsets.append(count + part.offsets[1:])
                count += len(part.values)

    folder = _prepare(name, texts, vocabulary, str(max_tokens), prepare)
    return Sequences(map_array(folder / "tokens.npy"), map_array(folder / "offsets.npy"))


def encode_stream(
    name: str,
    texts: Texts,
    vocabulary: Vocabulary,
    join: Callable[[Iterable[Sequences]], Iterator[Array]],
    variant: str,
) -> Array:
    """Encodes texts as one array of tokens, in memory or, if larger than it, in a mapped file.

    Args:
      name: as for `encode`.
      texts: as for `encode`.
      vocabulary: as for `encode`.
      join: yields the parts of the array, from those of the texts.
      variant: a description of `join`, which the file is kept under.
    """
    if not is_large(texts):
        parts = list(join(encode_parts(name, texts, vocabulary)))
        return np.concatenate(parts).astype(np.int32)

    def prepare(folder: Path) -> None:
        parts = _encode_files(name, texts, vocabulary, 0, folder)
        with ArrayWriter(folder / "tokens.npy", token_dtype(len(vocabulary))) as tokens:
            for part in join(parts):
                tokens.append(part)

    return map_array(_prepare(name, texts, vocabulary, variant, prepare) / "tokens.npy")


def fit_vocabulary(
    texts: Texts, size: int, unit: Unit = "word", *, end_token: bool = False
) -> Vocabulary:
    """Fits a vocabulary, which is kept in the cache if the texts are larger than memory.

    Args:
      texts: as for `Vocabulary.fit`.
      size: as for `Vocabulary.fit`.
      unit: as for `Vocabulary.fit`.
      end_token: as for `Vocabulary.fit`.

    Raises:
      InputError: the texts hold no token at all.
    """

    def fit() -> Vocabulary:
        with Progress("fit vocabulary", len(texts)) as progress:
            counted = _count_blocks if unit == "character" and is_large(texts) else _count
            return Vocabulary.fit(counted(texts, progress), size, unit, end_token=end_token)

    if not is_large(texts):
        return fit()
    key = _digest_texts(texts, size, unit, end_token)

    def prepare(folder: Path) -> None:
        (folder / "tokenizer.json").write_text(fit().to_json(), encoding="utf-8")

    folder = prepare_folder("vocabularies", unit, key, prepare)
    return Vocabulary.load(folder / "tokenizer.json")


def encode_parts(
    name: str, texts: Texts, vocabulary: Vocabulary, max_tokens: int = 0
) -> Iterator[Sequences]:
    """Yields the token ids of texts in consecutive parts, with progress."""
    with Progress(f"encode {name}", len(texts)) as progress:
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            yield vocabulary.encode(texts[start : start + _TEXTS_PER_CALL], max_tokens)
            progress.update(min(start + _TEXTS_PER_CALL, len(texts)))


def is_large(texts: Texts) -> bool:
    """Returns whether texts are read from files, and have more than `MAX_BYTES_IN_MEMORY`."""
    is_column = isinstance(texts, TextColumn | JoinedTexts)
    return is_column and texts.num_bytes > array_files.MAX_BYTES_IN_MEMORY


def _count(texts: Texts, progress: Progress) -> Iterator[str]:
    """Yields texts, and updates the progress."""
    for number, text in enumerate(texts, start=1):
        yield text
        if number % _TEXTS_PER_CALL == 0:
            progress.update(number)


def _count_blocks(texts: Any, progress: Progress) -> Iterator[str]:
    """Yields texts in files joined to blocks, which have the same characters."""
    for start, stop in itertools.pairwise(texts.split_rows(_BLOCK_BYTES)):
        block = texts[start:stop].compact()
        yield block.utf8.tobytes().decode()
        release_pages(block.utf8)
        progress.update(stop)


def _digest_texts(texts: Texts, *options: Any) -> str:
    """Returns the SHA-256 of texts in files, and of what is made of them."""
    assert isinstance(texts, TextColumn | JoinedTexts)
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, *options]).encode())
    texts.update_digest(digest)
    return digest.hexdigest()


def _prepare(
    name: str,
    texts: Texts,
    vocabulary: Vocabulary,
    variant: str,
    prepare: Callable[[Path], None],
) -> Path:
    key = _digest_texts(texts, vocabulary.to_json(), variant)
    return prepare_folder("tokens", name, key, prepare)


def _encode_files(
    name: str, texts: Texts, vocabulary: Vocabulary, max_tokens: int, folder: Path
) -> Iterator[Sequences]:
    """Encodes the pieces that have no file yet, and yields all of them in their order."""
    assert isinstance(texts, TextColumn | JoinedTexts)
    pieces = folder / PIECES
    pieces.mkdir(exist_ok=True)
    bounds = texts.split_rows(_PIECE_BYTES)
    paths = [pieces / f"{start}-{stop}.npz" for start, stop in itertools.pairwise(bounds)]
    missing: dict[Path, Any] = {
        path: texts[start:stop]
        for path, (start, stop) in zip(paths, itertools.pairwise(bounds), strict=True)
        if read_piece(path) is None
    }
    count = len(paths)
    with Progress(f"encode {name}", count, initial=count - len(missing), unit="pieces") as progress:
        settings = vocabulary.tokenizer.to_str(), max_tokens
        for done, _ in enumerate(_run_workers(missing, settings), count - len(missing) + 1):
            progress.update(done, examples=1)
    for path in paths:
        with np.load(path) as arrays:
            lengths = arrays["lengths"]
            yield Sequences(arrays["values"], np.concatenate([[0], np.cumsum(lengths)]))


def _run_workers(
    pieces: Mapping[Path, TextColumn | JoinedTexts], settings: tuple[str, int]
) -> Iterator[None]:
    """Encodes pieces in other processes to files; yields when one is done.

    Raises:
      InputError: a process ended, as one does that the system kills for want of memory.
    """
    cores = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

        def work(path: Path, texts: TextColumn | JoinedTexts) -> None:
            column = texts.compact()
            process = idle.get()
            try:
                _send(process, (str(path), column.utf8.tobytes(), np.asarray(column.offsets)))
            finally:
                idle.put(process)
            release_pages(column.utf8)

        workers = max(min(cores, _MAX_WORKERS, len(pieces)), 1)
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for _ in range(workers if pieces else 0):
            # Stopped before the pool waits for its threads, which wait for the processes.
            process = stack.enter_context(_start_worker())
            stack.callback(_stop_worker, process)
            _send(process, settings)
            idle.put(process)
        futures = [pool.submit(work, path, texts) for path, texts in pieces.items()]
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for future in as_completed(futures):
            future.result()
            yield


def _start_worker() -> "subprocess.Popen[bytes]":
    # Not a fork, which threads do not survive, nor one of multiprocessing, which imports the
    # program that runs.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "RAYON_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", encoding_worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        process_group=0,  # Ctrl-C reaches this process alone, which ends the others
    )


def _stop_worker(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):  # of a message that was cut off
        process.stdin.close()


def _send(process: "subprocess.Popen[bytes]", message: Any) -> None:
    """Sends a message to a worker, and waits for its answer."""
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(message, process.stdin)
        process.stdin.flush()
    if not process.stdout.readline():
        raise InputError(
            f"a process that encodes texts ended (exit status {process.wait()}), killed for want "
            "of memory perhaps: free memory, and repeat the command, which goes on from there"
        )
