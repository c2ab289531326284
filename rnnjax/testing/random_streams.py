"""Random numbers that a cell draws: their rng streams, and the parts of the state they fill."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from flax.core.scope import Scope

from rnnjax.testing.assertions import bits_differ, named_leaves
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import ALTERNATIVE_SEED, DROPOUT_SEED
from rnnjax.testing.sequence_result import dropout_rngs

RANDOM_PRIMITIVES = frozenset(
    ("random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform", "random_gamma")
)
"""The operations of JAX that generate random numbers."""


def trace_step(case: CheckCase, training: bool, rows: int | None = None, cell: Any = None) -> Any:
    """Returns the jaxpr of an initial state and a step, whose last argument is the dropout key.

    Args:
      case: the cell.
      training: pass the key on.
      rows: instead of those of the case.
      cell: with the parameters of the case's cell, in its place.
    """
    adapter, variables = case.adapter, case.harness.variables()
    if cell is not None:
        adapter = dataclasses.replace(adapter, cell=cell)
    batch = (case.rows if rows is None else rows,)

    def initialize_and_step(inputs, state, key):
        rngs = dropout_rngs(key if training else None)
        initial = adapter.initial_state(variables, batch, rngs) if adapter.is_native else None
        return initial, adapter.step(variables, state, inputs, rngs)

    state = jax.eval_shape(lambda: adapter.initial_state(variables, batch))
    inputs = jax.ShapeDtypeStruct((*batch, *adapter.inputs), jnp.float32)
    return jax.make_jaxpr(initialize_and_step)(inputs, state, jax.random.key(0))


def trace_jaxpr(case: CheckCase, training: bool) -> str:
    """Returns the jaxpr of an initial state and a step as text."""
    return str(trace_step(case, training))


def find_draws(closed: Any, keys: int = 1) -> tuple[Counter[str], Counter[str], list[int]]:
    """Returns the draws of a jaxpr by their shapes, and the results that constant ones reach.

    Args:
      closed: whose last `keys` arguments are the keys.
      keys: their number.

    Returns:
      The draws from a key among the arguments, those from a constant key, and the flags of each
      result, `KEY` and `DRAWN`.
    """
    keyed, constant = Counter(), Counter()
    count = len(closed.jaxpr.invars)
    flags = [KEY if index >= count - keys else NOTHING for index in range(count)]
    results = _follow_draws(closed.jaxpr, flags, keyed, constant)
    return keyed, constant, results


NOTHING, KEY, DRAWN = 0, 1, 2
"""Whether a value depends on a key among the arguments, and on a draw from a constant one."""


def _follow_draws(
    jaxpr: Any, flags: list[int], keyed: Counter[str], constant: Counter[str]
) -> list[int]:
    """Returns the flags of the results from those of the arguments, and counts the draws."""
    values = dict(zip(jaxpr.invars, flags, strict=True))

    def flag(value):
        return NOTHING if hasattr(value, "val") else values.get(value, NOTHING)

    for equation in jaxpr.eqns:
        arguments = [flag(value) for value in equation.invars]
        union = 0
        for argument in arguments:
            union |= argument
        results = [union] * len(equation.outvars)
        if equation.primitive.name in RANDOM_PRIMITIVES:
            shapes = str([value.aval.shape for value in equation.outvars])
            if union & KEY:
                keyed[shapes] += 1
            else:
                constant[shapes] += 1
                results = [union | DRAWN for _ in results]
        for inner in inner_jaxprs(equation):
            if len(inner.invars) == len(arguments):
                inner_results = _follow_draws(inner, arguments, keyed, constant)
            else:  # A loop or a branch, whose arguments are arranged in another way.
                inner_results = _follow_draws(inner, [union] * len(inner.invars), keyed, constant)
            if len(inner_results) == len(results):
                results = [old | new for old, new in zip(results, inner_results, strict=True)]
                if equation.primitive.name in ("pjit", "jit") and len(inner.invars) == len(
                    arguments
                ):
                    results = inner_results
            else:
                reached = 0
                for result in inner_results:
                    reached |= result
                results = [old | reached for old in results]
        values.update(zip(equation.outvars, results, strict=True))
    return [flag(value) for value in jaxpr.outvars]


def inner_jaxprs(equation: Any) -> Iterator[Any]:
    """Yields the jaxprs among the parameters of an equation."""
    for parameter in equation.params.values():
        for value in parameter if isinstance(parameter, tuple | list) else [parameter]:
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield inner


def constant_draws(case: CheckCase, training: bool) -> Counter[str]:
    """Returns the draws from a constant key whose shapes are the same for any number of rows."""
    counts = [find_draws(trace_step(case, training, case.rows + more))[1] for more in (0, 1)]
    return counts[0] & counts[1]


@contextlib.contextmanager
def requested_streams() -> Iterator[set[str]]:
    """Records the names of the rng streams that modules request within the context."""
    names = set()

    def recording(method):
        def record(scope, name="params"):
            names.add(name)
            return method(scope, name)

        return record

    with contextlib.ExitStack() as patches:
        for name in ("has_rng", "make_rng"):
            patched = recording(getattr(Scope, name))
            patches.enter_context(mock.patch.object(Scope, name, patched))
        yield names


def draws_randomly(case: CheckCase) -> bool:
    """Returns whether the cell draws random numbers in training.

    A constant that is computed from a constant key in every step, the first vector of a power
    iteration, is no random number: it is drawn in an evaluation as well, for any number of rows.
    """

    def compare():
        keyed, constant, _ = find_draws(trace_step(case, training=True))
        if not keyed and not constant:
            return False
        return bool(keyed or constant - constant_draws(case, training=False))

    return case.harness.cached("draws randomly", compare)


def training_differs(case: CheckCase) -> bool:
    """Returns whether the cell computes something else in training than in an evaluation."""

    def compare():
        try:
            return trace_jaxpr(case, training=True) != trace_jaxpr(case, training=False)
        except Exception:
            return False  # 'rng_stream', 'deterministic_evaluation' and 'jit' report the cause.

    return case.harness.cached("training differs", compare)


def random_state_parts(case: CheckCase) -> list[str]:
    """Returns the parts of the initial state that depend on the dropout key."""
    if not draws_randomly(case):
        return []
    initial, alternative = (
        named_leaves(case.harness.initial_state(case.rows, seed))
        for seed in (DROPOUT_SEED, ALTERNATIVE_SEED)
    )
    return [name for name in initial if bits_differ(initial[name], alternative[name])]
