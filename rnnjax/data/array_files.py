"""Arrays larger than memory: written part by part to .npy files of the cache, and mapped."""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Shaped

from rnnjax.cache import cache_directory
from rnnjax.errors import InputError
from rnnjax.input_files import explain, load_text, open_regular, parse_json, reading
from rnnjax.reporting.atomic_files import lock_file
from rnnjax.reporting.progress import write_message

Array = Shaped[np.ndarray, " items"]

MAX_BYTES_IN_MEMORY = 64 * 2**20
"""Files of more bytes are read where they are needed, and so is what is made of them."""

PIECES = "pieces"
"""Folder of files that a preparation resumes from, deleted at its end."""

_HEADER = "header.json"
_BLOCK = 2**22
"""Items of an array that are read at once."""


def is_large(path: Path) -> bool:
    """Returns whether a file has more than `MAX_BYTES_IN_MEMORY`.

    Raises:
      InputError: there is no such file.
    """
    with reading(path):
        return path.stat().st_size > MAX_BYTES_IN_MEMORY


class ArrayWriter:
    """Writes an array to a .npy file, part by part along its first axis."""

    def __init__(self, path: Path, dtype: Any, row_shape: tuple[int, ...] = ()):
        """Creates the file, or empties it; `row_shape` is that of the other axes."""
        self._file: IO[bytes] = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._count = 0
        self._write_header()

    def append(self, values: Shaped[np.ndarray, "items ..."]) -> None:
        """Appends values, converted to the dtype of the file."""
        np.ascontiguousarray(values, self._dtype).tofile(self._file)
        self._count += len(values)

    def close(self) -> None:
        """Writes the length into the file, and closes it."""
        with self._file:
            self._file.seek(0)
            self._write_header()

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.close()

    def _write_header(self) -> None:
        # The format leaves room for any length along the first axis.
        description = np.lib.format.dtype_to_descr(self._dtype)
        shape = (self._count, *self._row_shape)
        header = {"descr": description, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()


def write_piece(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an .npz file that is either absent or whole."""
    scratch = path.with_suffix(f".{os.getpid()}")
    with scratch.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    scratch.replace(path)


def read_piece(path: Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a file of `write_piece`; None if it is absent or damaged."""
    try:
        with open_regular(path) as raw, BufferedReader(raw) as file, np.load(file) as arrays:
            return dict(arrays)
    # Damaged files raise whatever the readers of their formats happen to raise.
    except Exception:
        return None


def map_array(path: Path) -> Array:
    """Maps the array of a .npy file into memory, read-only.

    Raises:
      OSError: the file cannot be read.
      ValueError: it holds no array, or is shorter than its array.
    """
    open_regular(path).close()  # NumPy would wait for the writer of a pipe
    # The mapping refuses a truncated file.
    # A plain array over the map: slices of a memmap object cost several times as much.
    return np.asarray(np.load(path, mmap_mode="r"))


def release_pages(array: np.ndarray) -> None:
    """Unloads the pages of a mapped array from memory; an array in memory stays as it is.

    They are read again from the file, or the system's cache of it, when they are used.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def read_blocks(array: Array) -> Iterator[Array]:
    """Yields consecutive parts of an array, and unloads each from memory if it is mapped."""
    for start in range(0, len(array), _BLOCK):
        yield array[start : start + _BLOCK]
        release_pages(array)


def prepare_folder(
    kind: str, name: str, key: str, prepare: Callable[[Path], None], root: Path | None = None
) -> Path:
    """Returns a folder of the cache with the files that `prepare` writes; it is called once.

    Every file is verified by its SHA-256, and a damaged folder is prepared again. A preparation
    that is cut off leaves its folder, with which the next one goes on. Other processes wait for it.

    Args:
      kind: folder in the cache: 'tokens'.
      name: of the data, for the folder's name.
      key: SHA-256 of everything that determines the files, as hexadecimal digits.
      prepare: writes files to a folder, which holds those of a preparation that was cut off.
      root: the cache's folder; None for that of the user.

    Raises:
      InputError: the cache cannot be written. Those of `prepare` pass.
    """
    root = cache_directory(root)
    folder = root / kind / f"{name}-{key[:16]}"
    scratch = folder.with_name(f"preparing-{folder.name}")
    if _is_verified(folder, key):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not _is_verified(folder, key):
                scratch.mkdir(exist_ok=True)
                prepare(scratch)
                shutil.rmtree(scratch / PIECES, ignore_errors=True)
                digests = {path.name: digest_file(path) for path in sorted(scratch.iterdir())}
                header = json.dumps({"key": key, "files": digests}, indent=1)
                (scratch / _HEADER).write_text(header + "\n", encoding="utf-8")
                if folder.exists():
                    shutil.rmtree(folder)
                scratch.rename(folder)
    except OSError as error:
        cause, remedy = explain(error)
        raise InputError(
            f"the cache {root} cannot be written ({cause}); prepared data are kept there: "
            f"{remedy}, or set the environment variable RNNJAX_CACHE to another folder"
        ) from error
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for the lock of a file."""
    is_announced = False
    while True:
        try:
            lock = lock_file(path)
            break
        except BlockingIOError:
            if not is_announced:
                write_message(f"Waiting for another process, which prepares {path.stem}")
            is_announced = True
            time.sleep(0.2)
    with lock:
        yield


def _is_verified(folder: Path, key: str) -> bool:
    """Returns whether a folder holds the files of a preparation; damage is reported."""
    if not folder.exists():
        return False
    try:
        header = parse_json(load_text(folder / _HEADER))
        damaged = [
            name for name, sha in header["files"].items() if digest_file(folder / name) != sha
        ]
        if header["key"] == key and not damaged:
            return True
        reason = f"{damaged[0]} has another digest" if damaged else "it is of other data"
    # Damaged files raise whatever the readers of their formats happen to raise.
    except Exception as error:
        reason = str(error)
    write_message(f"WARNING: the prepared data {folder} are damaged ({reason}); prepared again")
    return False


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a regular file of any size, as hexadecimal digits.

    Raises:
      OSError: it cannot be read.
    """
    # Without the limit of files that are read into memory.
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
