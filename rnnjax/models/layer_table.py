"""Table of the layers of a network, with shapes and parameter counts."""

import dataclasses

import flax.linen as nn
import jax

from rnnjax.cells import AbstractCell
from rnnjax.layers import Stack


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """A layer.

    Attributes:
      layer: its path among the parameters, joined by '/'.
      type: class of the module.
      output: dtype and shape of the output.
      parameters: number of its parameters.
    """

    layer: str
    type: str
    output: str
    parameters: int


def describe_layers(model: nn.Module, *inputs: jax.ShapeDtypeStruct) -> list[LayerRow]:
    """Returns a row for each layer that has parameters, by abstract evaluation.

    A recurrent layer is one row, with its cell.

    Args:
      model: the network.
      *inputs: shapes and dtypes of the inputs.
    """
    outputs: dict[tuple[str, ...], tuple[str, str]] = {}

    def record(call, args, kwargs, context):
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name != "__call__" or isinstance(module, Stack):
            return result
        if isinstance(module.parent, Stack) or len(module.path) == 1:
            # A recurrent layer returns its state as well, before its output.
            output = result[-1] if isinstance(result, tuple) else result
            shape = f"{output.dtype}[{', '.join(map(str, output.shape))}]"
            outputs[module.path] = _describe(module), shape
        return result

    with nn.intercept_methods(record):
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    rows = []
    for path, (kind, shape) in outputs.items():
        parameters = variables["params"]
        for name in path:
            parameters = parameters.get(name, {})
        count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
        if count:
            rows.append(LayerRow("/".join(path), kind, shape, count))
    return rows


def _describe(module: nn.Module) -> str:
    """Returns the type of a module, with what it wraps and the features of a cell."""
    kind = type(module).__name__
    # Attributes alone: to ask a module for anything else would set it up, parameters and all.
    fields = {field.name for field in dataclasses.fields(module)}
    for inside in fields & {"layer", "cell"}:
        return f"{kind}({_describe(getattr(module, inside))})"
    if isinstance(module, AbstractCell | nn.RNNCellBase):
        return f"{kind}({module.features if 'features' in fields else ''})"
    return kind
