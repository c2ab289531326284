"""What training needs: gradients that are derivatives, and other precisions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import frozen_names
from rnnjax.testing.cell_adapter import keys, normal
from rnnjax.testing.comparison import (
    BrokenError,
    SkippedError,
    named,
    require_close,
    require_finite,
    require_same_structure,
)
from rnnjax.testing.harness import KEY
from rnnjax.testing.random_streams import drawn
from rnnjax.testing.sequence_result import (
    SequenceInputs,
    SequenceResult,
    allowance,
    in_layer,
    moving,
)
from rnnjax.testing.test_case import CheckCase

BFLOAT16 = 2.0**-8
DOUBLE = {"float32": np.dtype(np.float64), "complex64": np.dtype(np.complex128)}
"""What becomes of dtypes that follow `param_dtype`. Parts of others have them for a reason."""

LARGE = (1e2, 1e4)
LONG = 43
"""Times the steps of a case: some hundreds."""

STEP = 1e-5
"""Of the finite differences: they are off by its square, and by float64's 1e-16 divided by it."""


def finite(case: CheckCase) -> None:
    given, begin = case.given, case.bench.begin(case.rows, KEY if case.training else None)
    for changed, because in (
        ({}, "from a random state"),
        ({"state": begin}, "from the cell's own initial state"),
        ({"state": begin, "inputs": np.zeros_like(given.inputs)}, "with inputs of zero"),
    ):
        require_finite(case.run(**changed).leaves(), because)


def large(case: CheckCase) -> None:
    (begin, _), variables = case.bench.init(case.rows)
    new: dict[str, Any] = {"variables": in_layer(variables), "state": begin}
    for size in LARGE:
        found = case.run(**new, inputs=case.given.inputs * np.float32(size))
        require_finite(found.leaves(), f"of a new cell with inputs of {size:g}")
    steps = LONG * case.steps
    given = case.bench.given(case.rows, steps)._replace(**new)
    found = case.bench.run(case.engine, case.reverse, given, np.ones((case.rows, steps), bool))
    require_finite(found.leaves(), f"of a new cell over {steps} steps")


def param_dtype(case: CheckCase) -> None:
    if case.bench.cell("float64") is None:
        raise SkippedError("the cell has no param_dtype")

    def dtypes(init):
        (state, _), variables = init
        leaves = named({"parameters": variables.get("params", {}), "initial state": state})
        return {name: leaf.dtype for name, leaf in leaves.items() if moving(leaf) is not None}

    expected = dtypes(case.bench.init(case.rows))
    for precision in ("float64", "float32"):
        subject = dataclasses.replace(case.subject, cell=case.bench.cell(precision))
        with jax.enable_x64(True):  # So that what is given no dtype is not float32 by chance.
            found = dtypes(jax.eval_shape(lambda subject=subject: subject.init(case.rows)))
        for name, dtype in expected.items():
            wanted = DOUBLE.get(str(dtype), dtype) if precision == "float64" else dtype
            if found[name] != wanted:
                raise BrokenError(
                    f"{name} has the dtype {found[name]}, expected {wanted} by "
                    f"param_dtype={precision}; give self.param_dtype to what makes it"
                )


def learning(case: CheckCase) -> None:
    own, given = case.run(kind="own state"), case.run()
    fixed = frozen_names(case.subject.cell)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(own.parameters)[0]]
    unknown = sorted(fixed - {key for path in paths for key in keys(path)})
    if unknown:
        raise BrokenError(f"frozen names {unknown[0]!r}, and there is no such parameter")
    if not paths:
        raise SkippedError("the cell has no parameters")
    gradients = SequenceResult(parameters=own.parameters).leaves()
    require_finite(gradients, "from the cell's own initial state")
    others = jax.tree.leaves(given.parameters)
    for path, (name, leaf), other in zip(paths, gradients.items(), others, strict=True):
        learns = (leaf != 0) | (other != 0)
        if any(each in fixed for each in keys(path)):
            if learns.any():
                raise BrokenError(f"{name} is not zero, and the parameter is declared frozen")
            continue
        _require_learning(name, learns)


