"""The runs of a layer, the weights of a run, and one way of writing them turned into another."""

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
"""The shape that an array must have; None for the number of inputs while it is not known."""

_GATES: dict[type[nn.Module], int] = {SimpleCell: 1, LSTMCell: 4, GRUCell: 3}
_ALIKE = {"features", "dtype", "param_dtype", "update_dropout", "parent", "name"}
"""The attributes of a cell that do not change what its weights mean, beside its initializers."""


class LayerDirection(NamedTuple):
    """A cell over time in one direction, with weights of its own.

    Attributes:
      cell: one of `SimpleCell`, `LSTMCell`, `GRUCell`.
      layer: its place in a `Stack`; None outside of one.
      direction: '' for an `RNN`.
      inputs: how many it reads; None where the layer does not say.
    """

    cell: Any
    layer: int | None
    direction: Literal["", "forward", "backward"]
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
        """Size of the output, and of what the recurrent kernel reads."""
        return getattr(self.cell, "projection", 0) or self.features

    @property
    def recurrent_bias(self) -> bool:
        """Whether the product with the state has a bias of its own."""
        return isinstance(self.cell, GRUCell) and self.cell.reset_after

    @property
    def projected(self) -> bool:
        """Whether the output is a projection."""
        return bool(getattr(self.cell, "projection", 0))

    def path(self, *parts: str) -> str:
        """Returns names joined by '/', behind the run's place in a stack."""
        place = () if self.layer is None else (f"layers_{self.layer}",)
        return "/".join((*place, *parts))


class Weights(NamedTuple):
    """The weights of a run, the gates side by side in our order along the last axis."""

    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray
    recurrent_bias: np.ndarray | None = None
    projection_kernel: np.ndarray | None = None


class WeightLayout(NamedTuple):
    """How one library writes the weights of a run.

    Attributes:
      owner: whose they are, for messages.
      options: the attributes of our cells that they can tell from the default.
      arrays: the names of a run's arrays and their shapes.
      read: the weights from the arrays in that order.
      write: the arrays in that order from the weights.
    """

    owner: str
    options: tuple[str, ...]
    arrays: Callable[[LayerDirection], dict[str, Shape]]
    read: Callable[..., Weights]
    write: Callable[[LayerDirection, Weights], Iterable[np.ndarray]]


def _our_arrays(run: LayerDirection) -> dict[str, Shape]:
    inside = (*([run.direction] if run.direction else []), "cell")
    arrays: dict[str, Shape] = {
        run.path(*inside, "input", "kernel"): (run.inputs, run.units),
        run.path(*inside, "recurrent_kernel"): (run.outputs, run.units),
        run.path(*inside, "input", "bias"): (run.units,),
    }
    if run.recurrent_bias:
        arrays[run.path(*inside, "recurrent_bias")] = (run.units,)
    if run.projected:
        arrays[run.path(*inside, "projection_kernel")] = (run.features, run.outputs)
    return arrays


