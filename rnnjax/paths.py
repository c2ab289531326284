"""Paths of files and folders: as a user types them, and as libraries can take them."""

import re
import shutil
import tempfile
import weakref
from pathlib import Path

from rnnjax.errors import InputError

_PLAIN = re.compile(r"[\w/ .,=+@-]*")
"""Paths in which no library sees a pattern, an address or a separator of Windows."""


def expand(path: str) -> str:
    """Returns a path with a leading `~` or `~user` replaced by that home folder.

    Raises:
      InputError: there is no such home folder, or no file can have the name. The caller says which
        flag or key was given.
    """
    check(path)
    first, slash, rest = path.partition("/")
    if not first.startswith("~"):
        return path
    try:
        return f"{Path(first).expanduser()}{slash}{rest}"
    except RuntimeError:
        raise InputError(
            f"given {path!r}, and there is no home folder {first}; write the path out, or "
            f"./{path} for a name that begins with ~"
        ) from None


def check(path: str) -> None:
    """Raises InputError for the name of no file: a NUL character, or no valid Unicode."""
    if "\0" in path:
        raise InputError(f"given {path!r}, which has a NUL character; expected the path of a file")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"given {path!r}, which is not valid Unicode; rename the file or folder"
        ) from None


def without_special_characters(folder: Path, owner: object) -> Path:
    """Returns a path to a folder for libraries that read patterns or addresses in paths.

    It is the folder's own path where that is plain. Otherwise it is that of a symbolic link among
    the temporary files, which is deleted with `owner`.

    Args:
      folder: an absolute path, which need not exist yet.
      owner: uses the path.

    Raises:
      InputError: the folder of temporary files has such a name as well.
    """
    if _PLAIN.fullmatch(str(folder)):
        return folder
    temporary = tempfile.mkdtemp(prefix="rnnjax-")
    weakref.finalize(owner, shutil.rmtree, temporary, ignore_errors=True)
    if not _PLAIN.fullmatch(temporary):
        raise InputError(
            f"{folder}: its name has unusual characters, and so has the folder of temporary files, "
            f"{temporary!r}, through which such folders are written; set TMPDIR to another"
        )
    link = Path(temporary, folder.name if _PLAIN.fullmatch(folder.name) else "folder")
    link.symlink_to(folder, target_is_directory=True)
    return link
