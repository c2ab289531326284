"""What a cell that draws random numbers promises about them."""

from typing import Any

import jax
import numpy as np

from rnnjax.layers import Bidirectional
from rnnjax.testing.comparison import (
    BrokenError,
    SkippedError,
    differ,
    host,
    named,
    require_close,
    require_same_bits,
)
from rnnjax.testing.harness import KEY, OTHER_KEY
from rnnjax.testing.invariants.time import Half
from rnnjax.testing.random_streams import drawn, draws_randomly, traced
from rnnjax.testing.sequence_result import SequenceResult, in_layer
from rnnjax.testing.test_case import CheckCase

KEYS = 8
"""That must all give the rows the same before these count as the same: a rate may be small."""


def keys(case: CheckCase) -> None:
    _require_draws(case)
    try:
        with jax.debug_key_reuse(True):
            traced(case, training=True)
    except jax.errors.KeyReuseError as error:
        raise BrokenError(
            "two draws are made with one key, and so are the same draw; ask self.make_rng for each"
        ) from error
    if not drawn(case) and not _steps_draw(case):
        raise BrokenError("the cell draws, and another key changes nothing")


def held(case: CheckCase) -> None:
    _require_draws(case)
    names = drawn(case)
    if not names:
        raise SkippedError("initial_state draws nothing")
    one, other = (named(case.bench.begin(case.rows, key)) for key in (KEY, OTHER_KEY))
    leaves, structure = named(case.given.state), jax.tree.structure(case.given.state)

    def run(masks):
        state = jax.tree.unflatten(structure, ({**leaves, **masks}).values())
        return _trained(case, state=state)

    masks, others = ({name: each[name] for name in names} for each in (one, other))
    found = run(masks)
    after = named(found[0])
    require_same_bits(
        {f"final state.{name}": after[name] for name in names},
        {f"final state.{name}": leaf for name, leaf in masks.items()},
        "as initial_state drew it",
    )
    for name in names:
        changed = run({**masks, name: others[name]})
        rest = [{k: v for k, v in named(each[0]).items() if k != name} for each in (found, changed)]
        if not differ((rest[0], found[1]), (rest[1], changed[1])):
            raise BrokenError(f"initial_state draws {name or 'the state'}, and no step reads it")


def fresh(case: CheckCase) -> None:
    _require_draws(case)
    if not _steps_draw(case):
        raise SkippedError("a step draws nothing")
    inputs = np.repeat(case.given.inputs[:, :1], case.steps, axis=1)
    seen = []
    for step in range(case.steps):
        mask = np.broadcast_to(np.arange(case.steps) == step, case.mask.shape)
        state, outputs = _trained(case, KEY, mask, inputs=inputs)
        seen.append((state, outputs[:, step]))
    if len(seen) > 1 and not any(differ(each, seen[0]) for each in seen[1:]):
        raise BrokenError(
            "every step draws the same, though the draw is no part of the state: called step by "
            "step the cell would do otherwise; what is to hold belongs into initial_state"
        )


def rows(case: CheckCase) -> None:
    _require_draws(case)

    def first(leaf):
        return np.repeat(leaf[:1], case.rows, axis=0)

    alike = {"inputs": first(case.given.inputs), "state": jax.tree.map(first, case.given.state)}
    found = []
    for key in range(KEYS):
        begin = named(case.bench.begin(case.rows, key))
        found.append({f"initial state.{name}": begin[name] for name in drawn(case)})
        if _steps_draw(case):
            found[-1]["the outputs"] = _trained(case, key, **alike)[1]
    for name in found[0]:
        if not any(differ(each[name], first(each[name])) for each in found):
            raise BrokenError(
                f"{name}: all rows draw the same, by each of {KEYS} keys; draw for the whole shape "
                "[batch, ...]"
            )


def bidirectional(case: CheckCase) -> None:
    _require_draws(case)
    cell, given = case.subject.cell, case.given
    variables = [in_layer(case.bench.variables(seed)) for seed in (2, 8)]
    sides = ("forward", "backward")
    both = {
        collection: {side: variables[n][collection] for n, side in enumerate(sides)}
        for collection in variables[0]
    }

    def make(layer):
        def run(variables, inputs, mask, states, key):
            return layer.apply(variables, inputs, mask, states, rngs={"dropout": key})

        return run

    pair = case.bench.program("both with a key", lambda: make(Bidirectional(cell, merge="none")))
    key = jax.random.key(KEY)
    # Without states, so that what initial_state draws is drawn as well.
    finals, outputs = host(pair(both, given.inputs, case.mask, None, key))
    allowed = case.bench.allowed(case.rows, case.steps)
    for n, side in enumerate(sides):
        run = case.bench.program(("half", side), lambda side=side: make(Half(cell, side)))
        own = {name: {side: values[side]} for name, values in both.items()}
        final, output = host(run(own, given.inputs, case.mask, None, key))
        require_close(
            SequenceResult(finals[n], outputs[n]).leaves(),
            SequenceResult(final, output).leaves(),
            allowed,
            f"in the {side} half, as in a single run with its key",
        )


def _require_draws(case: CheckCase) -> None:
    if not draws_randomly(case):
        raise SkippedError("the cell draws nothing from the stream 'dropout'")


def _steps_draw(case: CheckCase) -> bool:
    return differ(_trained(case, KEY), _trained(case, OTHER_KEY))


def _trained(case: CheckCase, key: int = KEY, mask: Any = None, **changed: Any) -> Any:
    """Returns the final state and the outputs of training."""
    mask = np.ones_like(case.mask) if mask is None else mask
    result = case.run(mask, key=jax.random.key(key), **changed)
    return result.final, result.outputs
