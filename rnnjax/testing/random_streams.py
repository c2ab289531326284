"""What a cell draws at random, from which stream, and where it keeps it."""

import contextlib
import re
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp
from flax.core.scope import Scope

from rnnjax.testing.comparison import differ, named
from rnnjax.testing.harness import KEY, OTHER_KEY
from rnnjax.testing.sequence_result import stream_of
from rnnjax.testing.test_case import CheckCase

OPERATIONS = re.compile(
    r"\b(random_bits|threefry2x32|rng_bit_generator|rng_uniform|random_gamma)\b"
)
"""Those of JAX that make random numbers."""


def traced(case: CheckCase, training: bool) -> str:
    """Returns the program of an initial state and a step, as text."""
    subject, variables, batch = case.subject, case.bench.variables(), (case.rows,)

    def both(inputs, state, key):
        rngs = stream_of(key if training else None)
        begun = subject.begin(variables, batch, rngs) if subject.native else None
        return begun, subject.step(variables, state, inputs, rngs)

    state = jax.eval_shape(lambda: subject.begin(variables, batch))
    inputs = jax.ShapeDtypeStruct((*batch, *subject.inputs), jnp.float32)
    return str(jax.make_jaxpr(both)(inputs, state, jax.random.key(0)))


@contextlib.contextmanager
def requested_streams() -> Iterator[set[str]]:
    """Yields the names of the rng streams that are asked for meanwhile."""
    names = set()

    def noting(method):
        def note(scope, name="params"):
            names.add(name)
            return method(scope, name)

        return note

    with contextlib.ExitStack() as patches:
        for name in ("has_rng", "make_rng"):
            noted = noting(getattr(Scope, name))
            patches.enter_context(mock.patch.object(Scope, name, noted))
        yield names


def draws_randomly(case: CheckCase) -> bool:
    """Returns whether the cell draws anything where it may."""
    return case.bench.kept(
        "draws", lambda: OPERATIONS.search(traced(case, training=True)) is not None
    )


def trains(case: CheckCase) -> bool:
    """Returns whether the cell does anything else where it may draw than where it may not."""

    def find():
        try:
            return traced(case, training=True) != traced(case, training=False)
        except Exception:
            return False  # 'streams', 'evaluation' and 'jit' are about what goes wrong here.

    return case.bench.kept("trains", find)


def drawn(case: CheckCase) -> list[str]:
    """Returns the parts of the state that initial_state draws: another key, other values."""
    if not draws_randomly(case):
        return []
    one, other = (named(case.bench.begin(case.rows, key)) for key in (KEY, OTHER_KEY))
    return [name for name in one if differ(one[name], other[name])]
