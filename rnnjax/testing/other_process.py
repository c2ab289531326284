"""Initial parameters of a cell in a second Python process."""

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from rnnjax.console import write_output
from rnnjax.testing.cell_adapter import CellAdapter

_TIMEOUT = 120.0
_PROGRAM = "from rnnjax.testing.other_process import answer; answer()"
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_rank_promotion",
    "jax_numpy_dtype_promotion",
)


def digest_parameters(adapter: CellAdapter, rows: int) -> str:
    """Returns a digest of the initial parameters for a constant key."""
    leaves = jax.tree.leaves(adapter.init(rows)[1].get("params", {}))
    digest = hashlib.sha256()
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def digest_elsewhere(adapter: CellAdapter, rows: int) -> str | None:
    """Returns that digest from a process with another seed of hashes.

    None if there can be none: the cell cannot be imported there, or the device is shared.
    """
    if jax.default_backend() != "cpu":
        return None
    settings = {name: getattr(jax.config, name) for name in _SETTINGS}
    try:
        cell = describe_fields(adapter.cell)
        request = pickle.dumps((settings, cell, adapter.inputs, rows))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2",
        "JAX_PLATFORMS": "cpu",
    }
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=request,
        capture_output=True,
        timeout=_TIMEOUT,
        env=environment,
        check=False,
    )
    return result.stdout.decode().strip() or None if result.returncode == 0 else None


class CellFields(NamedTuple):
    """The class of a cell, and its fields that are not defaults.

    A default is often an initializer, a function within a function, which cannot be pickled.
    """

    cell_class: type
    fields: dict[str, Any]


def describe_fields(cell: nn.Module) -> CellFields:
    """Returns the class and the fields of a cell, and of those nested in it."""
    fields = {}
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        if field.init and field.name not in ("parent", "name") and value is not field.default:
            fields[field.name] = describe_fields(value) if isinstance(value, nn.Module) else value
    return CellFields(type(cell), fields)


def construct_cell(description: CellFields) -> nn.Module:
    """Returns the cell of a description."""
    fields = {
        name: construct_cell(value) if isinstance(value, CellFields) else value
        for name, value in description.fields.items()
    }
    return description.cell_class(**fields)


def answer() -> None:
    """Reads a cell from standard input and prints the digest of its parameters."""
    settings, description, inputs, rows = _load()
    for name, value in settings.items():
        jax.config.update(name, value)
    write_output(digest_parameters(CellAdapter(construct_cell(description), inputs), rows))


def _load() -> Any:
    # The bytes are those that the parent process has just made of a cell that it runs itself.
    return pickle.loads(sys.stdin.buffer.read())
