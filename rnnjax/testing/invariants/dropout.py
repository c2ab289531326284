"""Invariants of the random numbers that a cell draws in training."""

from typing import Any

import jax
import numpy as np

from rnnjax.layers import Bidirectional
from rnnjax.testing.assertions import (
    NotApplicableError,
    ViolationError,
    assert_bits_equal,
    assert_close,
    bits_differ,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import ALTERNATIVE_SEED, DROPOUT_SEED
from rnnjax.testing.invariant import invariant
from rnnjax.testing.invariants.time import NamedDirection, bidirectional_variables
from rnnjax.testing.random_streams import draws_randomly, random_state_parts, trace_jaxpr
from rnnjax.testing.sequence_result import SequenceResult, dropout_rngs, layer_variables

NUM_KEYS = 8
"""Keys for which all rows must draw the same before they count as equal: a rate may be small."""


@invariant(
    "results depend on the dropout key, and no key is used for two draws",
    cause="one key serves two draws, or a draw that is multiplied by zero: call "
    "self.make_rng('dropout') for each draw",
    any_size=False,
)
def dropout_keys(case: CheckCase) -> None:
    _require_randomness(case)
    try:
        with jax.debug_key_reuse(True):
            trace_jaxpr(case, training=True)
    except jax.errors.KeyReuseError as error:
        raise ViolationError(
            "two draws are made with one key, and so are equal; call self.make_rng for each"
        ) from error
    if not random_state_parts(case) and not _steps_draw(case):
        raise ViolationError("the cell draws, and another key changes nothing")


@invariant(
    "every step passes on and reads the random numbers of initial_state",
    cause="step draws the mask again, or forgets to return it in the next state",
    any_size=False,
)
def dropout_per_sequence(case: CheckCase) -> None:
    _require_randomness(case)
    names = random_state_parts(case)
    if not names:
        raise NotApplicableError("initial_state draws nothing")
    initial, alternative = (
        named_leaves(case.harness.initial_state(case.rows, seed))
        for seed in (DROPOUT_SEED, ALTERNATIVE_SEED)
    )
    state = named_leaves(case.arguments.state)
    structure = jax.tree.structure(case.arguments.state)

    def run(changes):
        changed = jax.tree.unflatten(structure, ({**state, **changes}).values())
        return _run_training(case, state=changed)

    drawn = {name: initial[name] for name in names}
    result = run(drawn)
    final = named_leaves(result.final)
    assert_bits_equal(
        {f"final state.{name}": final[name] for name in names},
        {f"final state.{name}": leaf for name, leaf in drawn.items()},
        "as initial_state drew it",
    )
    for name in names:
        changed = run({**drawn, name: alternative[name]})
        changed_final = {**named_leaves(changed.final), name: final[name]}
        if not bits_differ((final, result.outputs), (changed_final, changed.outputs)):
            raise ViolationError(f"initial_state draws {name or 'the state'}, and no step reads it")


@invariant(
    "random numbers outside the state are drawn anew at every step",
    cause="a mask is drawn in setup or project, once for all steps: draw in step, or once in "
    "initial_state",
    any_size=False,
)
def dropout_per_step(case: CheckCase) -> None:
    _require_randomness(case)
    if not _steps_draw(case):
        raise NotApplicableError("a step draws nothing")
    inputs = np.repeat(case.arguments.inputs[:, :1], case.steps, axis=1)
    results = []
    for step in range(case.steps):
        mask = np.broadcast_to(np.arange(case.steps) == step, case.mask.shape)
        result = _run_training(case, mask=mask, inputs=inputs)
        results.append((result.final, result.outputs[:, step]))
    if len(results) > 1 and not any(bits_differ(result, results[0]) for result in results[1:]):
        raise ViolationError(
            "every step draws the same, though the draw is no part of the state: called step by "
            "step the cell would draw anew; draw once for a sequence in initial_state"
        )


@invariant(
    "random numbers differ between rows",
    cause="a mask of shape (features,) that broadcasts over the batch: draw with the shape of the "
    "values",
    any_size=False,
)
def dropout_per_row(case: CheckCase) -> None:
    _require_randomness(case)

    def repeat_first_row(tree):
        return jax.tree.map(lambda leaf: np.repeat(leaf[:1], case.rows, axis=0), tree)

    inputs, state = repeat_first_row((case.arguments.inputs, case.arguments.state))
    draws = []
    for seed in range(NUM_KEYS):
        initial = named_leaves(case.harness.initial_state(case.rows, seed))
        drawn = {f"initial state.{name}": initial[name] for name in random_state_parts(case)}
        if _steps_draw(case):
            drawn["the outputs"] = _run_training(case, seed, inputs=inputs, state=state).outputs
        draws.append(drawn)
    for name in draws[0]:
        if not any(bits_differ(drawn[name], repeat_first_row(drawn[name])) for drawn in draws):
            raise ViolationError(
                f"{name}: all rows draw the same, for each of {NUM_KEYS} keys; draw for the whole "
                "shape [batch, ...]"
            )


@invariant(
    "each half of a bidirectional layer draws as a single run does",
    cause="a fixed key, or one derived from something else than self.make_rng('dropout')",
)
def dropout_bidirectional(case: CheckCase) -> None:
    _require_randomness(case)
    cell = case.adapter.cell
    variables = bidirectional_variables(
        *(layer_variables(case.harness.variables(seed)) for seed in (2, 8))
    )
    key = jax.random.key(DROPOUT_SEED)

    def run(name, layer, variables):
        def apply(variables, inputs, mask, key):
            # Without an initial state, so that what initial_state draws is drawn as well.
            return layer.apply(variables, inputs, mask, None, rngs=dropout_rngs(key))

        compiled = case.harness.compiled(name, lambda: apply)
        return to_numpy(compiled(variables, case.arguments.inputs, case.mask, key))

    layer = Bidirectional(cell, merge="none")
    finals, outputs = run("bidirectional with dropout", layer, variables)
    tolerances = case.harness.tolerances(case.rows, case.steps)
    for index, direction in enumerate(("forward", "backward")):
        half = {name: {direction: values[direction]} for name, values in variables.items()}
        single = run(("direction", direction), NamedDirection(cell, direction), half)
        assert_close(
            SequenceResult(finals[index], outputs[index]).leaves(),
            SequenceResult(*single).leaves(),
            tolerances,
            f"in the {direction} half, as in a single run with its key",
        )


def _require_randomness(case: CheckCase) -> None:
    if not draws_randomly(case):
        raise NotApplicableError("the cell draws nothing from the stream 'dropout'")


def _steps_draw(case: CheckCase) -> bool:
    return bits_differ(_run_training(case), _run_training(case, ALTERNATIVE_SEED))


def _run_training(case: CheckCase, seed: int = DROPOUT_SEED, **changes: Any) -> SequenceResult:
    """Returns final state and outputs of a run with a dropout key."""
    return case.run(key=jax.random.key(seed), **changes).values()
