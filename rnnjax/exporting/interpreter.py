"""Interprets programs: lists of operations on arrays, as `jax.make_jaxpr` shows them."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from operations import OPERATIONS

Body = Mapping[str, Any]
"""A program as JSON: 'constants' by variable, 'inputs', 'equations' (name, arguments, results,
parameters) and 'outputs'. Variables are numbers."""


class Program:
    """A function of arrays for inputs of known sizes."""

    def __init__(
        self, body: Body, tensors: Mapping[str, np.ndarray], sizes: Mapping[str, int]
    ) -> None:
        """Prepares a program.

        Args:
          body: of the program.
          tensors: arrays to which constants refer by name.
          sizes: of the symbols in shapes.
        """
        self._inputs, self._outputs = body["inputs"], body["outputs"]
        self._constants = {
            int(variable): tensors[constant["tensor"]]
            if "tensor" in constant
            else np.dtype(constant["dtype"]).type(constant["value"])
            for variable, constant in body["constants"].items()
        }

        def resolve(value: Any) -> Any:
            if isinstance(value, list):
                return [resolve(item) for item in value]
            if not isinstance(value, dict):
                return value
            if "equations" in value:
                return Program(value, tensors, sizes)
            if "size" in value:
                return evaluate_size(value["size"], sizes)
            return {name: resolve(item) for name, item in value.items()}

        self._equations = [
            (OPERATIONS[name], arguments, results, resolve(parameters))
            for name, arguments, results, parameters in body["equations"]
        ]

    def __call__(self, *inputs: Any) -> list[Any]:
        """Computes the outputs."""
        values = dict(self._constants)
        values.update(zip(self._inputs, inputs, strict=True))
        for function, arguments, results, parameters in self._equations:
            outcome = function(*[values[variable] for variable in arguments], **parameters)
            outcome = outcome if isinstance(outcome, list) else [outcome]
            values.update(zip(results, outcome, strict=True))
        return [values[variable] for variable in self._outputs]


def evaluate_size(expression: str, sizes: Mapping[str, int]) -> int:
    """Evaluates a size such as '2*b*t' or 'floordiv(t, 4)'."""
    functions: dict[Any, Callable[..., int]] = {
        **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
        **{ast.Pow: operator.pow, "floordiv": operator.floordiv, "mod": operator.mod},
        **{"max": max, "min": min},
    }

    def evaluate(node: ast.AST) -> int:
        match node:
            case ast.Constant(value=int(value)):
                return value
            case ast.Name(id=name):
                return sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -evaluate(operand)
            case ast.BinOp(left=left, op=function, right=right):
                return functions[type(function)](evaluate(left), evaluate(right))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return functions[name](*map(evaluate, arguments))
        raise ValueError(f"size {expression!r}: cannot be read")

    return evaluate(ast.parse(expression, mode="eval").body)
