"""Parts of a state that mean something only together, found by their mathematics.

Three kinds are known: the two parts of complex numbers, sums and the normalizer that divides them,
and numbers with the logarithm of their scale.
"""

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import is_broadcast, state_parts
from rnnjax.testing.assertions import to_numpy
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.mask_patterns import align_axes

ROWS, STEPS = 32, 60
"""The size of the simulation in which parts are kept apart."""

INPUT_SCALES = (1.0, 3.0)
LARGEST_RATIO = 2.0
"""By so much may outputs grow if parts are kept apart."""

SCALE_STEPS = 8
TOLERANCE = 1e-4
"""The relative size of a number that counts as zero, far above rounding."""


def coupled_parts(case: CheckCase, zoned: Collection[str]) -> tuple[str, str, str] | None:
    """Returns two parts, one of them zoned out, that mean something only together, and why."""
    parts = state_parts(case.arguments.state)
    names = [name for name, leaf in parts.items() if jnp.issubdtype(leaf.dtype, jnp.floating)]
    pairs = [pair for pair in itertools.combinations(names, 2) if set(pair) & set(zoned)]
    if not pairs:
        return None
    for first, second in pairs:
        if parts[first].shape == parts[second].shape and _rotates(case, first, second):
            return first, second, "a step turns them as the two parts of complex numbers"
    if (pair := _find_scale(case, names, zoned)) is not None:
        return *pair, "a change of one, made up for in the others, changes no output"
    for first, second in pairs:
        if _ratio_breaks(case, first, second, zoned):
            return (
                first,
                second,
                "the outputs grow where one of them keeps its value",
            )
    return None


def _rotates(case: CheckCase, first: str, second: str) -> bool:
    """Returns whether a step commutes with a turn of two parts by 90 degrees, and mixes them."""
    adapter, variables, arguments = case.adapter, case.harness.variables(), case.arguments
    inputs = arguments.inputs[:, 0]
    cell: Any = adapter.cell

    def step_undriven(variables, state, inputs):
        projected = jax.tree.map(
            lambda leaf: leaf if is_broadcast(leaf) else jnp.zeros_like(leaf),
            cell.apply(variables, inputs, method="project"),
            is_leaf=is_broadcast,
        )
        return cell.apply(variables, state, projected, method="step")

    undriven = case.harness.compiled("undriven step", lambda: step_undriven)
    structure, base = jax.tree.structure(arguments.state), state_parts(arguments.state)
    zeros = {name: np.zeros_like(leaf) for name, leaf in base.items()}
    change = state_parts(case.harness.state(case.rows, seed=6))
    a, b = (np.asarray(change[name]) for name in (first, second))
    for step, start in ((case.harness.step, base), (undriven, zeros)):

        def move(da, db, step=step, start=start):
            """Returns the change of both parts after a step."""
            results = []
            for factor in (0, 1):
                state = {**start}
                state[first] = start[first] + factor * da
                state[second] = start[second] + factor * db
                state = jax.tree.unflatten(structure, list(state.values()))
                stepped = state_parts(to_numpy(step(variables, state, inputs)[0]))
                results.append(np.stack([stepped[first], stepped[second]]).astype(np.float64))
            return results[1] - results[0]

        real, imaginary = move(a, b)
        turned = move(-b, a)
        mixed = move(a, np.zeros_like(b))[1]
        size = max(np.abs(real).max(), np.abs(imaginary).max())
        if not np.isfinite(size) or np.abs(mixed).max() < 1e-3 * size or size == 0:
            continue
        if np.abs(turned - np.stack([-imaginary, real])).max() < TOLERANCE * size:
            return True
    return False


