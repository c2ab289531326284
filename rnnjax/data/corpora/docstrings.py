"""Docstrings of the Python standard library, NumPy, SciPy and JAX, read from their source files."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import itertools
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from rnnjax.data.corpora.csv_files import CsvRow
from rnnjax.errors import InputError

CLASSES = ("Python", "NumPy", "SciPy", "JAX")
ROWS_PER_CLASS = 3_000
DESCRIPTION_WORDS = 60

# Tests, vendored libraries, and tables of characters.
# fmt: off
_EXCLUDED_FOLDERS = frozenset([
    "test", "tests", "testing", "internal_test_util", "site-packages", "dist-packages", "_vendor",
    "_vendored", "externals", "_external", "third_party", "ensurepip", "idlelib", "lib2to3",
    "turtledemo", "encodings", "array_api_compat", "array_api_extra", "_uarray", "cobyqa",
    "pyprima", "highspy",
])
# fmt: on
_TITLE_WORDS = 30
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = (ast.stmt, ast.excepthandler)

# The prose ends at an example, a directive, a list of fields, a rule, a heading or a template.
_PROSE_END = re.compile(
    r"(>>>|\.\. |%\(|:\w+[ :]|@\w+|[-=~^*#]{3,}|[A-Z][\w ]*:$|\w[\w ]* -- |.*::$)"
)
_UNDERLINE = re.compile(r"([-=~])\1{2,}$")
_SIGNATURE = re.compile(r"[\w.]+ ?\([^)]*\)(\s*->.*)?$")
_ROLE = re.compile(r":[\w:+]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_FOOTNOTE = re.compile(r"\s*\[\w+\]_")
_SENTENCE = re.compile(r".*?[.!?](?=\s+[A-Z]|$)")


def versions() -> dict[str, str]:
    """Returns the version of each library whose docstrings are read."""
    installed = {name: importlib.metadata.version(name.lower()) for name in CLASSES[1:]}
    return {"Python": platform.python_version()} | installed


def collect() -> dict[str, list[CsvRow]]:
    """Collects the rows of the training and the test split.

    No two rows share a title, so no test title is in the training split. Order and split follow
    from hashes of the titles: they look random, are the same on every machine, and a new version of
    a library moves no row that it does not change.

    Raises:
      InputError: an installation came without its source files.
    """
    unique = {}
    for label, name in enumerate(CLASSES):
        files = source_files(name)
        for path in tqdm(files, f"Reading docstrings of {name}", unit=" files", disable=None):
            for docstring in _docstrings(path):
                title, description = parse_docstring(docstring)
                if len(title.split()) >= 3 and len(_words(title + " " + description)) >= 5:
                    key = hashlib.sha256(" ".join(_words(title)).encode()).digest()
                    unique.setdefault(key, CsvRow(label, title, description))
    rows: dict[str, list[CsvRow]] = {"train": [], "test": []}
    counts = [0] * len(CLASSES)
    for key, row in sorted(unique.items()):
        if counts[row.label] < ROWS_PER_CLASS:
            counts[row.label] += 1
            # The order comes from the first bytes, so the split comes from the last.
            rows["test" if key[-1] < 26 else "train"].append(row)
    for name, count in zip(CLASSES, counts, strict=True):
        if not count:
            raise InputError(
                f"the installed {name} has no source files with docstrings, from which the corpus "
                "'docstrings' is made; use another installation of it, or set data.corpus to "
                "'ag_news_subset' and data.dir to a folder"
            )
    return rows


def parse_docstring(docstring: str) -> tuple[str, str]:
    """Returns the first sentence of a docstring, and the prose after it up to a heading."""
    paragraphs: list[list[str]] = [[]]
    lines = [line.strip() for line in [*docstring.strip().splitlines(), ""]]
    for line, following in itertools.pairwise(lines):
        if _PROSE_END.match(line) or _UNDERLINE.match(following):
            break
        if line:
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    prose = [" ".join(paragraph) for paragraph in paragraphs if paragraph]
    if prose and _SIGNATURE.match(prose[0]):
        prose = prose[1:]
    if not prose:
        return "", ""
    prose = [_strip_markup(paragraph) for paragraph in prose]
    sentence = _SENTENCE.match(prose[0])
    title = " ".join((sentence[0] if sentence else prose[0]).split()[:_TITLE_WORDS])
    rest = " ".join([prose[0][len(title) :], *prose[1:]]).split()
    return title, " ".join(rest[:DESCRIPTION_WORDS])


def _strip_markup(paragraph: str) -> str:
    text = _FOOTNOTE.sub("", _ROLE.sub(r"\1", paragraph)).replace("`", "")
    return " ".join(text.split())


def source_files(name: str) -> list[Path]:
    """Returns the source files of a library of `CLASSES`, without tests and vendored libraries."""
    if name == "Python":
        root = Path(sysconfig.get_path("stdlib"))
    else:
        # A top-level package is found without being imported.
        spec = importlib.util.find_spec(name.lower())
        root = Path(spec.origin).parent if spec and spec.origin else Path(sys.prefix, "missing")
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not _EXCLUDED_FOLDERS.intersection(path.relative_to(root).parts[:-1])
        and not path.name.startswith(("test_", "conftest"))
    ]


def _docstrings(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in code of the libraries
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        # Expressions, which are most of a tree, hold no definitions.
        pending.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, _BLOCKS))
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            # A lone surrogate is no text in any encoding.
            yield docstring.encode(errors="ignore").decode()


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
