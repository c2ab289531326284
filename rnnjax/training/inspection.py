"""What a trained network does with a text, word by word."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rnnjax.cells import Dropped
from rnnjax.cells.base import INTERNALS
from rnnjax.data.vocabulary import UNKNOWN
from rnnjax.errors import InputError
from rnnjax.reporting.inspection_page import LayerTrace, StateTrace, TextInspection
from rnnjax.reporting.progress import Progress
from rnnjax.tasks.token_task import TokenTask
from rnnjax.training.trained_run import TrainedRun

_MOST_TOKENS = 400
_MOST_TEXTS = 20


def inspect_texts(run: TrainedRun, texts: Sequence[str]) -> list[TextInspection]:
    """Returns what a network does with each text.

    Each is read by itself, without padding. What is said so far is what the network says of a text
    that ends there; a network that reads from both ends reads each of these texts anew.

    Args:
      run: whose network is looked at.
      texts: at least one.

    Raises:
      InputError: there is no text or there are too many, or one of them is no valid Unicode, holds
        no token or too many; or the network reads no text.
    """
    if not 0 < len(texts) <= _MOST_TEXTS:
        raise InputError(
            f"given {len(texts)} texts, expected 1 to {_MOST_TEXTS}, as many as a page can show"
        )
    sequences = run.numbering.encode(texts, run.config.data.max_tokens)
    for number, length in enumerate(sequences.lengths, start=1):
        if not 0 < length <= _MOST_TOKENS:
            raise InputError(
                f"text {number} has {length} {run.config.data.vocabulary.unit}s that count, "
                f"expected 1 to {_MOST_TOKENS}, as many as a page can show"
            )
    # One shape for all texts: what is padded is masked, whatever the run does in a batch.
    time = int(sequences.lengths.max())
    read = jax.jit(functools.partial(_read, run.reading))
    params = jax.device_put(run.params)
    accounts = []
    with Progress("look inside", len(texts)) as progress:
        for number, text in enumerate(texts):
            begin, end = sequences.offsets[number : number + 2]
            tokens = sequences.tokens[begin:end]
            padded = np.pad(tokens, (0, time - len(tokens)))
            found = jax.device_get(read(params, padded, np.int32(len(tokens))))
            accounts.append(_account(run, text, tokens, *found))
            progress.update(number + 1, examples=1)
    return accounts


def _read(
    task: TokenTask, params: Any, tokens: Int[Array, " time"], length: Int[Array, ""]
) -> tuple[Float[Array, "time outcomes"], Float[Array, " time"], Mapping[str, Any]]:
    """Returns the log-probabilities so far, gradient times input, and what the layers show."""
    before = len(task.opening)
    tokens = jnp.concatenate([jnp.array(task.opening, jnp.int32), tokens])
    so_far = task.score_each_step(params, tokens)[before:]
    _, (answer, other) = jax.lax.top_k(so_far[length - 1], 2)
    # A masked step before the text and one after it, at which the state is that before any step.
    mask = jnp.pad(jnp.arange(len(tokens)) < before + length, 1)[None]
    tokens = jnp.pad(tokens, 1)[None]

    def odds(scales):
        with nn.intercept_methods(functools.partial(_scaled, scales)):
            _, (row,) = task.advance(params, tokens, mask)
        return row[answer] - row[other]

    # The derivative by a scale of the input is the gradient by the input, times the input.
    moved = jax.grad(odds)(jnp.ones(tokens.shape[1]))[before + 1 : -1]
    _, shown = task.model.apply({"params": params}, tokens, mask, mutable=INTERNALS)
    # What is left is the text, between what was before it and what is after it.
    return so_far, moved, jax.tree.map(lambda values: values[0, before:], shown[INTERNALS])


def _scaled(scales: jax.Array, call: Any, arguments: Any, options: Any, context: Any) -> Any:
    """Calls a method of a module, the recurrent layers with each step of their input scaled."""
    # Other methods are also called while a module is made, before it has a path.
    if context.method_name == "__call__" and context.module.path == ("recurrent",):
        inputs, *rest = arguments
        arguments = inputs * scales[None, :, None].astype(inputs.dtype), *rest
    return call(*arguments, **options)


def _account(
    run: TrainedRun,
    text: str,
    tokens: np.ndarray,
    so_far: np.ndarray,
    moved: np.ndarray,
    shown: Mapping[str, Any],
) -> TextInspection:
    count = len(tokens)
    return TextInspection(
        text=text,
        unit=run.config.data.vocabulary.unit,
        spans=run.numbering.spans(text)[:count],
        known=tokens != UNKNOWN,
        outcomes=run.outcomes,
        probabilities=np.exp(so_far[:count]),
        moved=moved[:count],
        layers=[_layer(path, inside, count) for path, inside in _layers(shown)],
    )


def _layers(shown: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the path of each recurrent layer and direction, and what it shows, from below."""

    def found(inside: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if "state" in inside:
            yield path, inside
            return
        for name, below in inside.items():
            yield from found(below, f"{path}/{name}")

    return sorted(found(shown, ""), key=lambda each: (_number(each[0]), "backward" in each[0]))


def _number(path: str) -> int:
    """Returns which layer of a stack has a path, from 1."""
    found = re.search(r"layers_(\d+)", path)
    return int(found[1]) + 1 if found else 1


def _layer(path: str, inside: Mapping[str, Any], count: int) -> LayerTrace:
    """Returns what a layer shows at the tokens of a text."""
    reverse = "backward" in path
    both = reverse or "forward" in path
    direction = f", read {'backward' if reverse else 'forward'}" if both else ""
    state = inside["state"]
    if isinstance(state, Dropped):
        state = state.state  # In an evaluation the rest are ones.
    states = []
    for keys, values in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = jax.tree_util.keystr(keys, simple=True, separator=".")
        name = f"state {name}".strip() if not name or name.isdigit() else name
        if np.iscomplexobj(values):
            name, values = f"{name}, magnitude", np.abs(values)
        steps = _units(values)
        here, before = steps[1 : count + 1], steps[2 : count + 2] if reverse else steps[:count]
        states.append(StateTrace(name, here, here - before))
    gates = {
        jax.tree_util.keystr(keys[-1:], simple=True): _units(values)[1 : count + 1]
        for keys, values in jax.tree_util.tree_flatten_with_path(inside.get("cell", {}))[0]
    }
    return LayerTrace(f"layer {_number(path)}{direction}", gates, tuple(states))


def _units(values: Any) -> Float[np.ndarray, "steps units"]:
    """Returns the values of each step as one row of float32: a matrix state has a unit an entry."""
    steps = np.asarray(values, np.float32)
    return steps.reshape(len(steps), -1)
