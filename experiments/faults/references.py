"""Independent readers of each format: the oracle of files whose damage made another valid file.

Each takes the content and returns what a reader has to make of it, or None where there is nothing
valid to be read and a reader has to refuse.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np


def text(content: bytes) -> str | None:
    """Returns UTF-8 without NUL, its byte order mark removed."""
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in decoded else decoded.removeprefix("\ufeff")


def rows(content: bytes, classes: int = 4) -> list[tuple[int, str, str]] | None:
    """Returns the rows of a CSV file."""
    decoded = text(content)
    if decoded is None:
        return None
    csv.field_size_limit(10**9)
    try:
        found = [row for row in csv.reader(io.StringIO(decoded, newline=""), strict=True) if row]
    except csv.Error:
        return None
    labels = {str(number + 1): number for number in range(classes)}
    if not found or any(len(row) != 3 or row[0] not in labels for row in found):
        return None
    return [(labels[label], title, description) for label, title, description in found]


def names(content: bytes) -> tuple[str, ...] | None:
    """Returns the names of classes, one a line."""
    decoded = text(content)
    if decoded is None:
        return None
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", decoded)]
    found = tuple(line for line in lines if line)
    return found if len(found) >= 2 and len(set(found)) == len(found) else None


def lines(content: bytes) -> tuple[str, ...] | None:
    """Returns the lines of one side of pairs."""
    decoded = text(content)
    if not decoded:
        return None
    found = decoded.replace("\r\n", "\n").split("\n")
    return tuple(found[:-1] if found[-1] == "" else found)


def unpacked(content: bytes) -> bytes | None:
    """Returns the content of a gzip file."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return None


def vectors(
    content: bytes, words: Collection[str], features: int, normalize: Callable[[str], str]
) -> dict[str, bytes] | None:
    """Returns the float32 bytes of the vector of each word, of any format of vectors."""
    if content[:2] == b"\x1f\x8b":
        inside = unpacked(content)
        return None if inside is None else vectors(inside, words, features, normalize)
    content = content.removeprefix(b"\xef\xbb\xbf")
    head, _, rest = content.partition(b"\n")
    counted = re.fullmatch(rb"\s*(\d{1,18})\s+(\d{1,18})\s*", head)
    count = int(counted[1]) if counted else None
    if counted and int(counted[2]) != features:
        return None
    first = rest.lstrip(b" \t\r\n").partition(b"\n")[0].rsplit(None, features)
    plain = len(first) > features and all(map(_NUMBER.fullmatch, first[1:]))
    binary = counted and not plain and re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", rest[:4096])
    read = _binary if binary else _text
    entries = read(rest if counted else content, features, count)
    if entries is None:
        return None
    exact: dict[str, Any] = {}
    alike: dict[str, Any] = {}
    for letters, numbers in entries:
        try:
            word = letters.decode()
        except UnicodeDecodeError:
            continue
        into = exact
        if word not in words:
            into, word = alike, normalize(word)
        if word in words:
            into.setdefault(word, numbers)
    found = {**alike, **exact}
    if not found or any(
        numbers is None or not np.isfinite(numbers).all() for numbers in found.values()
    ):
        return None
    return {word: numbers.astype("<f4").tobytes() for word, numbers in sorted(found.items())}


_NUMBER = re.compile(rb"[-+]?\d*\.?\d+([eE][-+]?\d+)?")
Entries = list[tuple[bytes, Any]] | None


def _binary(rest: bytes, features: int, count: int | None) -> Entries:
    entries, place, size = [], 0, 4 * features
    for _ in range(count or 0):
        space = rest.find(b" ", place)
        numbers = rest[space + 1 : space + 1 + size]
        if space < 0 or len(numbers) < size:
            return None
        entries.append((rest[place:space].lstrip(b"\n"), np.frombuffer(numbers, "<f4")))
        place = space + 1 + size
    return None if rest[place:].strip() else entries


def _text(rest: bytes, features: int, count: int | None) -> Entries:
    entries = []
    for line in rest.split(b"\n"):
        if not line.strip():
            continue
        word, *fields = line.rsplit(None, features)
        inside = sum(bool(_NUMBER.fullmatch(field)) for field in word.split()[1:])
        if len(fields) != features or inside >= features - 1:  # a line has lost its end
            return None
        plain = all(re.fullmatch(rb"[-+.eE\d]+", field) for field in fields)
        try:
            with np.errstate(over="ignore"):
                numbers = (
                    np.array([float(field) for field in fields]).astype("<f4") if plain else None
                )
        except ValueError:
            numbers = None
        entries.append((word, numbers))
    return entries if count in (None, len(entries)) else None
