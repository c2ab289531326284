"""Invariants of a cell by itself, whatever layer runs it."""

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

from rnnjax.testing.assertions import (
    NotApplicableError,
    ViolationError,
    assert_bits_equal,
    assert_close,
    assert_same_structure,
    bits_differ,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import DROPOUT_SEED
from rnnjax.testing.invariant import invariant
from rnnjax.testing.random_streams import (
    constant_draws,
    find_draws,
    requested_streams,
    trace_jaxpr,
    trace_step,
)
from rnnjax.testing.sequence_result import dropout_rngs

FORMULA = re.compile(r"Parameters:\s*(.+?)(?:\.(?=\s|$)|\n\s*\n|\Z)", re.DOTALL)
"""Matches the parameter count of a docstring, up to a full stop, an empty line, or the end."""

LARGE_STATE = 100
"""Size of states and inputs at which `output_part` is checked as well."""

FUNCTIONS = {"len": len, "max": max, "min": min, "prod": math.prod, "sum": sum}
"""The functions that a formula may call."""


@invariant(
    "a step preserves the structure, shapes and dtypes of the state, for any number of batch axes",
    cause="step returns a state in another container, shape or dtype than initial_state, often "
    "because arithmetic in another dtype promoted it: end step by .astype(state.dtype)",
)
def state_structure(case: CheckCase) -> None:
    rows = case.rows
    try:
        (state, (next_state, output)), variables = case.harness.init(rows)
    except (ScopeParamShapeError, NameInUseError) as error:
        raise ViolationError(
            f"parameters of one name are made twice ({str(error).split(' (https')[0]}); make them "
            "in setup, because each method that is @nn.compact begins again at Dense_0"
        ) from error
    for collection in variables:
        if collection != "params":
            raise ViolationError(
                f"the cell has {', '.join(named_leaves(variables[collection]))} in the collection "
                f"'{collection}', which no layer carries; what lasts belongs in the state"
            )
    _assert_batch_axes("initial_state", state, (rows,))
    assert_same_structure("the state after a step", next_state, state)
    if not hasattr(output, "shape") or not jnp.issubdtype(output.dtype, jnp.floating):
        raise ViolationError(f"the output is {output!r}, expected an array of floats")
    _assert_batch_axes("the output", output, (rows,))
    # With the rngs of an initialization, a cell may draw here even if it must not in an evaluation.
    rngs = {"params": jax.random.key(0)}
    for batch in ((), (2, rows)):
        evaluation = _abstract_step(case, batch, rngs)
        training = _abstract_step(case, batch, {**rngs, "dropout": jax.random.key(0)})
        if evaluation is None or training is None:
            return  # 'jit' reports the cause.
        batch_state, batch_next_state, batch_output = evaluation
        label = f"for a batch of shape {batch}"
        _assert_batch_axes(f"initial_state {label}", batch_state, batch)
        assert_same_structure(
            f"the state after a step, batch {batch}", batch_next_state, batch_state
        )
        expected_shape = batch + output.shape[1:]
        if batch_output.shape != expected_shape:
            raise ViolationError(
                f"the output {label} has the shape {batch_output.shape}, expected {expected_shape}"
            )
        names = ("initial state", "state after a step", "output")
        for name, actual, expected in zip(names, training, evaluation, strict=True):
            assert_same_structure(f"in training the {name} {label}", actual, expected)


@invariant(
    "all random numbers come from the rng stream 'dropout', which layers pass on",
    cause="self.make_rng() without a name, or a stream named after the layer, where layers pass "
    "'dropout' alone",
)
def rng_stream(case: CheckCase) -> None:
    with (
        requested_streams() as names,
        contextlib.suppress(InvalidRngError, jax.errors.ConcretizationTypeError),
    ):
        trace_jaxpr(case, training=True)
    unknown = sorted(names - {"dropout", "params"})
    if unknown:
        raise ViolationError(
            f"the cell requests the rng stream {unknown[0]!r}, which no layer passes on, so that "
            "nothing is drawn; request 'dropout'"
        )


@invariant(
    "without the rng stream 'dropout' the cell draws nothing",
    cause="a draw that does not ask self.has_rng('dropout') first, or a fixed jax.random.key in "
    "the cell",
)
def deterministic_evaluation(case: CheckCase) -> None:
    try:
        constant = find_draws(trace_step(case, training=False))[1]
        shared = constant_draws(case, training=True) if constant else constant
    except InvalidRngError as error:
        raise ViolationError(
            "the cell requests the rng stream 'dropout' where there is none; test for it first, "
            "with self.has_rng('dropout')"
        ) from error
    except jax.errors.ConcretizationTypeError:
        return  # 'jit' reports the cause.
    if drawn := constant - shared:
        shape = next(iter(drawn))[1:-1]
        raise ViolationError(f"without the rng stream 'dropout' the cell draws (an array {shape})")


@invariant(
    "equal arguments give the same bits twice: nothing is stored outside the state",
    cause="a Python list, attribute or NumPy generator in the module that a call changes",
    training=True,
)
def purity(case: CheckCase) -> None:
    adapter, variables = case.adapter, case.harness.variables()
    inputs = case.harness.inputs(case.rows, 1)[:, 0]
    rngs = dropout_rngs(jax.random.key(DROPOUT_SEED) if case.training else None)

    def run():
        state = adapter.initial_state(variables, (case.rows,), rngs)
        next_state, output = adapter.step(variables, state, inputs, rngs)
        results = {"initial state": state, "next state": next_state, "output": output}
        return named_leaves(to_numpy(results))

    assert_bits_equal(run(), run(), "when the same is computed again")


@invariant(
    "a step under jit equals one without",
    cause="an `if`, float() or NumPy call on an array of the step, whose value is not known when "
    "it is compiled",
)
def jit(case: CheckCase) -> None:
    variables, state = case.harness.variables(), case.arguments.state
    inputs = case.arguments.inputs[:, 0]
    compiled = case.harness.step(variables, state, inputs)
    eager = case.adapter.step(variables, state, inputs)
    case.assert_step_close(compiled, eager, "as it is without jit")


@invariant(
    "the number of parameters is the one in the docstring",
    cause="a bias that the docstring forgets, or a kernel made twice",
)
def parameter_count(case: CheckCase) -> None:
    cell = case.adapter.cell
    match = FORMULA.search(inspect.cleandoc(type(cell).__doc__ or ""))
    if not match:
        raise NotApplicableError("the docstring has no 'Parameters:'")
    formula = " ".join(match[1].split())
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError as error:
        if not re.search(r"[*+(=]", formula):
            raise NotApplicableError(f"the docstring counts in words: {formula}") from error
        raise ViolationError(
            f"the docstring counts {formula!r}, which is no Python expression ({error.msg}); "
            "write one in the attributes of the cell and `inputs`, and end it by a full stop"
        ) from error
    namespace = _FormulaNamespace(cell, {"inputs": case.adapter.inputs[-1]})
    try:
        expected = eval(formula, {"__builtins__": FUNCTIONS}, namespace)
    except (NameError, TypeError) as error:
        hint = "; write the * of every product" if "not callable" in str(error) else ""
        raise ViolationError(f"the docstring counts {formula!r}: {error}{hint}") from error
    leaves = named_leaves(case.harness.variables().get("params", {}))
    count = sum(leaf.size for leaf in leaves.values())
    if count != expected:
        shapes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
        raise ViolationError(
            f"the cell has {count} parameters, and by the docstring {formula} = {expected}; "
            f"they are {shapes}"
        )


@invariant(
    "the output is the part of the state that output_part names",
    cause="an output that is squashed, projected or normalised after the state was, or a part that "
    "was renamed",
    training=True,
)
def output_part(case: CheckCase) -> None:
    if not case.adapter.is_native:
        raise NotApplicableError("a cell of flax does not declare where its output stands")
    part = case.adapter.cell.output_part  # pyright: ignore
    key = jax.random.key(DROPOUT_SEED) if case.training else None
    inputs, reachable = case.arguments.inputs[:, 0], case.arguments.state
    large = jax.tree.map(lambda leaf: leaf * np.asarray(LARGE_STATE, leaf.dtype), reachable)
    for state, factor, context in (
        (reachable, 1, ""),
        (reachable, LARGE_STATE, f", for inputs of {LARGE_STATE}"),
        (large, 1, f", for states of {LARGE_STATE}"),
    ):
        variables = case.harness.variables()
        results = case.harness.step(variables, state, inputs * np.float32(factor), key)
        next_state, output = to_numpy(results)
        _assert_output_part(part, next_state, output, context)


def _assert_output_part(part: str | None, state: Any, output: Any, context: str) -> None:
    """Asserts that an output is a part of a state, bit for bit."""
    parts = named_leaves(state)
    if part is None:
        for name, leaf in parts.items():
            is_candidate = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.shape == output.shape
            if is_candidate and not bits_differ(leaf.astype(output.dtype), output):
                raise ViolationError(
                    f"output_part is None, and the output is {_describe_part(name)}, bit for bit; "
                    f"declare it in the class: output_part = {name!r}"
                )
        raise NotApplicableError("the cell declares that its output is no part of its state")
    if part not in parts:
        raise ViolationError(
            f"output_part is {part!r}, and the state's parts are {', '.join(map(repr, parts))}"
        )
    expected = {"output": parts[part].astype(output.dtype)}
    assert_close({"output": output}, expected, None, f"as {_describe_part(part)}{context}")


@invariant(
    "vmap over rows without a batch axis equals the batch",
    cause="an axis counted from the front, as axis=1 for features, where only axis=-1 is right "
    "without a batch axis",
)
def vmap(case: CheckCase) -> None:
    step = case.adapter.step
    mapped = case.harness.compiled("vmap", lambda: jax.vmap(step, in_axes=(None, 0, 0)))
    arguments = (case.harness.variables(), case.arguments.state, case.arguments.inputs[:, 0])
    expected = case.harness.step(*arguments)
    context = "as in the batch, for rows without a batch axis"
    case.assert_step_close(mapped(*arguments), expected, context)


@invariant(
    "variables and state have the same bits after saving and restoring",
    cause="a container that flax.serialization does not know: use a NamedTuple, a dict or a tuple "
    "of arrays",
)
def serialization(case: CheckCase) -> None:
    saved = {"variables": case.harness.variables(), "state": case.arguments.state}
    template = jax.tree.map(np.zeros_like, saved)
    try:
        restored = flax.serialization.from_bytes(template, flax.serialization.to_bytes(saved))
    except (TypeError, ValueError, KeyError) as error:
        raise ViolationError(
            f"variables and state cannot be saved by flax.serialization: {error}"
        ) from error
    assert_same_structure("the restored tree", restored, saved)
    # By 'purity' the same bits have the same consequences.
    assert_bits_equal(named_leaves(restored), named_leaves(saved), "after saving and restoring")


def _describe_part(part: str) -> str:
    return f"the state's {part}" if part else "the state"


def _abstract_step(
    case: CheckCase, batch: tuple[int, ...], rngs: Any
) -> tuple[Any, Any, Any] | None:
    """Returns the shapes of an initial state, the next state and the output.

    None if the step cannot be traced.
    """
    adapter, (_, variables) = case.adapter, case.harness.init(case.rows)
    inputs = jax.ShapeDtypeStruct((*batch, *adapter.inputs), jnp.float32)
    state = jax.eval_shape(lambda: adapter.initial_state(variables, batch, rngs))
    try:
        step = functools.partial(adapter.step, variables, rngs=rngs)
        return state, *jax.eval_shape(step, state, inputs)
    except jax.errors.ConcretizationTypeError:
        return None


def _assert_batch_axes(label: str, tree: Any, batch: tuple[int, ...]) -> None:
    """Asserts that the leaves are arrays whose first axes are those of the batch."""
    for name, leaf in named_leaves(tree).items():
        path = f"{label}.{name}" if name else label
        if not hasattr(leaf, "shape"):
            raise ViolationError(f"{path} is {leaf!r}, expected an array")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ViolationError(
                f"{path} is a random key, which cannot be saved; expected the numbers of one, "
                "jax.random.key_data(key)"
            )
        if leaf.shape[: len(batch)] != batch:
            raise ViolationError(f"{path} has the shape {leaf.shape}, expected it to begin {batch}")


class _FormulaNamespace(collections.UserDict):
    """The names of a formula: some values, and the attributes of a cell."""

    def __init__(self, cell: Any, values: dict[str, Any]):
        super().__init__(values)
        self.cell = cell

    def __missing__(self, name: str) -> Any:
        try:
            return getattr(self.cell, name)
        except AttributeError as error:
            raise KeyError(name) from error
