"""What training needs: gradients that are derivatives, and other precisions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import frozen_names
from rnnjax.testing.case import Case
from rnnjax.testing.compare import (
    BrokenError,
    SkippedError,
    named,
    require_close,
    require_finite,
    require_same_structure,
)
from rnnjax.testing.draws import drawn
from rnnjax.testing.result import Given, Result, allowance
from rnnjax.testing.subject import keys, normal

BFLOAT16 = 2.0**-8
STEP = 1e-5
"""Of the finite differences: they are off by its square, and by float64's 1e-16 divided by it."""


def learning(case: Case) -> None:
    gradients = case.run(kind="own state").parameters
    fixed = frozen_names(case.subject.cell)
    names = Result(parameters=gradients).leaves()
    paths = jax.tree_util.tree_flatten_with_path(gradients)[0]
    if not paths:
        raise SkippedError("the cell has no parameters")
    for (path, leaf), name in zip(paths, names, strict=True):
        stays = any(each in fixed for each in keys(path))
        if stays and leaf.any():
            raise BrokenError(f"{name} is not zero, and the parameter is declared frozen")
        if not stays and not leaf.any():
            raise BrokenError(
                f"{name} is zero, so that nothing trains it; if that is meant, declare it frozen"
            )


def derivative(case: Case) -> None:
    if case.bench.cell("float64") is None:
        raise SkippedError("the cell has no param_dtype to make float64")
    if case.engine == "cudnn":  # It has float32 alone, as in the next check.
        return
    with jax.enable_x64(True):
        given = jax.tree.map(_doubled, case.given)
        result = _run(case, given, "float64")
        require_same_structure("the final state in float64", result.final, given.state)
        for field in ("variables", "inputs", "state"):
            gradients = result.parameters if field == "variables" else getattr(result, field)
            _require_derivative(case, given, field, gradients)


def _require_derivative(case: Case, given: Given, field: str, gradients: Any) -> None:
    """Breaks if a gradient is not what a small change of each leaf changes, along one direction."""
    label = {"variables": "parameters", "inputs": "inputs", "state": "initial state"}[field]
    fixed = frozen_names(case.subject.cell)
    aside = drawn(case) if field == "state" else []  # Masks of dropout: no variables.
    flat, structure = jax.tree_util.tree_flatten_with_path(getattr(given, field))
    gradients = dict(jax.tree_util.tree_flatten_with_path(gradients)[0])
    leaves = [leaf for _, leaf in flat]
    for place, (path, leaf) in enumerate(flat):
        frozen_ = field == "variables" and any(each in fixed for each in keys(path))
        name = jax.tree_util.keystr(path, simple=True, separator=".").removeprefix("params.cell.")
        if path not in gradients or frozen_ or name in aside:
            continue
        toward = normal(leaf.shape, leaf.dtype, 7)
        sides = []
        for sign in (1, -1):
            moved = [*leaves]
            moved[place] = leaf + sign * STEP * toward
            changed = given._replace(**{field: jax.tree.unflatten(structure, moved)})
            sides.append(_scalar(_run(case, changed, "float64"), given.pulled))
        expected = np.asarray((sides[0] - sides[1]) / (2 * STEP))
        found = np.asarray((gradients[path] * toward).sum().real)
        limit = 1e-6 * max(1.0, abs(float(expected)), abs(sides[0]))
        what = f"gradient of {label}" + (f".{name}" if name else "") + ", along one direction,"
        require_close({what: found}, {what: expected}, {what: limit}, "by finite differences")


def bfloat16(case: Case) -> None:
    cell = case.bench.cell("bfloat16")
    if cell is None:
        raise SkippedError("the cell has no dtype to make bfloat16")
    if case.engine == "cudnn":
        return
    given = case.given
    step = dataclasses.replace(case.subject, cell=cell).step
    after, _ = jax.eval_shape(step, case.bench.variables(), given.state, given.inputs[:, 0])
    require_same_structure("the state after a step in bfloat16", after, given.state)
    rough = _run(case, given, "bfloat16")
    exact = _run(case, given, "float32")
    require_same_structure("the final state in bfloat16", rough.final, exact.final)
    if not case.subject.flax_inside and rough.outputs.dtype != jnp.bfloat16:
        raise BrokenError(f"outputs have the dtype {rough.outputs.dtype}, expected bfloat16")
    require_finite(rough.leaves(), "in bfloat16")
    allowed = allowance(lambda given: _long(case, given, "float32"), given, BFLOAT16, times=3)
    require_close(
        _long(case, given, "bfloat16").leaves(),
        _long(case, given, "float32").leaves(),
        allowed,
        f"in bfloat16 after {ROUNDS * case.steps} steps, as in float32",
    )


ROUNDS = 8


def _long(case: Case, given: Given, precision: str) -> Result:
    """Returns the final state and the last outputs after several calls in a row."""
    result = Result()
    for turn in range(ROUNDS):
        inputs = np.roll(given.inputs, turn, axis=1)
        result = _run(case, given._replace(inputs=inputs), precision)
        given = given._replace(state=result.final)
    return Result(result.final, result.outputs.astype(np.float32))


def _run(case: Case, given: Given, precision: str) -> Result:
    return case.bench.run(case.engine, case.reverse, given, case.mask, precision=precision)


def _scalar(result: Result, pulled: Any) -> float:
    """Returns the number whose gradients the run pulls back."""
    final = named(result.final)
    pairs = [(final[name], leaf) for name, leaf in named(pulled[0]).items()]
    return float(sum((a * b).sum().real for a, b in [*pairs, (result.outputs, pulled[1])]))


def _doubled(leaf: Any) -> Any:
    wider = {"f": np.float64, "c": np.complex128}.get(getattr(leaf.dtype, "kind", ""))
    return leaf if wider is None else np.asarray(leaf).astype(wider)
