"""Decay through padding: how much of a text a network without a mask forgets by reading padding."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rnnjax.dynamics.gradients import half_life, log_norms
from rnnjax.dynamics.runs import encode_texts, trace_tokens
from rnnjax.dynamics.trajectory import Trajectory, state_vectors
from rnnjax.errors import InputError
from rnnjax.tasks.trained_run import TrainedRun

_STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class PaddingDecay(NamedTuple):
    """The topmost forward layer after texts, step by step of the padding that it reads.

    Attributes:
      steps: of padding after the end of the text: 0, 1, 2, 3, 4, 6, 8 and so on.
      gain: norm of the derivative of the state by that at the end of the text, as `gradient_reach`
        has it, the median over the texts: how much of the text's own state is left.
      half_life: steps of padding after which the gain is one half, interpolated; infinite if it
        stays above.
      norm: of the state, the mean over the texts.
      spread: root mean square distance of the states from their mean over the texts, relative to
        that at the end of the text. It grows where padding drives states into a few attractors.
      accuracy: of the network's answers after so much padding; None without labels.
    """

    steps: Int[np.ndarray, " steps"]
    gain: Float[np.ndarray, " steps"]
    half_life: float
    norm: Float[np.ndarray, " steps"]
    spread: Float[np.ndarray, " steps"]
    accuracy: Float[np.ndarray, " steps"] | None


def padding_decay(
    run: TrainedRun,
    texts: Sequence[str],
    labels: Int[np.ndarray, " texts"] | None = None,
    *,
    max_steps: int = _STEPS[-1],
) -> PaddingDecay:
    """Measures what is left of texts in the state, while a network without a mask reads padding.

    Args:
      run: of a network without a mask, which has a forward layer.
      texts: two or more.
      labels: of the texts, to score the network's answers with; None for no scores.
      max_steps: most steps of padding, up to 64.

    Raises:
      InputError: the network has a mask, so that its state stays through padding; it reads no text;
        or there are fewer than two texts.
    """
    tokens, lengths = encode_texts(run, texts)
    return token_padding_decay(run, tokens, lengths, labels, max_steps=max_steps)


def token_padding_decay(
    run: TrainedRun,
    tokens: Int[np.ndarray, "texts time"],
    lengths: Int[np.ndarray, " texts"],
    labels: Int[np.ndarray, " texts"] | None = None,
    *,
    max_steps: int = _STEPS[-1],
) -> PaddingDecay:
    """Measures the same for texts as padded tokens; arguments and errors as of `padding_decay`.

    Texts without a token, of length 0, are left out.
    """
    if run.config.model.mask:
        raise InputError(
            "config.model.mask: given True, and a masked step keeps the state, so that nothing "
            "decays; expected a network that reads padding"
        )
    has_token = lengths > 0
    tokens, lengths = tokens[has_token], lengths[has_token]
    labels = None if labels is None else labels[has_token]
    if len(tokens) < 2:
        raise InputError(f"given {len(tokens)} texts, expected 2 or more, whose states can differ")
    steps = np.array([step for step in _STEPS if step <= max_steps])
    tokens = np.pad(tokens[:, : lengths.max()], ((0, 0), (0, max_steps)))
    trajectories = [
        trajectory
        for trajectory in trace_tokens(run, tokens, np.ones(tokens.shape, bool))
        if not trajectory.reverse
    ]
    if not trajectories:
        raise InputError("the network has no layer that reads padding after the text; expected one")
    states = np.asarray(state_vectors(trajectories[-1]), np.float64)
    states = states[np.arange(len(tokens))[:, None], lengths[:, None] - 1 + steps]
    spread = np.sqrt(((states - states.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    logarithms = [_log_gain(trajectories[-1], lengths, step) for step in steps.tolist()]
    return PaddingDecay(
        steps=steps,
        gain=np.exp(logarithms),
        half_life=half_life(steps.tolist(), np.array(logarithms)),
        norm=np.linalg.norm(states, axis=2).mean(axis=0),
        spread=spread / (spread[0] or 1.0),
        accuracy=None if labels is None else _accuracy(run, tokens, lengths, labels, steps),
    )


def _log_gain(trajectory: Trajectory, lengths: Int[np.ndarray, " texts"], step: int) -> float:
    """Returns the median logarithm of the derivative's norm, 0 without a step."""
    if not step:
        return 0.0
    time = trajectory.mask.shape[1]
    mask = np.arange(time) < lengths[:, None] + step
    norms = log_norms(trajectory.replace(mask=jnp.asarray(mask)))
    return float(np.median(norms[np.arange(len(lengths)), lengths]))


def _accuracy(
    run: TrainedRun,
    tokens: Int[np.ndarray, "texts time"],
    lengths: Int[np.ndarray, " texts"],
    labels: Int[np.ndarray, " texts"],
    steps: Int[np.ndarray, " steps"],
) -> Float[np.ndarray, " steps"]:
    """Returns the share of right answers after each number of steps of padding."""

    @jax.jit
    def answer(
        params, tokens: Int[Array, "texts time"], lengths: Int[Array, " texts"]
    ) -> Int[Array, " texts"]:
        mask = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        return jnp.argmax(run.token_task.advance(params, tokens, mask)[1], axis=1)

    params = jax.device_put(run.params)
    answers = [np.asarray(answer(params, tokens, lengths + step)) for step in steps]
    return np.mean(np.array(answers) == np.asarray(labels), axis=1)
