"""Weight layouts of libraries, and the conversion of a layer's weights between them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack

Shape = tuple[int | None, ...]
"""The expected shape of an array; None for an unknown number of inputs."""

_GATES: dict[type[nn.Module], int] = {SimpleCell: 1, LSTMCell: 4, GRUCell: 3}
_NEUTRAL_ATTRIBUTES = {"features", "dtype", "param_dtype", "update_dropout", "parent", "name"}
"""Attributes of a cell that do not change the meaning of its weights, beside initializers."""


class LayerDirection(NamedTuple):
    """One direction of a recurrent layer, with its own weights.

    Attributes:
      cell: one of `SimpleCell`, `LSTMCell`, `GRUCell`.
      layer_index: index in a `Stack`; None outside of one.
      name: '' for an `RNN`.
      inputs: input size; None if the layer does not determine it.
    """

    cell: Any
    layer_index: int | None
    name: Literal["", "forward", "backward"]
    inputs: int | None

    @property
    def features(self) -> int:
        """Size of the state."""
        return self.cell.features

    @property
    def units(self) -> int:
        """Size of the state times the number of gates."""
        return _GATES[type(self.cell)] * self.features

    @property
    def outputs(self) -> int:
        """Size of the output, which the recurrent kernel reads."""
        return getattr(self.cell, "projection", 0) or self.features

    @property
    def has_recurrent_bias(self) -> bool:
        """Whether the product with the state has a separate bias."""
        return isinstance(self.cell, GRUCell) and self.cell.reset_after

    @property
    def has_projection(self) -> bool:
        """Whether the output is a projection."""
        return bool(getattr(self.cell, "projection", 0))

    def path(self, *parts: str) -> str:
        """Joins names by '/', prefixed with the layer of a stack."""
        prefix = () if self.layer_index is None else (f"layers_{self.layer_index}",)
        return "/".join((*prefix, *parts))


class Weights(NamedTuple):
    """The weights of a direction, with gates along the last axis in the order of rnnjax."""

    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray
    recurrent_bias: np.ndarray | None = None
    projection_kernel: np.ndarray | None = None


class WeightLayout(NamedTuple):
    """The format in which a library stores the weights of a direction.

    Attributes:
      title: names the weights in error messages.
      options: attributes of cells whose values other than the default the library supports.
      arrays: returns names and shapes of the arrays.
      read: returns the weights from the arrays in that order.
      write: returns the arrays in that order from the weights.
    """

    title: str
    options: tuple[str, ...]
    arrays: Callable[[LayerDirection], dict[str, Shape]]
    read: Callable[..., Weights]
    write: Callable[[LayerDirection, Weights], Iterable[np.ndarray]]


def _rnnjax_arrays(direction: LayerDirection) -> dict[str, Shape]:
    scope = (*([direction.name] if direction.name else []), "cell")
    arrays: dict[str, Shape] = {
        direction.path(*scope, "input", "kernel"): (direction.inputs, direction.units),
        direction.path(*scope, "recurrent_kernel"): (direction.outputs, direction.units),
        direction.path(*scope, "input", "bias"): (direction.units,),
    }
    if direction.has_recurrent_bias:
        arrays[direction.path(*scope, "recurrent_bias")] = (direction.units,)
    if direction.has_projection:
        arrays[direction.path(*scope, "projection_kernel")] = (
            direction.features,
            direction.outputs,
        )
    return arrays


def _rnnjax_weights(direction: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias, *rest = arrays
    if direction.has_projection:
        return Weights(kernel, recurrent_kernel, bias, None, *rest)
    return Weights(kernel, recurrent_kernel, bias, *rest)


def _rnnjax_values(direction: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    dtype = np.dtype(direction.cell.param_dtype)
    return (array.astype(dtype) for array in weights if array is not None)


RNNJAX = WeightLayout(
    "the layer's parameters",
    ("activation", "reset_after", "projection"),
    _rnnjax_arrays,
    _rnnjax_weights,
    _rnnjax_values,
)


def layer_directions(layer: nn.Module, layout: WeightLayout) -> list[LayerDirection]:
    """Returns the directions of all layers, the lowest layer first, forward before backward.

    Raises:
      InputError: it is no recurrent layer of rnnjax, or the layout does not support its cell.
    """
    if not isinstance(layer, Stack):
        return _directions_of_layer(layer, None, None, layout)
    directions, inputs = [], None
    for index, part in enumerate(layer.layers):
        part_directions = _directions_of_layer(part, index, inputs, layout)
        directions += part_directions
        is_concatenated = isinstance(part, Bidirectional) and part.merge == "concat"
        inputs = part_directions[0].outputs * (2 if is_concatenated else 1)
    return directions


def _directions_of_layer(
    layer: nn.Module, index: int | None, inputs: int | None, layout: WeightLayout
) -> list[LayerDirection]:
    if not isinstance(layer, RNN | Bidirectional):
        raise InputError(
            f"layer: given a {type(layer).__name__}, expected an RNN, a Bidirectional, or a "
            "Stack of these"
        )
    _require_convertible(layer.cell, layout)
    if isinstance(layer, RNN):
        return [LayerDirection(layer.cell, index, "", inputs)]
    return [LayerDirection(layer.cell, index, name, inputs) for name in ("forward", "backward")]


def _require_convertible(cell: nn.Module, layout: WeightLayout) -> None:
    cell_type = type(cell)
    if cell_type not in _GATES:
        names = ", ".join(supported.__name__ for supported in _GATES)
        raise InputError(
            f"layer: given the cell {cell_type.__name__}, whose weights have no counterpart; "
            f"expected one of {names} itself, neither wrapped nor derived from"
        )
    for field in dataclasses.fields(cell):
        ignored = {*_NEUTRAL_ATTRIBUTES, *layout.options}
        if field.name in ignored or field.name.endswith("_init"):
            continue
        value = getattr(cell, field.name)
        if value != field.default:
            raise InputError(
                f"layer: given {cell_type.__name__}({field.name}={value!r}), which {layout.title} "
                f"cannot express; expected {field.name}={field.default!r}"
            )


def convert_weights(
    layer: nn.Module, arrays: Mapping[str, Any], source: WeightLayout, target: WeightLayout
) -> dict[str, np.ndarray]:
    """Converts the weights of a layer from one layout to another, as copies.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack`.
      arrays: the weights by name in the source layout.
      source: layout of `arrays`.
      target: layout of the result.

    Raises:
      InputError: `layer` has no counterpart, an array is missing, not expected, not of floating
        point, or has another shape.
    """
    directions = layer_directions(layer, source if target is RNNJAX else target)
    _require_names(source.title, arrays, [name for d in directions for name in source.arrays(d)])
    converted, inputs = {}, None
    for direction in directions:
        direction = direction._replace(inputs=direction.inputs or inputs)
        source_arrays = (
            _validated_array(source.title, name, arrays[name], shape)
            for name, shape in source.arrays(direction).items()
        )
        weights = source.read(direction, *source_arrays)
        inputs = inputs or weights.kernel.shape[0]
        # Copies: a tensor, or a transposed view of it, could change later.
        values = (np.array(value, order="C") for value in target.write(direction, weights))
        converted |= zip(target.arrays(direction), values, strict=True)
    return converted


def _require_names(title: str, arrays: Mapping[str, Any], expected: list[str]) -> None:
    missing = [name for name in expected if name not in arrays]
    surplus = [name for name in arrays if name not in expected]
    if missing or surplus:
        problems = [
            f"{label} {', '.join(map(str, names))}"
            for label, names in (("missing", missing), ("not expected", surplus))
            if names
        ]
        raise InputError(
            f"{title}: {'; '.join(problems)}. Expected exactly {', '.join(expected)}; where "
            "the source has no bias, pass zeros"
        )


def _validated_array(title: str, name: str, value: Any, shape: Shape) -> np.ndarray:
    try:
        array = _to_numpy(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{title}: {name} cannot be read as an array ({error}); pass NumPy arrays or "
            "PyTorch tensors"
        ) from error
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(f"{title}: {name} has the dtype {array.dtype}; expected floating point")
    fits = len(array.shape) == len(shape) and all(
        size in (None, actual) for size, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("inputs" if size is None else str(size) for size in shape)
        raise InputError(
            f"{title}: {name} has the shape {array.shape}, expected ({sizes}"
            f"{',' if len(shape) == 1 else ''}); check that the layer has as many features, and "
            "that no kernel is transposed or in the wrong position"
        )
    return array


def _to_numpy(value: Any) -> np.ndarray:
    """Converts to NumPy; a PyTorch tensor may be on a device, need a gradient, or be bfloat16."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    try:
        return np.asarray(tensor)
    except TypeError:  # a dtype that NumPy does not have; float32 holds every bfloat16
        return np.asarray(tensor.float())


def add_biases(bias: np.ndarray, recurrent_bias: np.ndarray) -> np.ndarray:
    """Adds two biases; a second bias of zero leaves the bits of the first, -0.0 included."""
    return np.where(recurrent_bias == 0, bias, bias + recurrent_bias)  # -0.0 + 0.0 is 0.0


def flatten(tree: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Flattens nested mappings: leaves by their paths, joined by '/'."""
    if not isinstance(tree, Mapping):
        raise InputError(
            f"{title}: given a {type(tree).__name__}, expected nested mappings from names to arrays"
        )
    leaves = {}
    for name, part in tree.items():
        if isinstance(part, Mapping):
            leaves |= {f"{name}/{path}": leaf for path, leaf in flatten(part, title).items()}
        else:
            leaves[str(name)] = part
    return leaves


def unflatten(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Nests leaves by their paths: the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *branches, last = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    return tree
