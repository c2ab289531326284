"""Invariants along the time axis: causality, direction, splits, and a Python loop as oracle."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rnnjax.cells.base import is_broadcast
from rnnjax.layers import RNN, Bidirectional
from rnnjax.testing.assertions import (
    ViolationError,
    assert_bits_equal,
    assert_close,
    assert_zero,
    bits_differ,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import BOTH, FORWARD, invariant
from rnnjax.testing.mask_patterns import generate_masks, reverse_steps
from rnnjax.testing.projections import projection_function
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    differentiable_leaves,
    layer_variables,
    with_gradients,
)


@invariant(
    "the projection of all steps at once equals that of each step alone",
    cause="project mixes time steps or rows: a mean, cumulative sum, shift or convolution along an "
    "axis other than the last",
)
def projection(case: CheckCase) -> None:
    inputs = case.arguments.inputs
    project, reads_states = projection_function(case)

    states = None
    if reads_states:
        states = jax.tree.map(
            lambda leaf: np.repeat(leaf[:, None], case.steps, axis=1), case.arguments.state
        )
    compiled = case.harness.compiled("project", lambda: project)
    variables = case.harness.variables()
    all_steps = to_numpy(compiled(variables, states, inputs))
    for step in range(case.steps):

        def at_step(leaf, step=step):
            return leaf if is_broadcast(leaf) else leaf[:, step]

        single = compiled(variables, jax.tree.map(at_step, states), inputs[:, step])
        assert_close(
            named_leaves(jax.tree.map(at_step, all_steps, is_leaf=is_broadcast)),
            named_leaves(to_numpy(single)),
            None,
            f"for step {step}, of the inputs of all steps, as of that step's alone",
        )


@invariant(
    "a passed initial state is used, and the cell's default without one",
    cause="the engine begins with zeros instead of the state that it is passed, or initial_state "
    "is drawn anew",
    directions=BOTH,
)
def initial_state(case: CheckCase) -> None:
    arguments, variables = case.arguments, case.harness.variables()
    first_step = case.step_order[0]
    mask = np.broadcast_to(np.arange(case.steps) == first_step, case.mask.shape)
    inputs = arguments.inputs[:, first_step]
    step_result = case.harness.step(variables, arguments.state, inputs)
    layer_result = case.run(mask).values()
    leaves, structure = jax.tree.flatten(arguments.state)
    alternatives = jax.tree.leaves(case.harness.state(case.rows, seed=6))
    for index, name in enumerate(named_leaves(arguments.state)):
        if not bits_differ(alternatives[index], leaves[index]):
            continue
        changed = [*leaves[:index], alternatives[index], *leaves[index + 1 :]]
        state = jax.tree.unflatten(structure, changed)
        changes_step = bits_differ(case.harness.step(variables, state, inputs), step_result)
        if changes_step and not bits_differ(case.run(mask, state=state).values(), layer_result):
            part = f"the part {name} of the initial state" if name else "the initial state"
            raise ViolationError(f"{part} changes a step, and changes nothing in the layer")
    if case.reverse or case.engine != "scan":
        return
    default = case.harness.initial_state(case.rows)
    for mask in (case.mask, generate_masks(case.rows, case.steps)[-1]):
        case.assert_close(
            case.run(mask, pass_state=False)._replace(parameters=None, state=None),
            case.run(mask, state=default)._replace(parameters=None, state=None),
            "without an initial state, as from the cell's default",
        )


@invariant(
    "no value and no gradient depends on later steps",
    cause="project or the engine reads the whole sequence: a mean over time, a shift in the wrong "
    "direction, or bidirectional attention",
    directions=FORWARD,
    training=True,
)
def causality(case: CheckCase) -> None:
    inputs, (final, outputs) = case.arguments.inputs, case.arguments.cotangents
    zeros = jax.tree.map(np.zeros_like, final)
    expected = case.run()
    for count, step in enumerate(case.step_order, start=1):
        past, future = case.step_order[:count], case.step_order[count:]
        cotangents = outputs.copy()
        cotangents[:, future] = 0
        result = case.run(cotangents=(zeros, cotangents))
        assert_zero(
            {f"gradient of inputs after step {step}": result.inputs[:, future]},
            "of the outputs up to it",
        )
        changed = inputs.copy()
        changed[:, future] = changed[:, future] * -3 + 1
        assert_bits_equal(
            {"outputs": case.run(inputs=changed).outputs[:, past]},
            {"outputs": expected.outputs[:, past]},
            f"because inputs after step {step} changed",
        )


@invariant(
    "reverse equals forward on the reversed real steps",
    cause="the engine flips inputs without flipping outputs or the mask back, or ignores reverse",
    directions=(True,),
    all_masks=True,
)
def reverse(case: CheckCase) -> None:
    final, outputs = case.arguments.cotangents
    forward = case.run(
        reverse=False,
        inputs=reverse_steps(case.arguments.inputs, case.mask),
        cotangents=(final, reverse_steps(outputs, case.mask)),
    )
    expected = forward._replace(
        outputs=reverse_steps(forward.outputs, case.mask),
        inputs=reverse_steps(forward.inputs, case.mask),
    )
    case.assert_close(case.run(reverse=True), expected, "as forward on the reversed real steps")


@invariant(
    "a sequence in two calls equals one call",
    cause="a part of what the cell remembers, such as a count, a window or a normalizer, is not in "
    "the state",
    directions=BOTH,
    all_masks=True,
)
def split_sequence(case: CheckCase) -> None:
    arguments, (final, outputs) = case.arguments, case.arguments.cotangents
    expected = case.run()
    for count in range(1, case.steps):
        halves = [np.sort(case.step_order[:count]), np.sort(case.step_order[count:])]
        masks, inputs, cotangents = (
            [_move_to_start(values, half) for half in halves]
            for values in (case.mask, arguments.inputs, outputs)
        )
        carried = case.run(masks[0], inputs=inputs[0]).final
        second = case.run(
            masks[1], inputs=inputs[1], state=carried, cotangents=(final, cotangents[1])
        )
        first = case.run(masks[0], inputs=inputs[0], cotangents=(second.state, cotangents[0]))
        joined = SequenceResult(
            final=second.final,
            outputs=_join_halves([first.outputs, second.outputs], halves),
            parameters=jax.tree.map(np.add, first.parameters, second.parameters),
            inputs=_join_halves([first.inputs, second.inputs], halves),
            state=first.state,
        )
        context = f"in two calls, the first of {count} steps, as in one"
        case.assert_close(joined, expected, context)


@invariant(
    "the layer equals a Python loop over single steps",
    cause="the engine computes another recurrence than step: gates in another order, a forgotten "
    "bias, or the old state where step reads the new one",
    directions=BOTH,
    all_masks=True,
)
def loop_values(case: CheckCase) -> None:
    case.assert_close(case.run().values(), _python_loop(case).values(), "as by a loop in Python")


@invariant(
    "the layer's gradients equal those of a Python loop over single steps",
    cause="the hand-written derivative forgets a path: through a gate, the initial state, or the "
    "bias of the recurrent product",
    directions=BOTH,
    all_masks=True,
)
def loop_gradients(case: CheckCase) -> None:
    case.assert_close(
        case.run().gradients(), _python_loop(case).gradients(), "as by a loop in Python"
    )


@invariant(
    "cell(state, inputs), step by step, equals the layer",
    cause="__call__ was overridden, and differs from step(state, project(inputs))",
    directions=FORWARD,
)
def streaming(case: CheckCase) -> None:
    adapter = case.adapter
    call = case.harness.compiled("call", lambda: adapter.call)
    variables, state, outputs = case.harness.variables(), case.arguments.state, []
    for step in range(case.steps):
        state, output = call(variables, state, case.arguments.inputs[:, step])
        outputs.append(np.asarray(output))
    streamed = SequenceResult(final=to_numpy(state), outputs=np.stack(outputs, axis=1))
    expected = case.run(np.ones_like(case.mask)).values()
    case.assert_close(streamed, expected, "in calls of cell(state, inputs), as in the layer")


@invariant(
    "each half of a bidirectional layer equals a single run",
    cause="the module keeps a name, a key or an array outside its parameters, which both "
    "directions then share",
    directions=FORWARD,
    all_masks=True,
)
def bidirectional(case: CheckCase) -> None:
    arguments = case.arguments
    engine: Any = case.engine
    variables = [layer_variables(case.harness.variables(seed)) for seed in (2, 8)]
    states = (arguments.state, case.harness.state(case.rows, seed=6))
    layer = Bidirectional(case.adapter.cell, merge="none", engine=engine)
    run = case.harness.compiled(("bidirectional", engine), lambda: layer.apply)
    finals, outputs = to_numpy(
        run(bidirectional_variables(*variables), arguments.inputs, case.mask, states)
    )
    for index, direction in enumerate(("forward", "backward")):
        single = case.harness.run(
            engine,
            direction == "backward",
            arguments._replace(variables=variables[index], state=states[index]),
            case.mask,
        )
        case.assert_close(
            SequenceResult(finals[index], outputs[index]),
            single.values(),
            f"in the {direction} half, as in a single run",
        )


def bidirectional_variables(forward: Any, backward: Any) -> Any:
    """Returns the variables of a bidirectional layer from those of two layers."""
    return {
        collection: {"forward": forward[collection], "backward": backward[collection]}
        for collection in forward
    }


class NamedDirection(nn.Module):
    """A single run under the module path of one direction, which flax folds into every key."""

    cell: nn.Module
    direction: str

    @nn.compact
    def __call__(self, inputs: Any, mask: Any, state: Any) -> Any:
        """Returns the result of the layer."""
        cell = self.cell.copy(parent=None, name=None)
        layer = RNN(cell, reverse=self.direction == "backward", name=self.direction)
        return layer(inputs, mask, state)


def _python_loop(case: CheckCase) -> SequenceResult:
    """Returns the oracle: a loop in Python over the real steps of each row, one step a call."""
    key = ("loop", case.reverse, case.rows, case.steps, case.mask.tobytes())
    adapter = case.adapter

    def apply(variables, inputs, mask, state):
        return adapter.step(variables, state, inputs)

    step = case.harness.compiled("step with gradients", lambda: with_gradients(apply))
    return case.harness.cached(
        key, lambda: _loop_over_steps(case.arguments, case.mask, case.reverse, step)
    )


def _loop_over_steps(
    arguments: SequenceArguments, mask: np.ndarray, reverse: bool, step: Any
) -> SequenceResult:
    """Returns the result of a layer by one call for each real step of each row.

    Args:
      arguments: of the layer.
      mask: of the layer.
      reverse: of the layer.
      step: one step of a batch and its derivative, as a layer of one step.
    """
    final_cotangents, output_cotangents = arguments.cotangents
    variables = {name: values["cell"] for name, values in arguments.variables.items()}
    outputs = np.zeros(output_cotangents.shape, output_cotangents.dtype)
    inputs = np.zeros_like(arguments.inputs)
    parameters = jax.tree.map(lambda leaf: np.zeros(leaf.shape), differentiable_leaves(variables))
    finals, state_gradients = [], []

    def run_step(row, time, state, cotangents):
        step_inputs = arguments.inputs[row : row + 1, time]
        return to_numpy(step(variables, step_inputs, None, state, cotangents))

    for row in range(len(mask)):
        one_row = slice(row, row + 1)
        state, cotangents = jax.tree.map(
            lambda leaf, one_row=one_row: leaf[one_row], (arguments.state, final_cotangents)
        )
        zeros = jax.tree.map(np.zeros_like, (cotangents, output_cotangents[one_row, 0]))
        visited = []
        for time in np.flatnonzero(mask[row])[:: -1 if reverse else 1]:
            visited.append((time, state))
            result = run_step(row, time, state, zeros)
            state, outputs[row, time] = result.final, result.outputs[0]
        for time, previous_state in reversed(visited):
            step_cotangents = (cotangents, output_cotangents[one_row, time])
            result = run_step(row, time, previous_state, step_cotangents)
            cotangents, inputs[row, time] = result.state, result.inputs[0]
            parameters = jax.tree.map(np.add, parameters, result.parameters)
        finals.append(state)
        state_gradients.append(cotangents)

    def concatenate(trees):
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)

    return SequenceResult(
        concatenate(finals),
        outputs,
        layer_variables(parameters),
        inputs,
        concatenate(state_gradients),
    )


def _move_to_start(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Moves some steps to the beginning of the rows, and zeroes the rest."""
    result = np.zeros_like(values)
    result[:, : len(steps)] = values[:, steps]
    return result


def _join_halves(parts: list[np.ndarray], halves: list[np.ndarray]) -> np.ndarray:
    """Moves the first steps of each part to the steps of its half."""
    result = np.zeros_like(parts[0])
    for values, steps in zip(parts, halves, strict=True):
        result[:, steps] = values[:, : len(steps)]
    return result
