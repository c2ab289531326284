"""Classes by `package.module:ClassName`; the source is read before the module is imported."""

import ast
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from typing import Any

from rnnjax.errors import InputError

_NAME = r"[^\W\d]\w*"
CLASS_PATH = rf"(?P<module>{_NAME}(?:\.{_NAME})*):(?P<name>{_NAME})"
"""Pattern of `package.module:ClassName`."""

_DYNAMIC = {"globals", "vars", "locals", "exec", "setattr"}
"""A module that uses one of these may bind names that its source does not show."""

_OWN_SCOPE = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def is_class_path(text: str) -> bool:
    """Returns whether a text has the form `package.module:ClassName`."""
    return bool(re.fullmatch(CLASS_PATH, text))


def describe_foreign_class(module: str, name: str) -> str:
    """Returns a phrase on a class that would be imported, for the error that refuses it."""
    spec = find_module(module)
    where = source_path(spec) if spec else "not found here"
    return (
        f"the class {name} of the module {module} ({where}), which is not part of the package and "
        "would be imported, and so run"
    )


def import_class(module: str, name: str) -> Any:
    """Imports a module that binds a name, and returns its value; None if it turns out to be absent.

    Importing runs the module and the packages above it.

    Raises:
      InputError: there is no such module, it does not bind the name, or importing it fails. The
        first two are found without importing anything.
    """
    if module not in sys.modules:
        spec = find_module(module)
        if spec is None:
            raise InputError(
                f"there is no module {module}; install it, or start from the folder that holds it"
            )
        if not _may_bind(spec, name):
            raise InputError(f"{module} has no {name} ({source_path(spec)})")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise InputError(
            f"{module} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def find_module(module: str) -> ModuleSpec | None:
    """Returns where a module is, None if nowhere, without importing it or a package above it."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module that was made by hand has no spec
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By its last part alone: of a namespace package in another, Python asks for the imported
        # parent.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def source_path(spec: ModuleSpec) -> str:
    """Returns the file of a module, or in words that it has none."""
    if spec.has_location and spec.origin:
        return spec.origin
    return "a folder without __init__.py" if spec.submodule_search_locations else "part of Python"


def _may_bind(spec: ModuleSpec, name: str) -> bool:
    """Returns whether a module binds a name, or may do so in a way that its source does not show.

    Raises:
      InputError: the source cannot be read.
    """
    if spec.loader in (BuiltinImporter, FrozenImporter):
        return False
    read = getattr(spec.loader, "get_source", None)
    try:
        source = read(spec.name) if read else ""
        if source is None:  # compiled
            return True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (ImportError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{source_path(spec)} cannot be read as Python ({error})") from error
    return bool({name, "*", "__getattr__"}.intersection(_bound(tree))) or any(
        (isinstance(node, ast.Global) and name in node.names)
        or (isinstance(node, ast.Name) and node.id in _DYNAMIC)
        for node in ast.walk(tree)
    )


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yields the names that a module binds at its top level; '*' for a star import."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif not isinstance(node, _OWN_SCOPE):
                waiting.append(node)
