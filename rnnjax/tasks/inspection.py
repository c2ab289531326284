"""Inspection of a trained network: gates, states, outputs and attributions at each token."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rnnjax.cells import Dropped
from rnnjax.cells.base import INTERNALS
from rnnjax.data.vocabulary import UNKNOWN
from rnnjax.errors import InputError
from rnnjax.reporting import inspection_picture
from rnnjax.reporting.inspection_page import LayerTrace, StateTrace, TextInspection, render
from rnnjax.reporting.progress import Progress
from rnnjax.reporting.templates import notebook_frame
from rnnjax.tasks.token_task import TokenTask

if TYPE_CHECKING:
    from rnnjax.tasks.trained_run import TrainedRun

_MAX_TOKENS = 400
_MAX_TEXTS = 20


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Gates, states, outputs and attributions of a network at each token of texts.

    Attributes:
      texts: the arrays, by text.
      name: of the run.
      cell: of the network, with its size.
      fallback: corpus that replaced the one of the config in training; '' if none did.
      beside: the inspection of the same texts by another network; None for one network.
    """

    texts: list[TextInspection]
    name: str
    cell: str
    fallback: str
    beside: "Inspection | None" = None

    def html(self) -> str:
        """Returns a page that shows the texts."""
        other = self.beside
        return render(
            self.texts,
            name=self.name,
            cell=f"{self.cell}, and {other.cell}" if other else self.cell,
            fallback=self.fallback,
            beside=(other.name, other.texts) if other else None,
        )

    def svg(self) -> str:
        """Returns a picture of the texts, an SVG file."""
        others = self.beside.texts if self.beside else []
        return inspection_picture.draw([*self.texts, *others])

    def _repr_html_(self) -> str:
        """Returns the page in a frame, which a notebook shows."""
        return notebook_frame(self.html())


def inspect_texts(run: "TrainedRun", texts: Sequence[str]) -> list[TextInspection]:
    """Returns gates, states, outputs and attributions of a network at each token of each text.

    Each text is read by itself, without padding. The output after a token is that of the text which
    ends there; a bidirectional network reads each of these prefixes anew.

    Args:
      run: with the network.
      texts: at least one.

    Raises:
      InputError: there is no text or there are too many, or one of them is no valid Unicode, holds
        no token or too many; or the network reads no text.
    """
    if not 0 < len(texts) <= _MAX_TEXTS:
        raise InputError(
            f"given {len(texts)} texts, expected 1 to {_MAX_TEXTS}, as many as a page can show"
        )
    sequences = run.text_vocabulary.encode(texts, run.config.data.max_tokens)
    for number, length in enumerate(sequences.lengths, start=1):
        if not 0 < length <= _MAX_TOKENS:
            raise InputError(
                f"text {number} has {length} {run.config.data.vocabulary.unit}s that count, "
                f"expected 1 to {_MAX_TOKENS}, as many as a page can show"
            )
    # One shape for all texts; padding is masked, also for a run that trained without a mask.
    padded_length = int(sequences.lengths.max())
    trace = jax.jit(functools.partial(_trace, run.token_task))
    params = jax.device_put(run.params)
    inspections = []
    with Progress("inspect", len(texts)) as progress:
        for number, text in enumerate(texts):
            start, end = sequences.offsets[number : number + 2]
            tokens = sequences.values[start:end]
            padded = np.pad(tokens, (0, padded_length - len(tokens)))
            log_probs, attributions, internals = jax.device_get(
                trace(params, padded, np.int32(len(tokens)))
            )
            count = len(tokens)
            inspections.append(
                TextInspection(
                    text=text,
                    unit=run.config.data.vocabulary.unit,
                    spans=run.text_vocabulary.spans(text)[:count],
                    in_vocabulary=tokens != UNKNOWN,
                    outcomes=run.outcomes,
                    probabilities=np.exp(log_probs[:count]),
                    attributions=attributions[:count],
                    layers=[_layer(path, layer, count) for path, layer in _layers(internals)],
                )
            )
            progress.update(number + 1, examples=1)
    return inspections


