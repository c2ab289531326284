"""The likely encoding of a file that is not UTF-8, and the command that converts it."""

import codecs
import shlex
from pathlib import Path

_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}


def advice(path: Path, sample: bytes) -> str:
    """Returns how to turn a file into UTF-8 text, as the end of a sentence.

    Args:
      path: of the file.
      sample: its content, or the first megabytes, which is not UTF-8 text.
    """
    for mark, (kind, program) in _PACKED.items():
        if sample.startswith(mark):
            return f"; the file is packed with {kind}: unpack it (`{program} {_quoted(path)}`)"
    encoding = likely_encoding(sample)
    if encoding == "UTF-8":
        return (
            "; the other letters of the file are UTF-8, so do not convert the file: mend the line, "
            "or fetch the file again"
        )
    if encoding == "binary":
        return "; the file is damaged or no text: fetch it again, or give another one"
    if not encoding:
        return (
            "; the file has an encoding that cannot be told from its bytes: ask where it comes "
            f"from, and convert it ({_iconv(path, 'ENCODING')})"
        )
    return f"; the file seems to be {encoding}: convert it ({_iconv(path, encoding)})"


def likely_encoding(sample: bytes) -> str:
    """Returns the likely encoding of a text that is not UTF-8, as iconv names it.

    'UTF-8' is one with damaged places, 'binary' no text, '' none that can be told.
    """
    for mark, name in (
        (codecs.BOM_UTF32_LE, "UTF-32"),
        (codecs.BOM_UTF32_BE, "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ):
        if sample.startswith(mark):
            return name
    head = sample[:4096]
    if b"\0" in head:
        even, odd = (head[start::2].count(0) / max(len(head[start::2]), 1) for start in (0, 1))
        if max(even, odd) > 0.3 and min(even, odd) < 0.1:
            return "UTF-16LE" if odd > even else "UTF-16BE"
    if b"\0" in sample:
        return "binary"
    high = sample.translate(None, bytes(range(128)))
    broken = sample.decode(errors="replace").count("\ufffd") - sample.count("\ufffd".encode())
    # In UTF-8 each of these begins a letter.
    letters = len(high) - len(high.translate(None, bytes(range(0xC0, 256))))
    if letters - broken > broken:
        return "UTF-8"
    if len(high) > 0.3 * len(sample) or {0x81, 0x8D, 0x8F, 0x90, 0x9D} & set(high):
        return ""
    return "WINDOWS-1252" if any(byte < 0xA0 for byte in set(high)) else "LATIN1"


def _iconv(path: Path, encoding: str) -> str:
    converted = path.with_name(f"{path.stem}.utf8{path.suffix}")
    return f"`iconv -f {encoding} -t UTF-8 {_quoted(path)} > {_quoted(converted)}`"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
