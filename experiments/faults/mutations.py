"""Damages bytes, JSON values and paths, each as a pure function of a random generator."""

import gzip
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

TEXTS = [
    *("", " ", "None", "1", "\x1b[2J\x1b]0;x\x07", "a" * 100_000, "\0", "\ud800", "../../..", "~"),
    *("~nobody/x", "%s{0}$HOME", "[PAD]", "é\u0301\u2028\u202e", "\n\n", "LSTMCell\n", "-1", "inf"),
]
NUMBERS = [
    *(0, 1, -1, 2, 3, 10**6, 10**12, 2**31, 2**63, 10**400, -(10**30)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e300, float("nan"), float("inf"), -float("inf")),
]
CONTAINERS: list[Any] = [None, True, False, [], {}, [1, [2]], {"a": 1}, {"": {}}, ["x"] * 1000]


def value(rng: Random) -> Any:
    """Returns an unusual text, number or container."""
    return rng.choice(rng.choice([TEXTS, NUMBERS, CONTAINERS]))


def nested(depth: int = 5_000) -> dict[str, Any]:
    """Returns deeply nested mappings."""
    inside: dict[str, Any] = {}
    for _ in range(depth):
        inside = {"a": inside}
    return inside


def _place(rng: Random, content: bytes) -> int:
    return rng.randrange(len(content) + 1)


def _span(rng: Random, content: bytes) -> tuple[int, int]:
    first, last = sorted((_place(rng, content), _place(rng, content)))
    return first, last


def _flip_bit(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _replace_bytes(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 2, 20])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _insert_bytes(rng: Random, content: bytes, pieces: list[bytes]) -> bytes:
    place = _place(rng, content)
    return content[:place] + rng.choice(pieces) + content[place:]


def _truncate(rng: Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) or 1)]


def _delete_span(rng: Random, content: bytes) -> bytes:
    first, last = _span(rng, content)
    return content[:first] + content[last:]


def _repeat_span(rng: Random, content: bytes) -> bytes:
    first, last = _span(rng, content)
    return content[:last] + content[first:]


def _zero_span(rng: Random, content: bytes) -> bytes:
    first, last = _span(rng, content)
    return content[:first] + bytes(last - first) + content[last:]


def _change_lines(
    rng: Random, content: bytes, change: Callable[[Random, list[bytes]], Any]
) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    change(rng, lines)
    return b"".join(lines)


def _swap_lines(rng: Random, lines: list[bytes]) -> None:
    first, last = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[last] = lines[last], lines[first]


def _delete_line(rng: Random, lines: list[bytes]) -> None:
    del lines[rng.randrange(len(lines))]


def _join_lines(rng: Random, lines: list[bytes]) -> None:
    place = rng.randrange(len(lines))
    lines[place] = lines[place].rstrip(b"\r\n") + rng.choice([b" ", b""])


def _insert_blank_line(rng: Random, lines: list[bytes]) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"\n", b"  \n", b"\r\n", b"\t\n"]))


def _insert_header(rng: Random, lines: list[bytes]) -> None:
    lines.insert(0, rng.choice([b'"class","title","description"\n', b"# made by hand\n", b"7 4\n"]))


