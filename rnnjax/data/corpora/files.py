"""What is read from files, and how the ones that cannot be read are refused."""

from pathlib import Path

from rnnjax.errors import InputError


def read_text(path: Path) -> str:
    """Returns the text of a file, without a byte order mark.

    Raises:
      InputError: the file cannot be read, or is not UTF-8.
    """
    return decoded(path, read_file(path))


def read_file(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder; give a file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give another file") from None


def decoded(path: Path, content: bytes) -> str:
    """Returns the text of a file's content, without a byte order mark.

    Raises:
      InputError: it is not UTF-8; the message names the file.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text; save the "
            "file as UTF-8 (`iconv -f LATIN1 -t UTF-8`, say), or unpack it if it is packed"
        ) from None
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise InputError(
            f"{path}, line {line}: a NUL character, which no text holds; the file is damaged or "
            "not UTF-8 (UTF-16, perhaps): fetch it again or convert it"
        )
    return text.removeprefix("\ufeff")