def _find_scale(
    case: CheckCase, names: list[str], zoned: Collection[str]
) -> tuple[str, str] | None:
    """Returns two parts that a direction without any effect on the outputs changes together."""
    adapter, variables = case.adapter, case.harness.variables()

    def differentiate(variables, state, tangent, inputs):
        def step(state):
            return adapter.step(variables, state, inputs)

        (state, _), (tangent, output) = jax.jvp(step, (state,), (tangent,))
        return state, tangent, output

    compiled = case.harness.compiled("tangents of a step", lambda: differentiate)
    inputs = case.harness.inputs(case.rows, SCALE_STEPS, seed=9)
    start, structure = case.arguments.state, jax.tree.structure(case.arguments.state)
    parts = state_parts(start)
    columns, owners = [], []
    for name, direction in itertools.product(names, ("scale", "shift")):
        values = parts[name] if direction == "scale" else np.ones_like(parts[name])
        tangents = {
            part: values if part == name else _zero_tangent(leaf) for part, leaf in parts.items()
        }
        state, tangent = start, jax.tree.unflatten(structure, list(tangents.values()))
        column = []
        for step in range(SCALE_STEPS):
            try:
                state, tangent, output = compiled(variables, state, tangent, inputs[:, step])
            except TypeError as error:
                if "forward-mode" not in str(error):  # jax.custom_vjp's message
                    raise
                return None
            column.append(np.asarray(output, np.float64).ravel())
        columns.append(np.concatenate(column))
        owners.append(name)
    lengths = np.array([np.linalg.norm(column) for column in columns])
    if not np.isfinite(lengths).all():
        return None
    effective = np.flatnonzero(lengths > 1e-5 * lengths.max(initial=0.0))
    if len(effective) < 2:
        return None
    matrix = np.stack([columns[index] / lengths[index] for index in effective], axis=1)
    _, singular, vectors = np.linalg.svd(matrix, full_matrices=False)
    if singular[-1] > TOLERANCE * singular[0]:
        return None
    involved = [owners[effective[index]] for index in np.flatnonzero(np.abs(vectors[-1]) > 1e-2)]
    involved = list(dict.fromkeys(involved))
    if len(involved) < 2 or not set(involved) & set(zoned):
        return None
    first = next(name for name in involved if name in zoned)
    return first, next(name for name in involved if name != first)


def _ratio_breaks(case: CheckCase, first: str, second: str, zoned: Collection[str]) -> bool:
    """Returns whether outputs grow where one of two parts keeps its value without the other."""
    for scale in INPUT_SCALES:
        together = max(
            _largest_output(case, scale, masks) for masks in _masks_together(case, first, second)
        )
        apart = _largest_output(case, scale, _masks_apart(case, first, second, zoned))
        if np.isfinite(together) and not apart <= LARGEST_RATIO * together:
            return True
    return False


Masks = Iterator[dict[str, np.ndarray]]
"""For each step the entries that keep their values, by the name of the part."""


def _masks_together(case: CheckCase, first: str, second: str) -> Iterator[Masks]:
    """Yields masks that keep nothing, whole rows, and the same entries of both parts."""
    shapes = [_shapes(case)[name] for name in (first, second)]

    def rows():
        rng = np.random.default_rng(14)
        while True:
            entries = rng.random(ROWS) < 0.5
            yield {first: entries, second: entries}

    def entries():
        rng = np.random.default_rng(15)
        while True:
            entries = rng.random((ROWS, *shapes[0])) < 0.5
            yield {first: entries, second: entries}

    yield itertools.repeat({})
    yield rows()
    if shapes[0] == shapes[1]:
        yield entries()


def _masks_apart(case: CheckCase, first: str, second: str, zoned: Collection[str]) -> Masks:
    """Yields masks that keep other entries of either part, if it is zoned out."""
    rng, shapes = np.random.default_rng(16), _shapes(case)
    while True:
        yield {
            name: rng.random((ROWS, *shapes[name])) < 0.5
            for name in (first, second)
            if name in zoned
        }


def _largest_output(case: CheckCase, scale: float, masks: Masks) -> float:
    """Returns the largest output of a simulation in which entries keep their values."""
    variables = case.harness.variables()
    inputs = case.harness.inputs(ROWS, STEPS, seed=13) * np.float32(scale)
    state = case.harness.initial_state(ROWS)
    structure, largest = jax.tree.structure(state), 0.0
    for step, masked in zip(range(STEPS), masks, strict=False):
        old = state_parts(state)
        new_state, output = to_numpy(case.harness.step(variables, state, inputs[:, step]))
        new: dict[str, Any] = {**state_parts(new_state)}
        for name, entries in masked.items():
            new[name] = np.where(align_axes(entries, new[name]), old[name], new[name])
        state = jax.tree.unflatten(structure, list(new.values()))
        largest = max(largest, float(np.abs(output.astype(np.float64)).max()))
    return largest


def _shapes(case: CheckCase) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape[1:] for name, leaf in state_parts(case.arguments.state).items()}


def _zero_tangent(leaf: Any) -> np.ndarray:
    is_inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
    return np.zeros(leaf.shape, leaf.dtype if is_inexact else jax.dtypes.float0)
