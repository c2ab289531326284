"""Engines of a recurrent layer: which of them run a cell, and the property that others lack."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import AbstractCell, LinearCell, MatrixCell
from rnnjax.errors import InputError
from rnnjax.layers.newton import Newton

EngineName = Literal[
    "auto", "scan", "fused", "pallas", "cudnn", "associative", "chunkwise", "newton"
]
Engine = EngineName | Newton

SEQUENCE_ENGINES = ("fused", "pallas", "cudnn", "associative", "chunkwise")
"""Engines that are a method of the cell, which computes a whole sequence."""

REPLACED_METHODS = ("project", "step", "gate", "recurrent_product", "dropped")
"""The methods of a cell in whose place an engine's method computes; those of `LinearCell` and
`MatrixCell` call all of them but `step`."""

COEFFICIENT_CELLS = (LinearCell, MatrixCell)
"""Bases whose engines follow from a cell's coefficients."""

MEASURED_ENGINES = ("fused", "chunkwise")
"""Engines that were measured to win on a CPU, for the cells that have them."""

AVAILABLE = "available"


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """The engines of a layer, and the one that it takes.

    Attributes:
      engine: the one that the layer takes, with `engine="auto"` too.
      reason: why this one.
      engines: 'available', or the property that is lacking, by the names of the engines.
    """

    engine: str
    reason: str
    engines: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{name}: {reason}" for name, reason in self.engines.items()]
        return "\n".join([*lines, f"taken: {self.engine}, {self.reason}"])


def explain(layer: nn.Module, inputs: Any, resets: bool = False) -> EngineChoice:
    """Explains the engines of a layer: those that run it, and the property that each other lacks.

    Nothing is computed: each engine is traced for the shapes alone.

    Args:
      layer: `RNN` or `Bidirectional`; of a `Stack` one of its layers.
      inputs: `[batch, time, features]`, an array or a `jax.ShapeDtypeStruct`.
      resets: whether calls pass resets.

    Raises:
      InputError: it is no such layer, or no engine runs the cell on such inputs.
    """
    cell, engine = getattr(layer, "cell", None), getattr(layer, "engine", None)
    if cell is None or engine is None:
        raise InputError(
            f"layer: given a {type(layer).__name__}, expected an RNN or a Bidirectional; of a "
            "Stack explain each of its layers"
        )
    engines = {}
    variables = jax.eval_shape(
        layer.clone(engine="scan", parent=None).init, jax.random.key(0), inputs
    )
    flags = jax.ShapeDtypeStruct(inputs.shape[:2], jnp.bool_) if resets else None
    for name, lacking in {**lacking_properties(cell, resets), "newton": ""}.items():
        try:
            if not lacking:
                run = layer.clone(engine=name, parent=None).apply
                jax.eval_shape(run, variables, inputs, None, None, flags)
        except InputError as error:
            lacking = str(error)
        engines[name] = lacking or AVAILABLE
    selected = resolve_engine(engine, cell, resets)
    reason = _auto_reason(cell, resets) if engine == "auto" else "the layer names it"
    return EngineChoice(selected, reason, engines)


def available_engines(cell: nn.Module, resets: bool = False) -> tuple[str, ...]:
    """Returns the engines that run a cell: 'scan', and those whose method its class provides.

    'newton', which is no method of a cell, is not among them: it runs every cell with a smooth step
    (`explain`).

    An engine's method is inherited only together with the methods that it replaces
    (`REPLACED_METHODS`): a subclass that overrides one of them, `step` say, is another cell, which
    the inherited method would not compute. A subclass of `LinearCell` or `MatrixCell` has its
    engines where the class that gives the coefficients gives no other step.

    Args:
      cell: of this package, of flax, or a user's.
      resets: only those that know resets: whose method has the argument `resets`.
    """
    return tuple(name for name, lacking in lacking_properties(cell, resets).items() if not lacking)


def lacking_properties(cell: nn.Module, resets: bool = False) -> dict[str, str]:
    """Returns the property that a cell lacks for each engine, '' where it lacks none.

    The size of the inputs and the machine are left aside.

    Args:
      cell: as for `available_engines`.
      resets: as for `available_engines`.
    """
    methods = {name: _lacking_method(cell, name, resets) for name in SEQUENCE_ENGINES}
    return {"scan": "", **methods}


def resolve_engine(engine: Engine, cell: nn.Module, resets: bool) -> str:
    """Returns the name of the engine that runs a cell: that of the layer, or the choice of 'auto'.

    Raises:
      InputError: there is no such engine, or the cell lacks a property that it needs.
    """
    if engine == "newton" or isinstance(engine, Newton):
        return "newton"
    names = get_args(EngineName)
    if engine not in names:
        raise InputError(
            f"engine: given {engine!r}, expected one of {', '.join(names)}, or options of the last "
            "one, Newton(max_iterations=20)"
        )
    lacking = lacking_properties(cell, resets)
    if engine == "auto":
        if jax.default_backend() != "cpu":
            return "scan"
        return next((name for name in MEASURED_ENGINES if not lacking[name]), "scan")
    if lacking[engine]:
        available = ", ".join(name for name in lacking if not lacking[name])
        with_resets = " with resets" if resets else ""
        raise InputError(
            f"engine: given {engine!r}, and {lacking[engine]}; {type(cell).__name__} has "
            f"{available}{with_resets}; expected one of these, or 'auto'"
        )
    return engine


def _auto_reason(cell: nn.Module, resets: bool) -> str:
    """Returns why 'auto' takes the engine that it takes."""
    backend = jax.default_backend()
    if backend != "cpu":
        return f"as no engine has been measured to win on a {backend}"
    lacking = lacking_properties(cell, resets)
    if all(lacking[name] for name in MEASURED_ENGINES):
        return f"as {lacking['fused']}"
    return "measured to win on a CPU"


def _lacking_method(cell: nn.Module, engine: str, resets: bool) -> str:
    """Returns the property that a cell lacks for an engine that is a method, or ''."""
    name = type(cell).__name__
    if not isinstance(cell, AbstractCell):
        return f"{name} is a cell of flax, which has no method for whole sequences"
    owner, replaced = _owner(type(cell), engine), REPLACED_METHODS
    if owner in COEFFICIENT_CELLS:
        owner, replaced = _owner(type(cell), "coefficients"), ("step",)
    if owner in (None, AbstractCell, *COEFFICIENT_CELLS):
        return f"{name} has no method {engine!r} for whole sequences"
    for method in replaced:
        if getattr(type(cell), method, None) is not getattr(owner, method, None):
            return (
                f"{name} overrides {method!r}, which the inherited method {engine!r} of "
                f"{owner.__name__} does not call"
            )
    if not cell.fusible:
        return f"this {name} has options that its method {engine!r} does not support"
    if resets and "resets" not in inspect.signature(getattr(cell, engine)).parameters:
        return f"the method {engine!r} of {name} takes no resets"
    return ""


def _owner(cell_class: type, method: str) -> type | None:
    """Returns the class that defines a method of a cell."""
    return next((base for base in cell_class.__mro__ if method in vars(base)), None)