def _require_learning(name: str, learns: np.ndarray) -> None:
    """Breaks if no entry of a parameter has a gradient, or no entry of a row or a column."""
    if not learns.any():
        raise BrokenError(
            f"{name} is zero, so that nothing trains it; if that is meant, declare it frozen"
        )
    for axis in range(learns.ndim):
        rest = tuple(other for other in range(learns.ndim) if other != axis)
        dead = np.flatnonzero(~learns.any(axis=rest))
        single = learns.size == learns.shape[axis]  # One entry may be zero by chance.
        if dead.size and not single:
            raise BrokenError(
                f"{name} is zero at {', '.join(map(str, dead))} of the {learns.shape[axis]} places "
                f"along axis {axis}, so that nothing trains what stands there"
            )


def derivative(case: CheckCase) -> None:
    if case.bench.cell("float64") is None:
        raise SkippedError("the cell has no param_dtype to make float64")
    if case.engine == "cudnn":  # It has float32 alone, as in the next check.
        return
    with jax.enable_x64(True):
        given = jax.tree.map(_doubled, case.given)
        # What is coarser even then is rounded by more than a finite difference.
        final, outputs = given.cotangents
        given = given._replace(cotangents=(jax.tree.map(_without_coarse, final), outputs))
        result = _run(case, given, "float64")
        require_same_structure("the final state in float64", result.final, given.state)
        for field in ("variables", "inputs", "state"):
            gradients = result.parameters if field == "variables" else getattr(result, field)
            _require_derivative(case, given, field, gradients)


def _require_derivative(case: CheckCase, given: SequenceInputs, field: str, gradients: Any) -> None:
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
        if path not in gradients or frozen_ or name in aside or _coarse(leaf):
            continue
        toward = normal(leaf.shape, leaf.dtype, 7)
        sides = []
        for sign in (1, -1):
            moved = [*leaves]
            moved[place] = leaf + sign * STEP * toward
            changed = given._replace(**{field: jax.tree.unflatten(structure, moved)})
            sides.append(_scalar(_run(case, changed, "float64"), given.cotangents))
        expected = np.asarray((sides[0] - sides[1]) / (2 * STEP))
        found = np.asarray((gradients[path] * toward).sum().real)
        limit = 1e-6 * max(1.0, abs(float(expected)), abs(sides[0]))
        what = f"gradient of {label}" + (f".{name}" if name else "") + ", along one direction,"
        require_close({what: found}, {what: expected}, {what: limit}, "by finite differences")


def bfloat16(case: CheckCase) -> None:
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


def _long(case: CheckCase, given: SequenceInputs, precision: str) -> SequenceResult:
    """Returns the final state and the last outputs after several calls in a row."""
    result = SequenceResult()
    for turn in range(ROUNDS):
        inputs = np.roll(given.inputs, turn, axis=1)
        result = _run(case, given._replace(inputs=inputs), precision)
        given = given._replace(state=result.final)
    return SequenceResult(result.final, result.outputs.astype(np.float32))


def _run(case: CheckCase, given: SequenceInputs, precision: str) -> SequenceResult:
    return case.bench.run(case.engine, case.reverse, given, case.mask, precision=precision)


def _scalar(result: SequenceResult, cotangents: Any) -> float:
    """Returns the number whose gradients the run pulls back."""
    final = named(result.final)
    pairs = [(final[name], leaf) for name, leaf in named(cotangents[0]).items()]
    return float(sum((a * b).sum().real for a, b in [*pairs, (result.outputs, cotangents[1])]))


def _doubled(leaf: Any) -> Any:
    wider = DOUBLE.get(str(leaf.dtype))
    return leaf if wider is None else np.asarray(leaf).astype(wider)


def _coarse(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.dtype not in DOUBLE.values()


def _without_coarse(leaf: Any) -> Any:
    return np.zeros_like(leaf) if _coarse(leaf) else leaf
