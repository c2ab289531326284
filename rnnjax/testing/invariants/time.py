"""What holds along the time axis: each step alone, no future, and the same by a plain loop."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rnnjax.cells import LinearCell
from rnnjax.layers import RNN, Bidirectional
from rnnjax.testing.comparison import (
    BrokenError,
    SkippedError,
    differ,
    host,
    named,
    require_close,
    require_same_bits,
    require_zero,
)
from rnnjax.testing.mask_patterns import flipped, masks
from rnnjax.testing.sequence_result import SequenceInputs, SequenceResult, in_layer, moving, pulling
from rnnjax.testing.test_case import CheckCase


def project(case: CheckCase) -> None:
    subject, inputs = case.subject, case.given.inputs
    cell: Any = subject.cell
    if not subject.native:
        raise SkippedError("a cell of flax reads one step at a time")
    linear = isinstance(cell, LinearCell) and "associative" in case.engines

    def computed(variables, inputs, states):
        projected = cell.apply(variables, inputs, method="project")
        found = {"project": projected}
        if linear:
            found["coefficients"] = cell.apply(variables, projected, method="coefficients")
            found["read"] = cell.apply(variables, states, projected, method="read")
        return found

    def at_all_steps(leaf):
        return np.repeat(leaf[:, None], case.steps, axis=1)

    states = jax.tree.map(at_all_steps, case.given.state) if linear else None
    compiled = case.bench.program("project", lambda: computed)
    variables = case.bench.variables()
    whole = host(compiled(variables, inputs, states))
    for step in range(case.steps):

        def at(leaf, step=step):
            return leaf[:, step]

        alone = compiled(variables, inputs[:, step], jax.tree.map(at, states))
        require_close(
            named(jax.tree.map(at, whole)),
            named(host(alone)),
            None,
            f"for step {step}, of the inputs of all steps, as of that step's alone",
        )


def initial_state(case: CheckCase) -> None:
    given, read_first = case.given, case.order[0]
    mask = np.broadcast_to(np.arange(case.steps) == read_first, case.mask.shape)
    other = case.bench.state(case.rows, seed=6)
    inputs, variables = given.inputs[:, read_first], case.bench.variables()
    step, layer = case.bench.step(variables, given.state, inputs), case.run(mask)
    leaves, structure = jax.tree.flatten(given.state)
    for place, (name, leaf) in enumerate(named(given.state).items()):
        changed = list(leaves)
        changed[place] = jax.tree.leaves(other)[place]
        if not differ(changed[place], leaf):
            continue
        state = jax.tree.unflatten(structure, changed)
        # What the changed part does in a step, it does in the layer.
        after = case.bench.step(variables, state, inputs)
        found = case.run(mask, state=state)
        if differ(after, step) and not differ(found[:2], layer[:2]):
            part = f"the part {name} of the initial state" if name else "the initial state"
            raise BrokenError(f"{part} changes a step, and changes nothing in the layer")
    if case.reverse or case.engine != "scan":
        return
    begin = case.bench.begin(case.rows)
    for mask in (case.mask, masks(case.rows, case.steps)[-1]):
        case.close(
            case.run(mask, kind="own state")._replace(parameters=None, state=None),
            case.run(mask, state=begin)._replace(parameters=None, state=None),
            "without an initial state, as from the cell's own",
        )


def causality(case: CheckCase) -> None:
    given, (final, outputs) = case.given, case.given.cotangents
    nothing = jax.tree.map(np.zeros_like, final)
    expected = case.run()
    for read in range(case.steps):
        past, future = case.order[: read + 1], case.order[read + 1 :]
        cotangents = outputs.copy()
        cotangents[:, future] = 0
        result = case.run(cotangents=(nothing, cotangents))
        require_zero(
            {f"gradient of inputs after step {case.order[read]}": result.inputs[:, future]},
            "of the outputs up to it",
        )
        changed = given.inputs.copy()
        changed[:, future] = changed[:, future] * -3 + 1
        found = case.run(inputs=changed)
        require_same_bits(
            {"outputs": found.outputs[:, past]},
            {"outputs": expected.outputs[:, past]},
            f"because inputs after step {case.order[read]} changed",
        )


def reverse(case: CheckCase) -> None:
    final, outputs = case.given.cotangents
    found = case.run(reverse=True)
    forward = case.run(
        reverse=False,
        inputs=flipped(case.given.inputs, case.mask),
        cotangents=(final, flipped(outputs, case.mask)),
    )
    expected = forward._replace(
        outputs=flipped(forward.outputs, case.mask), inputs=flipped(forward.inputs, case.mask)
    )
    case.close(found, expected, "as forward on the reversed real steps")


def split(case: CheckCase) -> None:
    given, (final, outputs) = case.given, case.given.cotangents
    whole = case.run()
    for count in range(1, case.steps):
        halves = [np.sort(case.order[:count]), np.sort(case.order[count:])]
        # Each half stands at the beginning of a row, as in a call of its own.
        masks, inputs, cotangents = (
            [_first(values, half) for half in halves]
            for values in (case.mask, given.inputs, outputs)
        )
        carried = case.run(masks[0], inputs=inputs[0])
        second = case.run(
            masks[1], inputs=inputs[1], state=carried.final, cotangents=(final, cotangents[1])
        )
        first = case.run(masks[0], inputs=inputs[0], cotangents=(second.state, cotangents[0]))
        together = SequenceResult(
            final=second.final,
            outputs=_back([first.outputs, second.outputs], halves),
            parameters=jax.tree.map(np.add, first.parameters, second.parameters),
            inputs=_back([first.inputs, second.inputs], halves),
            state=first.state,
        )
        case.close(together, whole, f"in two calls, the first of {count} steps, as in one")


def loop(case: CheckCase) -> None:
    found, expected = case.run(), _looped(case)
    none = {"parameters": None, "inputs": None, "state": None}
    case.close(found._replace(**none), expected._replace(**none), "as by a loop in Python")


def loop_gradients(case: CheckCase) -> None:
    found, expected = case.run(), _looped(case)
    none = {"final": None, "outputs": None}
    case.close(found._replace(**none), expected._replace(**none), "as by a loop in Python")


def streaming(case: CheckCase) -> None:
    given, subject = case.given, case.subject
    call = case.bench.program("call", lambda: subject.call)
    variables, state, outputs = case.bench.variables(), given.state, []
    for step in range(case.steps):
        state, output = call(variables, state, given.inputs[:, step])
        outputs.append(np.asarray(output))
    streamed = SequenceResult(final=host(state), outputs=np.stack(outputs, axis=1))
    layer = case.run(np.ones_like(case.mask))
    expected = SequenceResult(layer.final, layer.outputs)
    case.close(streamed, expected, "in calls of cell(state, inputs), as in the layer")


def bidirectional(case: CheckCase) -> None:
    cell, given = case.subject.cell, case.given
    variables = [in_layer(case.bench.variables(seed)) for seed in (2, 8)]
    states = (given.state, case.bench.state(case.rows, seed=6))
    both = {
        collection: {"forward": variables[0][collection], "backward": variables[1][collection]}
        for collection in variables[0]
    }
    engine: Any = case.engine
    layer = Bidirectional(cell, merge="none", engine=engine)
    run = case.bench.program(("bidirectional", engine), lambda: layer.apply)
    finals, outputs = host(run(both, given.inputs, case.mask, states))
    for side, reads_back in enumerate((False, True)):
        single = case.bench.run(
            engine,
            reads_back,
            given._replace(variables=variables[side], state=states[side]),
            case.mask,
        )
        case.close(
            SequenceResult(finals[side], outputs[side]),
            SequenceResult(single.final, single.outputs),
            f"in the {'backward' if reads_back else 'forward'} half, as in a single run",
        )


class Half(nn.Module):
    """A single run whose module path, which flax folds into every key, is that of one direction."""

    cell: nn.Module
    side: str

    @nn.compact
    def __call__(self, inputs: Any, mask: Any, state: Any) -> Any:
        """Returns what the layer returns."""
        cell = self.cell.copy(parent=None, name=None)
        return RNN(cell, reverse=self.side == "backward", name=self.side)(inputs, mask, state)


def _looped(case: CheckCase) -> SequenceResult:
    """Returns the oracle: a loop in Python over the real steps of each row, one step a call."""
    key = ("loop", case.reverse, case.rows, case.steps, case.mask.tobytes())
    return case.bench.kept(key, lambda: looped(case.given, case.mask, case.reverse, _step(case)))


def _step(case: CheckCase) -> Any:
    subject = case.subject

    def apply(variables, inputs, mask, state):
        return subject.step(variables, state, inputs)

    return case.bench.program("step and back", lambda: pulling(apply))


def looped(given: SequenceInputs, mask: np.ndarray, reverse: bool, step: Any) -> SequenceResult:
    """Returns what a layer returns, by one call for each real step of each row.

    Args:
      given: as for the layer.
      mask: as for the layer.
      reverse: as for the layer.
      step: one step of a batch and its derivative, as a layer of one step.
    """
    final_, outputs_ = given.cotangents
    variables = {name: values["cell"] for name, values in given.variables.items()}
    outputs = np.zeros(outputs_.shape, outputs_.dtype)
    inputs = np.zeros_like(given.inputs)
    parameters = jax.tree.map(lambda leaf: np.zeros(leaf.shape), moving(variables))
    finals, states = [], []

    def call(row, time, state, cotangents):
        return host(step(variables, given.inputs[row : row + 1, time], None, state, cotangents))

    for row in range(len(mask)):
        at = slice(row, row + 1)
        state = jax.tree.map(lambda leaf, at=at: leaf[at], given.state)
        cotangents = jax.tree.map(lambda leaf, at=at: leaf[at], final_)
        zeros = jax.tree.map(np.zeros_like, (cotangents, outputs_[at, 0]))
        before = []
        for time in np.flatnonzero(mask[row])[:: -1 if reverse else 1]:
            before.append((time, state))
            result = call(row, time, state, zeros)
            state, outputs[row, time] = result.final, result.outputs[0]
        for time, started in reversed(before):
            result = call(row, time, started, (cotangents, outputs_[at, time]))
            cotangents, inputs[row, time] = result.state, result.inputs[0]
            parameters = jax.tree.map(np.add, parameters, result.parameters)
        finals.append(state)
        states.append(cotangents)

    def stacked(trees):
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)

    return SequenceResult(stacked(finals), outputs, in_layer(parameters), inputs, stacked(states))


def _first(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns some steps at the beginning of rows, and zeros after them."""
    result = np.zeros_like(values)
    result[:, : len(steps)] = values[:, steps]
    return result


def _back(parts: list[np.ndarray], steps: list[np.ndarray]) -> np.ndarray:
    result = np.zeros_like(parts[0])
    for values, at in zip(parts, steps, strict=True):
        result[:, at] = values[:, : len(at)]
    return result
