"""Damages bytes, JSON values and paths, each as a pure function of a random generator."""

import gzip
import json
import os
import random
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Draw = random.Random
TEXTS = [
    *("", " ", "None", "1", "\x1b[2J\x1b]0;x\x07", "a" * 100_000, "\0", "\ud800", "../../..", "~"),
    *("~nobody/x", "%s{0}$HOME", "[PAD]", "é\u0301\u2028\u202e", "\n\n", "LSTMCell\n", "-1", "inf"),
]
NUMBERS = [
    *(0, 1, -1, 2, 3, 10**6, 10**12, 2**31, 2**63, 10**400, -(10**30)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e300, float("nan"), float("inf"), -float("inf")),
]
OTHERS: list[Any] = [None, True, False, [], {}, [1, [2]], {"a": 1}, {"": {}}, ["x"] * 1000]


def value(draw: Draw) -> Any:
    """Returns a value of any type: of a strange text, number or container."""
    return draw.choice(draw.choice([TEXTS, NUMBERS, OTHERS]))


def nested(depth: int = 5_000) -> dict[str, Any]:
    """Returns mappings inside mappings."""
    inside: dict[str, Any] = {}
    for _ in range(depth):
        inside = {"a": inside}
    return inside


def _place(draw: Draw, content: bytes) -> int:
    return draw.randrange(len(content) + 1)


def _span(draw: Draw, content: bytes) -> tuple[int, int]:
    first, last = sorted((_place(draw, content), _place(draw, content)))
    return first, last


