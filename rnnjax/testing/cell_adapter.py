"""A cell as the layer runs it, and the random numbers that it is checked on."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import AbstractCell
from rnnjax.cells.base import frozen_names, inner_cells
from rnnjax.errors import InputError
from rnnjax.layers.validation import require_cell

NOISE = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class CellAdapter:
    """A cell and the shape of what it reads.

    Attributes:
      cell: one of the package, of flax, or of somebody else.
      inputs: the feature axes of one step.
    """

    cell: nn.Module
    inputs: tuple[int, ...]

    @property
    def native(self) -> bool:
        """Whether it is a cell of this package's kind, which projects before it steps."""
        return isinstance(self.cell, AbstractCell)

    @property
    def flax_inside(self) -> bool:
        """Whether a cell of flax does the work, which has dtypes of its own."""
        return any(isinstance(each, nn.RNNCellBase) for each in inner_cells(self.cell))

    def begin(self, variables: Any, batch: tuple[int, ...], rngs: Any = None) -> Any:
        """Returns the cell's own initial state."""
        shape = (*batch, *self.inputs)
        if self.native:
            return self.cell.apply(variables, shape, rngs=rngs, method="initial_state")
        return self.cell.initialize_carry(jax.random.key(0), shape)  # pyright: ignore

    def step(self, variables: Any, state: Any, inputs: Any, rngs: Any = None) -> Any:
        """Returns the next state and the output, as the layer asks for them."""
        method = _project_and_step if self.native else None
        return self.cell.apply(variables, state, inputs, rngs=rngs, method=method)

    def call(self, variables: Any, state: Any, inputs: Any) -> Any:
        """Returns the next state and the output, as somebody asks who streams."""
        return self.cell.apply(variables, state, inputs)

    def init(self, rows: int) -> tuple[Any, Any]:
        """Returns (initial state, (next state, output)) of a new cell, and its variables."""
        inputs = normal((rows, *self.inputs), np.float32, 1)
        key = jax.random.key(0)
        if self.native:
            return self.cell.init_with_output(key, inputs, method=_begin_and_step)
        state = self.begin({}, (rows,))
        after, variables = self.cell.init_with_output(key, state, inputs)
        return (state, after), variables

    def noisy(self, variables: Any, seed: int) -> Any:
        """Returns variables of a new cell plus noise, so that no bias is zero.

        What is frozen stays as it is: it may have to be what it is.
        """
        rng = np.random.default_rng(seed)
        fixed = frozen_names(self.cell)

        def noisy(path, leaf):
            leaf = np.asarray(leaf)
            if any(each in fixed for each in keys(path)) or leaf.dtype.kind not in "fcV":
                return leaf
            return (leaf + NOISE * normal(leaf.shape, leaf.dtype, rng)).astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(noisy, variables)


def adapt_cell(cell: Any, inputs: int | tuple[int, ...]) -> CellAdapter:
    """Returns what there is to check.

    Raises:
      InputError: it is no cell, or not one in float32, or the inputs are no axes for it, or what it
        declares frozen are no names.
    """
    require_cell(cell)
    frozen_names(cell)
    axes = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    if not axes or not all(isinstance(axis, int) and axis > 0 for axis in axes):
        raise InputError(f"inputs: given {inputs!r}, expected the sizes of the feature axes: 3")
    if isinstance(cell, nn.RNNCellBase) and cell.num_feature_axes != len(axes):
        raise InputError(
            f"inputs: given {inputs!r}, and {type(cell).__name__} reads "
            f"{cell.num_feature_axes} feature axes; expected a size for each: inputs=(5, 3)"
        )
    for name in ("dtype", "param_dtype"):
        given = getattr(cell, name, None)
        if given is not None and jnp.dtype(given) != jnp.float32:
            raise InputError(
                f"{type(cell).__name__} has the {name} {jnp.dtype(given)}; expected a cell in "
                "float32, because the checks try the other dtypes themselves"
            )
    return CellAdapter(cell, axes)


def recast(cell: nn.Module, **dtypes: Any) -> nn.Module | None:
    """Returns a cell, and the cells inside it, with other dtypes; None if it has no such fields."""
    fields = {field.name for field in dataclasses.fields(cell)}
    changed: dict[str, Any] = {name: dtypes[name] for name in dtypes if name in fields}
    for name in fields - {"parent"}:
        value = getattr(cell, name, None)
        if isinstance(value, AbstractCell | nn.RNNCellBase):
            inner = recast(value, **dtypes)
            changed |= {} if inner is None else {name: inner}
        elif isinstance(value, tuple | list) and any(isinstance(v, nn.Module) for v in value):
            changed[name] = type(value)(recast(each, **dtypes) or each for each in value)
    return cell.clone(**changed) if changed else None


def keys(path: Any) -> list[str]:
    """Returns the names along the path to a leaf."""
    return [jax.tree_util.keystr((each,), simple=True) for each in path]


def normal(shape: tuple[int, ...], dtype: Any, seed: Any) -> np.ndarray:
    """Returns normal noise; complex where the dtype is."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        noise = noise + 1j * rng.standard_normal(shape)
    return noise.astype(dtype)


def describe_cell(cell: nn.Module) -> str:
    """Returns a cell as a call that makes it, with what differs from the defaults."""
    given = []
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        if field.name in ("parent", "name") or not field.init or value is field.default:
            continue
        if isinstance(value, nn.Module):
            given.append(f"{field.name}={describe_cell(value)}")
        elif not _equal(value, field.default):
            text = getattr(value, "__name__", None) or " ".join(repr(value).split())
            given.append(f"{field.name}={text}")
    return f"{type(cell).__name__}({', '.join(given)})"


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, type(other)) and bool(one == other)


def _project_and_step(cell: Any, state: Any, inputs: Any) -> Any:
    return cell.step(state, cell.project(inputs))


def _begin_and_step(cell: Any, inputs: Any) -> Any:
    state = cell.initial_state(inputs.shape)
    return state, cell.step(state, cell.project(inputs))
