"""The functions of a cell that read no earlier step: its projection, and what follows from it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rnnjax.cells import LinearCell, MatrixCell
from rnnjax.testing.assertions import NotApplicableError
from rnnjax.testing.check_case import CheckCase


def projection_function(case: CheckCase) -> tuple[Callable[..., dict[str, Any]], bool]:
    """Returns a function of variables, states and inputs, and whether it reads the states.

    The function returns the projection, and for a linear recurrence its coefficients and outputs.
    The states are those after each step; None if they are not read.

    Raises:
      NotApplicableError: the cell is of flax, which projects nothing beforehand.
    """
    cell: Any = case.adapter.cell
    if not case.adapter.is_native:
        raise NotApplicableError("a cell of flax reads one step at a time")
    is_linear = isinstance(cell, LinearCell) and "associative" in case.engines
    is_matrix = isinstance(cell, MatrixCell) and "chunkwise" in case.engines

    def project(variables: Any, states: Any, inputs: Any) -> dict[str, Any]:
        projected = cell.apply(variables, inputs, method="project")
        results = {"project": projected}
        if is_linear:
            coefficients: Any = cell.apply(variables, projected, method="coefficients")
            # A transition that is the same at every step has a time axis of size one.
            results["coefficients"] = jnp.broadcast_arrays(*coefficients)
            results["read"] = cell.apply(variables, states, projected, method="read")
        if is_matrix:
            coefficients = cell.apply(variables, projected, method="coefficients")
            products = (coefficients.value, projected, coefficients.log_gain)
            results["coefficients"] = coefficients
            results["read"] = cell.apply(variables, *products, method="read")
        return results

    return project, is_linear