def _flip(draw: Draw, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _replace(draw: Draw, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(draw.choice([1, 2, 20])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _insert(draw: Draw, content: bytes, pieces: list[bytes]) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw.choice(pieces) + content[place:]


def _cut(draw: Draw, content: bytes) -> bytes:
    return content[: draw.randrange(len(content) or 1)]


def _without(draw: Draw, content: bytes) -> bytes:
    first, last = _span(draw, content)
    return content[:first] + content[last:]


def _twice(draw: Draw, content: bytes) -> bytes:
    first, last = _span(draw, content)
    return content[:last] + content[first:]


def _zeros(draw: Draw, content: bytes) -> bytes:
    first, last = _span(draw, content)
    return content[:first] + bytes(last - first) + content[last:]


def _lines(draw: Draw, content: bytes, change: Callable[[Draw, list[bytes]], Any]) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    change(draw, lines)
    return b"".join(lines)


def _swap(draw: Draw, lines: list[bytes]) -> None:
    first, last = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[last] = lines[last], lines[first]


def _delete(draw: Draw, lines: list[bytes]) -> None:
    del lines[draw.randrange(len(lines))]


def _join(draw: Draw, lines: list[bytes]) -> None:
    place = draw.randrange(len(lines))
    lines[place] = lines[place].rstrip(b"\r\n") + draw.choice([b" ", b""])


def _blank(draw: Draw, lines: list[bytes]) -> None:
    lines.insert(draw.randrange(len(lines) + 1), draw.choice([b"\n", b"  \n", b"\r\n", b"\t\n"]))


def _header(draw: Draw, lines: list[bytes]) -> None:
    lines.insert(
        0, draw.choice([b'"class","title","description"\n', b"# made by hand\n", b"7 4\n"])
    )


def _encoded(draw: Draw, content: bytes) -> bytes:
    text = content.decode("utf-8", errors="replace")
    name = draw.choice(["latin1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7"])
    return text.encode(name, errors="replace")


def _delimited(draw: Draw, content: bytes) -> bytes:
    return content.replace(b",", draw.choice([b";", b"\t", b"|", b", "]))


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

BYTES: dict[str, Callable[[Draw, bytes], bytes]] = {
    "bit flipped": _flip,
    "bytes replaced": _replace,
    "cut": _cut,
    "emptied": lambda draw, content: b"",
    "span deleted": _without,
    "span repeated": _twice,
    "span zeroed": _zeros,
    "letters inserted": lambda draw, content: _insert(draw, content, [b"x", b"  ", b"\xff", b"\0"]),
}
"""Of any file."""
TEXT: dict[str, Callable[[Draw, bytes], bytes]] = {
    **BYTES,
    "lines swapped": lambda draw, content: _lines(draw, content, _swap),
    "line deleted": lambda draw, content: _lines(draw, content, _delete),
    "lines joined": lambda draw, content: _lines(draw, content, _join),
    "blank line": lambda draw, content: _lines(draw, content, _blank),
    "header": lambda draw, content: _lines(draw, content, _header),
    "other encoding": _encoded,
    "other delimiter": _delimited,
    "other line ends": lambda draw, content: content.replace(b"\n", draw.choice([b"\r", b"\r\n"])),
    "byte 0x92": lambda draw, content: _insert(draw, content, [b"\x92"]),
    "quote": lambda draw, content: _insert(draw, content, [b'"', b'""', b"'", b'"\n']),
    "separator": lambda draw, content: _insert(
        draw, content, [each.encode() for each in _SEPARATORS]
    ),
    "number": lambda draw, content: re.sub(
        rb"\d+", lambda _: draw.choice(_NUMERIC), content, count=draw.choice([1, 2, 9])
    ),
    "endless line": lambda draw, content: _insert(draw, content, [b"x" * 10**6, b"9 " * 10**6]),
    "white space": lambda draw, content: draw.choice([b"\n", b" ", b"\n" * 1000, b"\xef\xbb\xbf"]),
    "packed": lambda draw, content: gzip.compress(content, mtime=0),
}
"""Of a file of text."""


def bomb(megabytes: int = 1_200) -> bytes:
    """Returns a gzip file of one endless line, a thousandth as large."""
    member = gzip.compress(b"x" * 10**6, mtime=0)
    return member * megabytes


def special(draw: Draw, path: Path) -> str:
    """Puts something that is no regular file at a path, and returns its name."""
    path.unlink(missing_ok=True)
    name = draw.choice(["absent", "folder", "pipe without a writer", "/dev/zero", "loop", "socket"])
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
            here = Path.cwd()
            os.chdir(path.parent)  # the name of a socket may have some hundred bytes
            listener.bind(path.name)
            os.chdir(here)
    return name


def change_json(draw: Draw, text: str) -> str:
    """Returns JSON with one value, key or container of it changed."""
    document = json.loads(text)
    parents = list(_containers(document)) or [[document]]
    parent = draw.choice(parents)
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    how = draw.choice(["other value", "like value", "deleted", "added", "renamed", "nested"])
    if not keys or how == "added":
        if isinstance(parent, dict):
            parent[draw.choice(["x", "", "config", "\x1b[2J"])] = value(draw)
        else:
            parent.append(value(draw))
    elif how == "other value":
        parent[draw.choice(keys)] = value(draw)
    elif how == "like value":
        key = draw.choice(keys)
        parent[key] = alike(draw, parent[key])
    elif how == "nested":
        parent[draw.choice(keys)] = "@nested@"
    elif isinstance(parent, dict) and how == "renamed":
        parent[draw.choice(["x", "", "Name"])] = parent.pop(draw.choice(keys))
    else:
        del parent[draw.choice(keys)]
    written = json.dumps(document, indent=draw.choice([None, 2]))
    return written.replace('"@nested@"', '{"a":' * 5_000 + "1" + "}" * 5_000)


def alike(draw: Draw, old: Any) -> Any:
    """Returns another value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return draw.choice([old + 1, old * 2, -old, old + 10**6, 0, float(old)])
    if isinstance(old, str):
        return draw.choice([old[::-1], old + "x", old[1:], old.upper()])
    if isinstance(old, list):
        return draw.choice([old[::-1], old[1:], old * 2])
    return value(draw)


def _containers(document: Any) -> Any:
    if isinstance(document, dict | list):
        yield document
        for each in document.values() if isinstance(document, dict) else document:
            yield from _containers(each)
