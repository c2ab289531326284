"""What a cell promises by itself, whatever layer runs it."""

import ast
import collections
import contextlib
import functools
import inspect
import math
import re
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import InvalidRngError, NameInUseError, ScopeParamShapeError

from rnnjax.testing.comparison import (
    BrokenError,
    SkippedError,
    differ,
    host,
    named,
    require_close,
    require_same_bits,
    require_same_structure,
)
from rnnjax.testing.harness import KEY
from rnnjax.testing.random_streams import OPERATIONS, requested_streams, traced
from rnnjax.testing.sequence_result import stream_of
from rnnjax.testing.test_case import CheckCase

FORMULA = re.compile(r"Parameters:\s*(.+?)(?:\.(?=\s|$)|\n\s*\n|\Z)", re.DOTALL)
"""Ends at a full stop, an empty line, or the end."""

FUNCTIONS = {"len": len, "max": max, "min": min, "prod": math.prod, "sum": sum}
"""Those that a count of parameters may call."""


def contract(case: CheckCase) -> None:
    rows = case.rows
    try:
        (state, (new, output)), variables = case.bench.init(rows)
    except (ScopeParamShapeError, NameInUseError) as error:
        raise BrokenError(
            f"parameters of one name are made twice ({str(error).split(' (https')[0]}); make them "
            "in setup, because each method that is @nn.compact begins again at Dense_0"
        ) from error
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
    keys = {"params": jax.random.key(0)}
    for batch in ((), (2, rows)):
        shapes = _shapes(case, batch, keys)
        training = _shapes(case, batch, {**keys, "dropout": jax.random.key(0)})
        if shapes is None or training is None:
            return  # 'jit' says it better.
        begun, after, shown = shapes
        where = f"for a batch of shape {batch}"
        _require_batch(f"initial_state {where}", begun, batch)
        require_same_structure(f"the state after a step, batch {batch}", after, begun)
        if shown.shape != batch + output.shape[1:]:
            raise BrokenError(
                f"the output {where} has the shape {shown.shape}, expected "
                f"{batch + output.shape[1:]}"
            )
        for what, one, other in zip(
            ("initial state", "state after a step", "output"), training, shapes, strict=True
        ):
            require_same_structure(f"in training the {what} {where}", one, other)


def streams(case: CheckCase) -> None:
    with (
        requested_streams() as names,
        contextlib.suppress(InvalidRngError, jax.errors.ConcretizationTypeError),
    ):
        traced(case, training=True)
    others = sorted(names - {"dropout", "params"})
    if others:
        raise BrokenError(
            f"the cell asks for the rng stream {others[0]!r}, which no layer passes on, so that "
            "nothing is drawn; ask for 'dropout'"
        )


def evaluation(case: CheckCase) -> None:
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


def repeatable(case: CheckCase) -> None:
    subject, variables = case.subject, case.bench.variables()
    inputs = case.bench.inputs(case.rows, 1)[:, 0]
    rngs = stream_of(jax.random.key(KEY) if case.training else None)

    def given():
        state = subject.begin(variables, (case.rows,), rngs)
        new, output = subject.step(variables, state, inputs, rngs)
        return named(host({"initial state": state, "next state": new, "output": output}))

    require_same_bits(given(), given(), "when the same is asked again")


def jit(case: CheckCase) -> None:
    given, subject, variables = case.given, case.subject, case.bench.variables()
    inputs = given.inputs[:, 0]
    compiled = case.bench.step(variables, given.state, inputs)
    eager = subject.step(variables, given.state, inputs)
    case.close_step(compiled, eager, "as it is without jit")


def output_part(case: CheckCase) -> None:
    if not case.subject.native:
        raise SkippedError("a cell of flax does not say where its output stands")
    part = case.subject.cell.output_part  # pyright: ignore
    state, output = host(
        case.bench.step(case.bench.variables(), case.given.state, case.given.inputs[:, 0])
    )
    parts = named(state)
    if part is None:
        for name, leaf in parts.items():
            real = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.shape == output.shape
            if real and not differ(leaf.astype(output.dtype), output):
                raise BrokenError(
                    f"output_part is None, and the output is {_called(name)}, bit for bit; say so "
                    f"in the class: output_part = {name!r}"
                )
        raise SkippedError("the cell says that its output is no part of its state")
    if part not in parts:
        raise BrokenError(
            f"output_part is {part!r}, and the state's parts are {', '.join(map(repr, parts))}"
        )
    expected = {"output": parts[part].astype(output.dtype)}
    require_close({"output": output}, expected, None, f"as {_called(part)}")


def parameters(case: CheckCase) -> None:
    cell = case.subject.cell
    found = FORMULA.search(inspect.cleandoc(type(cell).__doc__ or ""))
    if not found:
        raise SkippedError("the docstring has no 'Parameters:'")
    formula = " ".join(found[1].split())
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError as error:
        if not re.search(r"[*+(=]", formula):
            raise SkippedError(f"the docstring counts in words: {formula}") from error
        raise BrokenError(
            f"the docstring counts {formula!r}, which is no Python expression ({error.msg}); "
            "write one in the attributes of the cell and `inputs`, and end it by a full stop"
        ) from error
    known = _Names(cell, {"inputs": case.subject.inputs[-1]})
    try:
        expected = eval(formula, {"__builtins__": FUNCTIONS}, known)
    except (NameError, TypeError) as error:
        hint = "; write the * of every product" if "not callable" in str(error) else ""
        raise BrokenError(f"the docstring counts {formula!r}: {error}{hint}") from error
    leaves = named(case.bench.variables().get("params", {}))
    count = sum(leaf.size for leaf in leaves.values())
    if count != expected:
        sizes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
        raise BrokenError(
            f"the cell has {count} parameters, and by the docstring {formula} = {expected}; "
            f"they are {sizes}"
        )


def vmap(case: CheckCase) -> None:
    step = case.subject.step
    single = case.bench.program("vmap", lambda: jax.vmap(step, in_axes=(None, 0, 0)))
    given, inputs = case.given, case.given.inputs[:, 0]
    variables = case.bench.variables()
    found = single(variables, given.state, inputs)
    expected = case.bench.step(variables, given.state, inputs)
    case.close_step(found, expected, "as in the batch, for rows without a batch axis")


def save(case: CheckCase) -> None:
    kept = {"variables": case.bench.variables(), "state": case.given.state}
    empty = jax.tree.map(np.zeros_like, kept)
    try:
        restored = flax.serialization.from_bytes(empty, flax.serialization.to_bytes(kept))
    except (TypeError, ValueError, KeyError) as error:
        raise BrokenError(
            f"variables and state cannot be saved by flax.serialization: {error}"
        ) from error
    require_same_structure("what is restored", restored, kept)
    # What follows from the same bits are the same bits, says 'repeatable'.
    require_same_bits(named(restored), named(kept), "after saving and restoring")


def _called(part: str) -> str:
    return f"the state's {part}" if part else "the state"


def _shapes(case: CheckCase, batch: tuple[int, ...], rngs: Any) -> tuple[Any, Any, Any] | None:
    """Returns the shapes of an initial state, the next state and the output; None if under jit."""
    subject, (_, variables) = case.subject, case.bench.init(case.rows)
    inputs = jax.ShapeDtypeStruct((*batch, *subject.inputs), jnp.float32)
    begun = jax.eval_shape(lambda: subject.begin(variables, batch, rngs))
    try:
        step = functools.partial(subject.step, variables, rngs=rngs)
        return begun, *jax.eval_shape(step, begun, inputs)
    except jax.errors.ConcretizationTypeError:
        return None


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
