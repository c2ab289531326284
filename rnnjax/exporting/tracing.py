"""Traces functions to programs in JSON, which `interpreter` runs with NumPy."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import jax
import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from rnnjax.errors import InputError
from rnnjax.exporting.operations import DTYPES, ELEMENTWISE, OPERATIONS

CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "checkpoint", "remat", "remat2"),
}
"""Operations that call another program, in whose place its operations stand."""

_HINTS = {
    *("accuracy", "precision", "out_sharding", "sharding", "unroll", "linear", "weak_type"),
    *("indices_are_sorted", "unique_indices", "is_stable", "_split_transpose"),
    *("update_jaxpr", "update_consts"),  # of scatter, whose name says what it adds
}
"""Parameters that change no result, or that have one value in a traced program."""


class Tracer:
    """Translates jaxprs to JSON, and collects their constants.

    Attributes:
      tensors: arrays of the programs, by name.
    """

    def __init__(self) -> None:
        """Starts without arrays."""
        self.tensors: dict[str, np.ndarray] = {}

    def trace(
        self,
        function: Callable[..., Sequence[Any]],
        *arguments: Any,
    ) -> dict[str, Any]:
        """Returns the program of a function, ready for JSON.

        Args:
          function: of arrays or pytrees; returns a flat sequence of arrays.
          *arguments: pytrees of `jax.ShapeDtypeStruct`, whose sizes may be symbols.

        Raises:
          InputError: it has an operation, or a type of numbers, that is not known here.
        """
        return self._body(jax.make_jaxpr(function)(*arguments))

    def _body(self, closed: ClosedJaxpr | Jaxpr) -> dict[str, Any]:
        return _BodyTracer(self).translate(closed)


class _BodyTracer:
    """Translates one jaxpr, with the programs that it calls in place of the calls."""

    def __init__(self, tracer: Tracer):
        self._tracer = tracer
        self._count = 0
        self._constants: dict[int, np.ndarray] = {}
        self._equations: list[tuple[JaxprEqn, list[int], list[int]]] = []

    def translate(self, closed: ClosedJaxpr | Jaxpr) -> dict[str, Any]:
        """Returns the program of a jaxpr, without operations whose results nothing uses."""
        jaxpr = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
        inputs = [self._number() for _ in jaxpr.invars]
        outputs = self._inline(closed, inputs)
        alive, equations = set(outputs), []
        for equation, arguments, results in reversed(self._equations):
            if alive.intersection(results):
                alive.update(arguments)
                name = equation.primitive.name
                for variable in equation.outvars:
                    _check_dtype(name, variable.aval)
                parameters = self._parameters(name, equation.params)
                equations.append([name, arguments, results, parameters])
        constants = {
            str(number): self._constant(value)
            for number, value in self._constants.items()
            if number in alive
        }
        return {
            **{"constants": constants, "inputs": inputs},
            **{"equations": equations[::-1], "outputs": outputs},
        }

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _inline(self, closed: ClosedJaxpr | Jaxpr, inputs: Sequence[int]) -> list[int]:
        """Appends the operations of a jaxpr on inputs, and returns its outputs."""
        jaxpr, constants = closed, []
        if isinstance(closed, ClosedJaxpr):
            jaxpr, constants = closed.jaxpr, closed.consts
        assert isinstance(jaxpr, Jaxpr)
        numbers: dict[Var, int] = dict(zip(jaxpr.invars, inputs, strict=True))

        def add_constant(value: Any) -> int:
            number = self._number()
            self._constants[number] = value
            return number

        def read(atom: Any) -> int:
            if isinstance(atom, Literal):
                dtype: Any = getattr(atom.aval, "dtype", None)
                return add_constant(np.asarray(atom.val, dtype))
            return numbers[atom]

        numbers.update(zip(jaxpr.constvars, map(add_constant, constants), strict=True))
        for equation in jaxpr.eqns:
            arguments = [read(atom) for atom in equation.invars]
            if equation.primitive.name in CALLS:
                params = equation.params
                (called,) = (params[key] for key in ("jaxpr", "call_jaxpr") if key in params)
                results = self._inline(called, arguments)
            else:
                results = [self._number() for _ in equation.outvars]
                self._equations.append((equation, arguments, results))
            numbers.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _constant(self, value: Any) -> dict[str, Any]:
        """Returns a constant ready for JSON: a number, or the name of an array."""
        _check_dtype("a constant", value)
        value = np.asarray(value)
        if value.ndim or value.dtype.kind == "c":
            name = f"constants/{len(self._tracer.tensors)}"
            self._tracer.tensors[name] = value
            return {"tensor": name}
        scalar = value.item()
        is_finite = not isinstance(scalar, float) or np.isfinite(scalar)
        return {"value": scalar if is_finite else str(scalar), "dtype": value.dtype.name}

    def _parameters(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters of an operation, ready for JSON.

        Raises:
          InputError: the operation, or a parameter of it, is not known.
        """
        if name not in OPERATIONS:
            raise _refusal(f"the operation {name!r}")
        accepted = set()
        if name not in ELEMENTWISE:
            accepted = {
                parameter.name
                for parameter in inspect.signature(OPERATIONS[name]).parameters.values()
                if parameter.kind is parameter.KEYWORD_ONLY
            }
        neutral = {"batch_group_count": 1}
        values = {}
        for key, value in params.items():
            if key in accepted:
                values[key] = self._value(name, key, value)
            elif key not in _HINTS and value is not None and neutral.get(key) != value:
                raise _refusal(f"the operation {name!r} with {key}={value!r}")
        return values

    def _value(self, name: str, key: str, value: Any) -> Any:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            return self._tracer._body(value)
        if is_symbolic_dim(value):
            return {"size": str(value).replace("^", "**")}
        if isinstance(value, Enum):
            return value.name
        if hasattr(value, "_asdict"):
            return {
                field: self._value(name, field, item) for field, item in value._asdict().items()
            }
        if isinstance(value, tuple | list):
            return [self._value(name, key, item) for item in value]
        if isinstance(value, np.integer | int) or value is None or isinstance(value, str):
            return value if value is None or isinstance(value, str | bool) else int(value)
        if isinstance(value, float | np.floating):
            return float(value) if np.isfinite(value) else str(value)
        try:
            dtype = np.dtype(value)
        except TypeError:
            raise _refusal(f"the operation {name!r} with {key}={value!r}") from None
        return dtype.name


def _check_dtype(owner: str, value: Any) -> None:
    dtype = getattr(value, "dtype", None)
    if str(dtype) not in DTYPES.values():
        raise _refusal(f"numbers of the type {dtype} ({owner})")


def _refusal(cause: str) -> InputError:
    return InputError(
        f"the network has {cause}, which an exported folder does not compute; expected the "
        "operations and types of rnnjax/exporting/operations.py: write the cell with these, or add "
        "the operation there"
    )
