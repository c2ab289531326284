"""Random numbers that a cell draws: their rng streams, and the parts of the state they fill."""

import contextlib
import re
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp
from flax.core.scope import Scope

from rnnjax.testing.assertions import bits_differ, named_leaves
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import ALTERNATIVE_SEED, DROPOUT_SEED
from rnnjax.testing.sequence_result import dropout_rngs

RANDOM_PRIMITIVES = re.compile(
    r"\b(random_bits|threefry2x32|rng_bit_generator|rng_uniform|random_gamma)\b"
)
"""The operations of JAX that generate random numbers."""


def trace_jaxpr(case: CheckCase, training: bool) -> str:
    """Returns the jaxpr of an initial state and a step as text."""
    adapter, variables, batch = case.adapter, case.harness.variables(), (case.rows,)

    def initialize_and_step(inputs, state, key):
        rngs = dropout_rngs(key if training else None)
        initial = adapter.initial_state(variables, batch, rngs) if adapter.is_native else None
        return initial, adapter.step(variables, state, inputs, rngs)

    state = jax.eval_shape(lambda: adapter.initial_state(variables, batch))
    inputs = jax.ShapeDtypeStruct((*batch, *adapter.inputs), jnp.float32)
    return str(jax.make_jaxpr(initialize_and_step)(inputs, state, jax.random.key(0)))


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
    """Returns whether the cell draws random numbers in training."""
    return case.harness.cached(
        "draws randomly",
        lambda: RANDOM_PRIMITIVES.search(trace_jaxpr(case, training=True)) is not None,
    )


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
