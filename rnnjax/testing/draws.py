"""What a cell draws at random, and where it keeps it."""

import re
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.testing.case import Case
from rnnjax.testing.compare import differ, host, named

OPERATIONS = re.compile(
    r"\b(random_bits|threefry2x32|rng_bit_generator|rng_uniform|random_gamma)\b"
)
"""Those of JAX that make random numbers."""

ONE, OTHER = 11, 12
"""Two keys."""


def traced(case: Case, training: bool) -> str:
    """Returns the program of an initial state and a step, as text."""
    subject, variables, batch = case.subject, case.bench.variables(), (case.rows,)

    def both(inputs, state, key):
        rngs = {"dropout": key} if training else None
        begun = subject.begin(variables, batch, rngs) if subject.native else None
        return begun, subject.step(variables, state, inputs, rngs)

    state = jax.eval_shape(lambda: subject.begin(variables, batch))
    inputs = jax.ShapeDtypeStruct((*batch, *subject.inputs), jnp.float32)
    return str(jax.make_jaxpr(both)(inputs, state, jax.random.key(0)))


def draws(case: Case) -> bool:
    """Returns whether the cell draws anything where it may."""
    return case.bench.kept(
        "draws", lambda: OPERATIONS.search(traced(case, training=True)) is not None
    )


def begun(case: Case, seed: int) -> Any:
    """Returns an initial state of training."""
    if not case.subject.native:
        return case.bench.begin(case.rows)
    rngs = {"dropout": jax.random.key(seed)}
    return host(case.subject.begin(case.bench.variables(), (case.rows,), rngs))


def drawn(case: Case) -> list[str]:
    """Returns the parts of the state that initial_state draws: another key, other values."""

    def find():
        one, other = (named(begun(case, seed)) for seed in (ONE, OTHER))
        return [name for name in one if differ(one[name], other[name])]

    return case.bench.kept(("drawn", case.rows), find) if draws(case) else []
