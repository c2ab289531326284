"""Uniform interface to cells of this package and of flax, and random variables for them."""

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

_NOISE_SCALE = 0.3

SIZES = ((16, 1), (9, 2), (16, 7), (9, 33), (16, 64), (9, 64), (9, 130), (16, 257))
"""Rows and steps of the larger batches: with and without a remainder by windows, tiles of rows and
chunks of any power of two."""

FEW_SIZES = ((9, 33), (16, 64))
"""Those of a quick check."""


@dataclasses.dataclass(frozen=True, eq=False)
class CellAdapter:
    """A cell and the shape of its inputs.

    Attributes:
      cell: of this package, of flax, or a user's.
      inputs: sizes of the feature axes of one step.
      quick: compare fewer sizes, and start no second process.
    """

    cell: nn.Module
    inputs: tuple[int, ...]
    quick: bool = False

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and steps of the larger batches that are compared."""
        return FEW_SIZES if self.quick else SIZES

    @property
    def is_native(self) -> bool:
        """Whether the cell has the interface of this package: it projects before it steps."""
        return isinstance(self.cell, AbstractCell)

    @property
    def wraps_flax(self) -> bool:
        """Whether an inner cell is one of flax, whose outputs follow flax's rules of dtypes."""
        return any(isinstance(cell, nn.RNNCellBase) for cell in inner_cells(self.cell))

    def initial_state(self, variables: Any, batch_shape: tuple[int, ...], rngs: Any = None) -> Any:
        """Returns the cell's default initial state."""
        shape = (*batch_shape, *self.inputs)
        if self.is_native:
            return self.cell.apply(variables, shape, rngs=rngs, method="initial_state")
        return self.cell.initialize_carry(jax.random.key(0), shape)  # pyright: ignore

    def step(self, variables: Any, state: Any, inputs: Any, rngs: Any = None) -> Any:
        """Returns the next state and the output, computed as the layer does."""
        method = _project_and_step if self.is_native else None
        return self.cell.apply(variables, state, inputs, rngs=rngs, method=method)

    def call(self, variables: Any, state: Any, inputs: Any) -> Any:
        """Returns the next state and the output of `cell(state, inputs)`, as in streaming."""
        return self.cell.apply(variables, state, inputs)

    def init(self, rows: int, key: Any = None, seed: int = 1) -> tuple[Any, Any]:
        """Initializes the cell: (initial state, (next state, output)) and its variables.

        Args:
          rows: of the inputs.
          key: of the parameters, or keys by the names of rng streams; None for a constant one.
          seed: of the inputs.
        """
        inputs = normal_noise((rows, *self.inputs), np.float32, seed)
        key = jax.random.key(0) if key is None else key
        if self.is_native:
            return self.cell.init_with_output(key, inputs, method=_initialize_and_step)
        state = self.initial_state({}, (rows,))
        step, variables = self.cell.init_with_output(key, state, inputs)
        return (state, step), variables

    def add_noise(self, variables: Any, seed: int) -> Any:
        """Adds noise to variables, so that no bias is zero; frozen ones stay as they are."""
        rng = np.random.default_rng(seed)
        frozen = frozen_names(self.cell)

        def add(path, leaf):
            leaf = np.asarray(leaf)
            if frozen.intersection(path_names(path)) or leaf.dtype.kind not in "fcV":
                return leaf
            return (leaf + _NOISE_SCALE * normal_noise(leaf.shape, leaf.dtype, rng)).astype(
                leaf.dtype
            )

        return jax.tree_util.tree_map_with_path(add, variables)


def adapt_cell(cell: Any, inputs: int | tuple[int, ...], quick: bool = False) -> CellAdapter:
    """Validates a cell and the sizes of its feature axes.

    Raises:
      InputError: it is no cell, or not one in float32, or the inputs are no sizes for it, or its
        frozen parameters are no tuple of names.
    """
    require_cell(cell)
    frozen_names(cell)
    sizes = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(f"inputs: given {inputs!r}, expected the sizes of the feature axes: 3")
    if isinstance(cell, nn.RNNCellBase) and cell.num_feature_axes != len(sizes):
        raise InputError(
            f"inputs: given {inputs!r}, and {type(cell).__name__} reads "
            f"{cell.num_feature_axes} feature axes; expected a size for each: inputs=(5, 3)"
        )
    for name in ("dtype", "param_dtype"):
        dtype = getattr(cell, name, None)
        if dtype is not None and jnp.dtype(dtype) != jnp.float32:
            raise InputError(
                f"{type(cell).__name__} has the {name} {jnp.dtype(dtype)}; expected a cell in "
                "float32, because the checks try the other dtypes themselves"
            )
    return CellAdapter(cell, sizes, quick)


def path_names(path: Any) -> list[str]:
    """Returns the names along the path to a leaf."""
    return [jax.tree_util.keystr((key,), simple=True) for key in path]


def normal_noise(shape: tuple[int, ...], dtype: Any, seed: Any) -> np.ndarray:
    """Draws normal noise; complex for a complex dtype."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        noise = noise + 1j * rng.standard_normal(shape)
    return noise.astype(dtype)


def describe_cell(cell: nn.Module) -> str:
    """Returns the constructor call of a cell, without arguments equal to their defaults."""
    arguments = []
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        if field.name in ("parent", "name") or not field.init or value is field.default:
            continue
        if isinstance(value, nn.Module):
            arguments.append(f"{field.name}={describe_cell(value)}")
        elif not isinstance(value, type(field.default)) or value != field.default:
            text = getattr(value, "__name__", None) or " ".join(repr(value).split())
            arguments.append(f"{field.name}={text}")
    return f"{type(cell).__name__}({', '.join(arguments)})"


def _project_and_step(cell: Any, state: Any, inputs: Any) -> Any:
    return cell.step(state, cell.project(inputs))


def _initialize_and_step(cell: Any, inputs: Any) -> Any:
    state = cell.initial_state(inputs.shape)
    return state, cell.step(state, cell.project(inputs))