def _reencode(rng: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", errors="replace")
    name = rng.choice(["latin1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7"])
    return text.encode(name, errors="replace")


def _change_delimiter(rng: Random, content: bytes) -> bytes:
    return content.replace(b",", rng.choice([b";", b"\t", b"|", b", "]))


_SEPARATORS = [
    *("e\u0301", "\ufb01", "\u3000", "\u2581 \u2581"),
    "\u2028",
    "\u0085",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1b[31m",
    "\ufeff",
    "\u2581",
    "\u00a0",
]
_NUMERIC = [
    b"nan",
    b"inf",
    b"1e999",
    b"-",
    b"1_0",
    b"9" * 5_000,
    "٣".encode(),
    b"3.0",
    b" 2 ",
    b"+1",
]

BYTES: dict[str, Callable[[Random, bytes], bytes]] = {
    "bit flipped": _flip_bit,
    "bytes replaced": _replace_bytes,
    "cut": _truncate,
    "emptied": lambda rng, content: b"",
    "span deleted": _delete_span,
    "span repeated": _repeat_span,
    "span zeroed": _zero_span,
    "letters inserted": lambda rng, content: _insert_bytes(
        rng, content, [b"x", b"  ", b"\xff", b"\0"]
    ),
}
"""Of any file."""
TEXT: dict[str, Callable[[Random, bytes], bytes]] = {
    **BYTES,
    "lines swapped": lambda rng, content: _change_lines(rng, content, _swap_lines),
    "line deleted": lambda rng, content: _change_lines(rng, content, _delete_line),
    "lines joined": lambda rng, content: _change_lines(rng, content, _join_lines),
    "blank line": lambda rng, content: _change_lines(rng, content, _insert_blank_line),
    "header": lambda rng, content: _change_lines(rng, content, _insert_header),
    "other encoding": _reencode,
    "other delimiter": _change_delimiter,
    "other line ends": lambda rng, content: content.replace(b"\n", rng.choice([b"\r", b"\r\n"])),
    "byte 0x92": lambda rng, content: _insert_bytes(rng, content, [b"\x92"]),
    "quote": lambda rng, content: _insert_bytes(rng, content, [b'"', b'""', b"'", b'"\n']),
    "separator": lambda rng, content: _insert_bytes(
        rng, content, [text.encode() for text in _SEPARATORS]
    ),
    "number": lambda rng, content: re.sub(
        rb"\d+", lambda _: rng.choice(_NUMERIC), content, count=rng.choice([1, 2, 9])
    ),
    "endless line": lambda rng, content: _insert_bytes(rng, content, [b"x" * 10**6, b"9 " * 10**6]),
    "white space": lambda rng, content: rng.choice([b"\n", b" ", b"\n" * 1000, b"\xef\xbb\xbf"]),
    "packed": lambda rng, content: gzip.compress(content, mtime=0),
}
"""Of a file of text."""


def bomb(megabytes: int = 1_200) -> bytes:
    """Returns a gzip file of one endless line, a thousandth as large."""
    member = gzip.compress(b"x" * 10**6, mtime=0)
    return member * megabytes


def special(rng: Random, path: Path) -> str:
    """Replaces a path by a special file, and returns its kind."""
    path.unlink(missing_ok=True)
    name = rng.choice(["absent", "folder", "pipe without a writer", "/dev/zero", "loop", "socket"])
    if name == "folder":
        path.mkdir()
    elif name == "pipe without a writer":
        os.mkfifo(path)
    elif name == "/dev/zero":
        path.symlink_to("/dev/zero")
    elif name == "loop":
        path.symlink_to(path.name)
    elif name == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            previous_folder = Path.cwd()
            os.chdir(path.parent)  # the path of a socket is limited to about 100 bytes
            listener.bind(path.name)
            os.chdir(previous_folder)
    return name


def change_json(rng: Random, text: str) -> str:
    """Returns JSON with one value, key or container changed."""
    document = json.loads(text)
    parents = list(_containers(document)) or [[document]]
    parent = rng.choice(parents)
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    kind = rng.choice(["other value", "like value", "deleted", "added", "renamed", "nested"])
    if not keys or kind == "added":
        if isinstance(parent, dict):
            parent[rng.choice(["x", "", "config", "\x1b[2J"])] = value(rng)
        else:
            parent.append(value(rng))
    elif kind == "other value":
        parent[rng.choice(keys)] = value(rng)
    elif kind == "like value":
        key = rng.choice(keys)
        parent[key] = alike(rng, parent[key])
    elif kind == "nested":
        parent[rng.choice(keys)] = "@nested@"
    elif isinstance(parent, dict) and kind == "renamed":
        parent[rng.choice(["x", "", "Name"])] = parent.pop(rng.choice(keys))
    else:
        del parent[rng.choice(keys)]
    written = json.dumps(document, indent=rng.choice([None, 2]))
    return written.replace('"@nested@"', '{"a":' * 5_000 + "1" + "}" * 5_000)


def alike(rng: Random, old: Any) -> Any:
    """Returns another value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return rng.choice([old + 1, old * 2, -old, old + 10**6, 0, float(old)])
    if isinstance(old, str):
        return rng.choice([old[::-1], old + "x", old[1:], old.upper()])
    if isinstance(old, list):
        return rng.choice([old[::-1], old[1:], old * 2])
    return value(rng)


def _containers(document: Any) -> Any:
    if isinstance(document, dict | list):
        yield document
        for child in document.values() if isinstance(document, dict) else document:
            yield from _containers(child)
