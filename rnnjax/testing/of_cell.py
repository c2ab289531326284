"""What a cell promises by itself, whatever layer runs it."""

import ast
import collections
import dataclasses
import math
import re
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import InvalidRngError

from rnnjax.testing.case import Case
from rnnjax.testing.compare import (
    BrokenError,
    SkippedError,
    host,
    named,
    require_close,
    require_same_bits,
    require_same_structure,
)
from rnnjax.testing.draws import OPERATIONS, traced

FUNCTIONS = {"len": len, "max": max, "min": min, "prod": math.prod, "sum": sum}
"""Those that a count of parameters may call."""


def contract(case: Case) -> None:
    subject, rows = case.subject, case.rows
    (state, (new, output)), variables = case.bench.init(rows)
    for collection in variables:
        if collection != "params":
            raise BrokenError(
                f"the cell keeps {', '.join(named(variables[collection]))} in the collection "
                f"'{collection}', which no layer carries; what lasts belongs into the state"
            )
    _require_batch("initial_state", state, (rows,))
    require_same_structure("the state after a step", new, state)
    if not hasattr(output, "shape") or not jnp.issubdtype(output.dtype, jnp.floating):
        raise BrokenError(f"the output is {output!r}, expected an array of floats")
    _require_batch("the output", output, (rows,))
    # As in an initialisation, a cell that draws where it must not may draw here.
    rngs = {"params": jax.random.key(0)}
    for batch in ((), (2, rows)):
        inputs = jax.ShapeDtypeStruct((*batch, *subject.inputs), jnp.float32)
        with_axes = jax.eval_shape(lambda batch=batch: subject.begin(variables, batch, rngs))
        _require_batch(f"initial_state for a batch of shape {batch}", with_axes, batch)
        try:
            after, output_ = jax.eval_shape(
                lambda state, inputs: subject.step(variables, state, inputs, rngs),
                with_axes,
                inputs,
            )
        except jax.errors.ConcretizationTypeError:
            return  # 'jit' says it better.
        require_same_structure(f"the state after a step, batch {batch}", after, with_axes)
        if output_.shape != batch + output.shape[1:]:
            raise BrokenError(
                f"the output for a batch of shape {batch} has the shape {output_.shape}, expected "
                f"{batch + output.shape[1:]}"
            )


def evaluation(case: Case) -> None:
    try:
        text = traced(case, training=False)
    except InvalidRngError as error:
        raise BrokenError(
            "the cell asks for the rng stream 'dropout' where there is none; ask first whether "
            "there is, self.has_rng('dropout')"
        ) from error
    except jax.errors.ConcretizationTypeError:
        return  # 'jit' says it better.
    found = OPERATIONS.search(text)
    if found:
        raise BrokenError(f"without the rng stream 'dropout' the cell draws ({found[0]})")


def repeatable(case: Case) -> None:
    subject, variables = case.subject, case.bench.variables()
    inputs = case.bench.inputs(case.rows, 1)[:, 0]

    def asked():
        state = subject.begin(variables, (case.rows,))
        new, output = subject.step(variables, state, inputs)
        return named(host({"initial state": state, "next state": new, "output": output}))

    require_same_bits(asked(), asked(), "when the same is asked again")


def jit(case: Case) -> None:
    given, subject, variables = case.given, case.subject, case.bench.variables()
    inputs = given.inputs[:, 0]
    compiled = case.bench.step(variables, given.state, inputs)
    eager = subject.step(variables, given.state, inputs)
    case.close_step(compiled, eager, "as it is without jit")


def output_part(case: Case) -> None:
    if not case.subject.native:
        raise SkippedError("a cell of flax does not say where its output stands")
    part = case.subject.cell.output_part  # pyright: ignore
    if part is None:
        raise SkippedError("the cell says that its output is no part of its state")
    state, output = host(
        case.bench.step(case.bench.variables(), case.given.state, case.given.inputs[:, 0])
    )
    parts = named(state)
    if part not in parts:
        raise BrokenError(
            f"output_part is {part!r}, and the state's parts are {', '.join(map(repr, parts))}"
        )
    label = f"the state's {part}" if part else "the state"
    require_close(
        {"output": output}, {"output": parts[part].astype(output.dtype)}, None, f"as {label}"
    )


