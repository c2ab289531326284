"""The place in a cell at which an exception was raised, the shapes there, and usual causes."""

import contextlib
import dataclasses
import inspect
import linecache
import re
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

import rnnjax
from rnnjax.cells import base
from rnnjax.cells.base import inner_cells

_MAX_SHAPES, _MAX_LEAVES = 12, 8

CAUSES = (
    (
        r"dot_general|incompatible|broadcast|concatenat|axis|axes|split|reshape|bounds|shape|rank",
        "the axis of the features: project reads [batch, time, inputs] and step [batch, inputs], "
        "or either without a batch; only axis=-1, shape[-1] and [..., features] fit them all",
    ),
    (
        r"carry|structure|unpack|pytree|tuple|has no attribute|not subscriptable|dict key|KeyError",
        "the state: step returns (state, output), the state in the container, shapes and dtypes "
        "of initial_state",
    ),
    (
        r"promot|dtype|float0|bfloat16|float64|Cast",
        "dtypes: the state is in param_dtype and the projection in dtype; add them after "
        "projected.astype(state.dtype)",
    ),
    (
        r"Tracer|Concret|traced",
        "values that are unknown while a program is compiled: jnp.where instead of `if`, jnp "
        "instead of np, no float(), int() or bool()",
    ),
    (
        r"Scope|NameInUse|setup|compact|Modified|submodule|parameter",
        "parameters made in a step: make them in setup, or in the one method that is @nn.compact",
    ),
    (
        r"[Rr]ng|random|key",
        "random numbers: self.make_rng('dropout'), and only where self.has_rng('dropout')",
    ),
    (
        r"scan length|scan got",
        "a part of the projection without the axes of rows and steps, such as a kernel: project "
        "returns it as rnnjax.cells.Broadcast(kernel)",
    ),
)
"""Patterns of errors and their causes, the most usual first and the most specific last."""


@dataclasses.dataclass(frozen=True)
class ExceptionSite:
    """The deepest line of a user's code in a traceback.

    Attributes:
      file: relative to the working directory if it is below it.
      line: number of the line.
      function: that contains it.
      source: text of the line.
      shapes: dtypes and shapes of the arrays that the function has, by name.
    """

    file: str
    line: int
    function: str
    source: str
    shapes: dict[str, str]


def find_site(error: BaseException, cell: nn.Module) -> ExceptionSite | None:
    """Returns the deepest line of the cell's code in the traceback of an exception.

    None if the traceback passes no code outside of the libraries.
    """
    own_files = _source_files(cell)
    library_folders = [Path(rnnjax.__file__).parent]
    library_folders += [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    site = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        is_library = file.startswith("<") or any(
            Path(file).is_relative_to(folder) for folder in library_folders
        )
        if file in own_files or not (is_library or "site-packages" in file):
            site = ExceptionSite(
                _relative_path(file),
                line,
                frame.f_code.co_name,
                linecache.getline(file, line).strip(),
                _describe_arrays(frame.f_locals),
            )
    return site


def usual_causes(error: BaseException, source: str = "") -> list[str]:
    """Returns the three usual causes of an exception in a cell, those that fit its text first.

    Args:
      error: the exception.
      source: the line that raised it.
    """
    text = f"{type(error).__name__}: {error}"
    causes = [cause for _, cause in CAUSES]
    matching = [cause for pattern, cause in reversed(CAUSES) if re.search(pattern, text)]
    axis = causes[:1] if ".shape" in source else []
    return list(dict.fromkeys([*axis, *matching, *causes]))[:3]


def _source_files(cell: nn.Module) -> set[str]:
    """Returns the files that define a cell and those nested in it."""
    files = set()
    for inner in inner_cells(cell):
        for cell_class in type(inner).__mro__:
            if not cell_class.__module__.startswith("flax.linen.module"):
                with contextlib.suppress(TypeError, OSError):  # It is built in.
                    files.add(inspect.getfile(cell_class))
    return files - {base.__file__}


def _relative_path(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _describe_arrays(variables: dict[str, Any]) -> dict[str, str]:
    """Returns dtypes and shapes of arrays, of containers of arrays, and of a module's arrays."""
    shapes = {}
    for name, value in variables.items():
        members = {name: value}
        if isinstance(value, nn.Module):
            members = {f"{name}.{key}": member for key, member in vars(value).items()}
        for path, member in members.items():
            with contextlib.suppress(Exception):  # A tree of anything at all.
                if description := _describe_tree(member):
                    shapes[path] = description
    return dict(list(shapes.items())[:_MAX_SHAPES])


def _describe_tree(value: Any) -> str:
    leaves = jax.tree.leaves(value)
    if not 0 < len(leaves) <= _MAX_LEAVES or not all(hasattr(leaf, "dtype") for leaf in leaves):
        return ""
    return str(jax.tree.map(lambda leaf: _Text(f"{leaf.dtype}{list(leaf.shape)}"), value))


class _Text(str):
    """A text that is printed in a container without quotes."""

    def __repr__(self) -> str:
        return str(self)