def _our_weights(run: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias, *more = arrays
    if run.projected:
        return Weights(kernel, recurrent_kernel, bias, None, *more)
    return Weights(kernel, recurrent_kernel, bias, *more)


def _our_values(run: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    dtype = np.dtype(run.cell.param_dtype)
    return (part.astype(dtype) for part in weights if part is not None)


OURS = WeightLayout(
    "the layer's parameters",
    ("activation", "reset_after", "projection"),
    _our_arrays,
    _our_weights,
    _our_values,
)


def layer_directions(layer: nn.Module, form: WeightLayout) -> list[LayerDirection]:
    """Returns the runs of a layer, from below, forward first.

    Raises:
      InputError: it is no recurrent layer of ours, or its cell is none that the form can write.
    """
    if not isinstance(layer, Stack):
        return _runs(layer, None, None, form)
    found, inputs = [], None
    for index, each in enumerate(layer.layers):
        here = _runs(each, index, inputs, form)
        found += here
        concatenated = isinstance(each, Bidirectional) and each.merge == "concat"
        inputs = here[0].outputs * (2 if concatenated else 1)
    return found


def _runs(
    layer: nn.Module, index: int | None, inputs: int | None, form: WeightLayout
) -> list[LayerDirection]:
    if not isinstance(layer, RNN | Bidirectional):
        raise InputError(
            f"layer: given a {type(layer).__name__}, expected an RNN, a Bidirectional, or a "
            "Stack of these"
        )
    _require_expressible(layer.cell, form)
    if isinstance(layer, RNN):
        return [LayerDirection(layer.cell, index, "", inputs)]
    return [LayerDirection(layer.cell, index, end, inputs) for end in ("forward", "backward")]


def _require_expressible(cell: nn.Module, form: WeightLayout) -> None:
    kind = type(cell)
    if kind not in _GATES:
        names = ", ".join(each.__name__ for each in _GATES)
        raise InputError(
            f"layer: given the cell {kind.__name__}, whose weights have no counterpart; expected "
            f"one of {names} itself, neither wrapped nor derived from"
        )
    for field in dataclasses.fields(cell):
        if field.name in {*_ALIKE, *form.options} or field.name.endswith("_init"):
            continue
        value = getattr(cell, field.name)
        if value != field.default:
            raise InputError(
                f"layer: given {kind.__name__}({field.name}={value!r}), and {form.owner} cannot "
                f"say that; expected {field.name}={field.default!r}"
            )


def translate(
    layer: nn.Module, given: Mapping[str, Any], source: WeightLayout, target: WeightLayout
) -> dict[str, np.ndarray]:
    """Returns the weights of a layer as the target writes them, in arrays of their own.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack`.
      given: the arrays by name, as the source writes them.
      source: how they are written.
      target: how they are to be written.

    Raises:
      InputError: `layer` is none that has a counterpart, an array is missing, not expected, not of
        floating point, or has another shape.
    """
    expected = layer_directions(layer, source if target is OURS else target)
    _require_names(source.owner, given, [name for run in expected for name in source.arrays(run)])
    made, inputs = {}, None
    for run in expected:
        run = run._replace(inputs=run.inputs or inputs)
        arrays = (
            _array(source.owner, name, given[name], shape)
            for name, shape in source.arrays(run).items()
        )
        weights = source.read(run, *arrays)
        inputs = inputs or weights.kernel.shape[0]
        # Copies: a tensor, or a transposed view of it, would go on changing with its owner.
        values = (np.array(value, order="C") for value in target.write(run, weights))
        made |= zip(target.arrays(run), values, strict=True)
    return made


def _require_names(owner: str, given: Mapping[str, Any], expected: list[str]) -> None:
    missing = [name for name in expected if name not in given]
    surplus = [name for name in given if name not in expected]
    if missing or surplus:
        faults = [
            f"{what} {', '.join(map(str, names))}"
            for what, names in (("missing", missing), ("not expected", surplus))
            if names
        ]
        raise InputError(
            f"{owner}: {'; '.join(faults)}. Expected exactly {', '.join(expected)}; where theirs "
            "has no bias, give zeros"
        )


def _array(owner: str, name: str, value: Any, shape: Shape) -> np.ndarray:
    try:
        array = _to_numpy(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{owner}: {name} cannot be read as an array ({error}); give arrays of NumPy, or "
            "tensors of PyTorch"
        ) from error
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(f"{owner}: {name} has the dtype {array.dtype}; expected floating point")
    fits = len(array.shape) == len(shape) and all(
        size in (None, actual) for size, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("inputs" if size is None else str(size) for size in shape)
        raise InputError(
            f"{owner}: {name} has the shape {array.shape}, expected ({sizes}"
            f"{',' if len(shape) == 1 else ''}); see that the layer has their features, and that "
            "no kernel is transposed or stands in another's place"
        )
    return array


def _to_numpy(value: Any) -> np.ndarray:
    """Returns an array; a tensor of PyTorch may be on a device, need a gradient, or be bfloat16."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    try:
        return np.asarray(tensor)
    except TypeError:  # a dtype that NumPy does not have; float32 holds every bfloat16
        return np.asarray(tensor.float())


def sum_of_biases(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns one + other, and one itself, bit for bit, where the other is zero."""
    return np.where(other == 0, one, one + other)  # -0.0 + 0.0 is 0.0


def flat(tree: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Returns the leaves of nested mappings by their path, joined by '/'."""
    if not isinstance(tree, Mapping):
        raise InputError(
            f"{owner}: given a {type(tree).__name__}, expected nested mappings from names to arrays"
        )
    leaves = {}
    for name, part in tree.items():
        if isinstance(part, Mapping):
            leaves |= {f"{name}/{path}": leaf for path, leaf in flat(part, owner).items()}
        else:
            leaves[str(name)] = part
    return leaves


def tree(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns nested dicts from leaves by their path: what `flat` takes apart."""
    made: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *branches, last = path.split("/")
        place = made
        for branch in branches:
            place = place.setdefault(branch, {})
        place[last] = leaf
    return made