def _trace(
    task: TokenTask, params: Any, tokens: Int[Array, " time"], length: Int[Array, ""]
) -> tuple[Float[Array, "time outcomes"], Float[Array, " time"], Mapping[str, Any]]:
    """Returns log-probabilities, gradient times input, and internals of layers at each token."""
    num_opening = len(task.start_tokens)
    tokens = jnp.concatenate([jnp.array(task.start_tokens, jnp.int32), tokens])
    log_probs = task.score_each_step(params, tokens)[num_opening:]
    _, (best, runner_up) = jax.lax.top_k(log_probs[length - 1], 2)
    # A masked step before the text and one after it have the initial state in both directions.
    mask = jnp.pad(jnp.arange(len(tokens)) < num_opening + length, 1)[None]
    tokens = jnp.pad(tokens, 1)[None]

    def log_odds(scales):
        with nn.intercept_methods(functools.partial(_scale_inputs, scales)):
            _, (row,) = task.advance(params, tokens, mask)
        return row[best] - row[runner_up]

    # The derivative by a scale of the input is the gradient by the input, times the input.
    attributions = jax.grad(log_odds)(jnp.ones(tokens.shape[1]))[num_opening + 1 : -1]
    _, variables = task.model.apply({"params": params}, tokens, mask, mutable=INTERNALS)
    # The text remains, with the step before it and the step after it.
    internals = jax.tree.map(lambda values: values[0, num_opening:], variables[INTERNALS])
    return log_probs, attributions, internals


def _scale_inputs(scales: jax.Array, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Calls a method of a module; scales each step of the input of the recurrent layers."""
    # Other methods are also called while a module is constructed, before it has a path.
    if context.method_name == "__call__" and context.module.path == ("recurrent",):
        inputs, *rest = args
        args = inputs * scales[None, :, None].astype(inputs.dtype), *rest
    return call(*args, **kwargs)


def _layers(internals: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns path and internals of each recurrent layer and direction, lowest layer first."""

    def walk(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if "state" in tree:
            yield path, tree
            return
        for name, subtree in tree.items():
            yield from walk(subtree, f"{path}/{name}")

    return sorted(
        walk(internals, ""), key=lambda layer: (layer_number(layer[0]), "backward" in layer[0])
    )


def layer_number(path: str) -> int:
    """Returns the number of a layer in its stack, from 1."""
    match = re.search(r"layers_(\d+)", path)
    return int(match[1]) + 1 if match else 1


def layer_name(path: str) -> str:
    """Returns the name of a layer, with its direction if it has two: 'layer 1, read backward'."""
    direction = next((f", read {name}" for name in ("forward", "backward") if name in path), "")
    return f"layer {layer_number(path)}{direction}"


def _layer(path: str, internals: Mapping[str, Any], count: int) -> LayerTrace:
    """Returns gates and states of a layer at the first `count` tokens of a text."""
    is_reverse = "backward" in path
    state = internals["state"]
    if isinstance(state, Dropped):
        state = state.state  # in an evaluation its dropout masks are ones
    states = []
    for keys, values in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = jax.tree_util.keystr(keys, simple=True, separator=".")
        name = f"state {name}".strip() if not name or name.isdigit() else name
        if np.iscomplexobj(values):
            name, values = f"{name}, magnitude", np.abs(values)
        steps = _flatten_units(values)
        current = steps[1 : count + 1]
        previous = steps[2 : count + 2] if is_reverse else steps[:count]
        states.append(StateTrace(name, current, current - previous))
    gates = {
        jax.tree_util.keystr(keys[-1:], simple=True): _flatten_units(values)[1 : count + 1]
        for keys, values in jax.tree_util.tree_flatten_with_path(internals.get("cell", {}))[0]
    }
    return LayerTrace(layer_name(path), gates, tuple(states))


def _flatten_units(values: Any) -> Float[np.ndarray, "steps units"]:
    """Returns the values of each step as a row of float32, one unit for each entry."""
    steps = np.asarray(values, np.float32)
    return steps.reshape(len(steps), -1)