def parameters(case: Case) -> None:
    cell = case.subject.cell
    text = " ".join((type(cell).__doc__ or "").split())
    found = re.search(r"Parameters:\s*(.*?)\.(?:\s|$)", text)
    if not found:
        raise SkippedError("the docstring has no 'Parameters:'")
    formula = found[1]
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError as error:
        if not re.search(r"[*+(=]", formula):
            raise SkippedError(f"the docstring counts in words: {formula}") from error
        raise BrokenError(
            f"the docstring counts {formula!r}, which is no Python expression ({error.msg}); "
            "write one in the attributes of the cell and `inputs`"
        ) from error
    known = _Names(cell, {"inputs": case.subject.inputs[-1]})
    try:
        expected = eval(formula, {"__builtins__": FUNCTIONS}, known)
    except (NameError, TypeError) as error:
        raise BrokenError(f"the docstring counts {formula!r}: {error}") from error
    leaves = named(case.bench.variables().get("params", {}))
    count = sum(leaf.size for leaf in leaves.values())
    if count != expected:
        sizes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
        raise BrokenError(
            f"the cell has {count} parameters, and by the docstring {formula} = {expected}; "
            f"they are {sizes}"
        )


def vmap(case: Case) -> None:
    step = case.subject.step
    single = case.bench.program("vmap", lambda: jax.vmap(step, in_axes=(None, 0, 0)))
    given, inputs = case.given, case.given.inputs[:, 0]
    variables = case.bench.variables()
    found = single(variables, given.state, inputs)
    expected = case.bench.step(variables, given.state, inputs)
    case.close_step(found, expected, "as in the batch, for rows without a batch axis")


def save(case: Case) -> None:
    subject = case.subject
    kept = {"variables": case.bench.variables(), "state": case.given.state}
    empty = jax.tree.map(np.zeros_like, kept)
    try:
        restored = flax.serialization.from_bytes(empty, flax.serialization.to_bytes(kept))
    except (TypeError, ValueError, KeyError) as error:
        raise BrokenError(
            f"variables and state cannot be saved by flax.serialization: {error}"
        ) from error
    require_same_structure("what is restored", restored, kept)
    require_same_bits(named(restored), named(kept), "after saving and restoring")
    inputs = case.given.inputs[:, 0]
    expected = case.bench.step(**kept, inputs=inputs)
    found = case.bench.step(**restored, inputs=inputs)
    require_same_bits(named(host(found)), named(host(expected)), "from what was restored")
    # A new cell, traced anew: what the old one kept elsewhere is not there.
    again = dataclasses.replace(subject, cell=subject.cell.clone())
    step = case.bench.program("step of a new cell", lambda: again.step)
    case.close_step(
        step(**restored, inputs=inputs), expected, "from what was restored, by a new cell"
    )


def _require_batch(what: str, tree: Any, batch: tuple[int, ...]) -> None:
    for name, leaf in named(tree).items():
        where = f"{what}.{name}" if name else what
        if not hasattr(leaf, "shape"):
            raise BrokenError(f"{where} is {leaf!r}, expected an array")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise BrokenError(
                f"{where} is a random key, which cannot be saved; expected the numbers of one, "
                "jax.random.key_data(key)"
            )
        if leaf.shape[: len(batch)] != batch:
            raise BrokenError(f"{where} has the shape {leaf.shape}, expected it to begin {batch}")


class _Names(collections.UserDict):
    """The names of a formula: some given, and the attributes of a cell."""

    def __init__(self, cell: Any, given: dict[str, Any]):
        super().__init__(given)
        self.cell = cell

    def __missing__(self, name: str) -> Any:
        try:
            return getattr(self.cell, name)
        except AttributeError as error:
            raise KeyError(name) from error
