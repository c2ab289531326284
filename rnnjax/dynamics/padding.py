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

_MAX_STEPS = 64


class PaddingDecay(NamedTuple):
    """The topmost forward layer after texts, step by step of the padding that it reads.

    Attributes:
      steps: of padding after the end of the text, from 0.
      norm: of the state, the mean over the texts.
      spread: root mean square distance of the states from their mean over the texts, relative to
        that at the end of the text: 1 is all of what tells texts apart, 0 is none of it.
      gain: norm of the derivative of the state by that at the end of the text, as
        `gradient_reach` has it: the median over the texts, at the steps 0, 1, 2, 4, 8 and so on.
      half_life: number of steps of padding after which the gain is one half, interpolated; infinite
        if it stays above.
      accuracy: of the network's answers after so much padding; None without labels.
    """

    steps: Int[np.ndarray, " steps"]
    norm: Float[np.ndarray, " steps"]
    spread: Float[np.ndarray, " steps"]
    gain: dict[int, float]
    half_life: float
    accuracy: Float[np.ndarray, " steps"] | None


def padding_decay(
    run: TrainedRun,
    texts: Sequence[str],
    labels: Int[np.ndarray, " texts"] | None = None,
    *,
    max_steps: int = _MAX_STEPS,
) -> PaddingDecay:
    """Measures what is left of texts in the state, while a network without a mask reads padding.

    Args:
      run: of a network without a mask, which has a forward layer.
      texts: two or more.
      labels: of the texts, to score the network's answers with; None for no scores.
      max_steps: most steps of padding.

    Raises:
      InputError: the network has a mask, so that its state stays through padding; it reads no text;
        or there are fewer than two texts.
    """
    if run.config.model.mask:
        raise InputError(
            "config.model.mask: given True, and a masked step keeps the state, so that nothing "
            "decays; expected a network that reads padding"
        )
    if len(texts) < 2:
        raise InputError(f"given {len(texts)} texts, expected 2 or more, whose states can differ")
    tokens, _ = encode_texts(run, texts, padding=max_steps)
    lengths = run.text_vocabulary.encode(texts, run.config.data.max_tokens).lengths
    steps = np.arange(max_steps + 1)
    trajectories = [
        trajectory
        for trajectory in trace_tokens(run, tokens, np.ones(tokens.shape, bool))
        if "backward" not in trajectory.name
    ]
    states = np.asarray(state_vectors(trajectories[-1]), np.float64)
    states = states[np.arange(len(texts))[:, None], lengths[:, None] - 1 + steps]
    centred = states - states.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=2).mean(axis=0))
    spread = spread / (spread[0] or 1.0)
    powers = [step for step in (2**power for power in range(12)) if step <= max_steps]
    gain = {0: 1.0} | {step: _gain(trajectories[-1], lengths, step) for step in powers}
    return PaddingDecay(
        steps=steps,
        norm=np.linalg.norm(states, axis=2).mean(axis=0),
        spread=spread,
        gain=gain,
        half_life=half_life(list(gain), np.log(list(gain.values()))),
        accuracy=None if labels is None else _accuracy(run, tokens, lengths, labels, steps),
    )


def _gain(trajectory: Trajectory, lengths: Int[np.ndarray, " texts"], step: int) -> float:
    """Returns the median norm of the derivative of the state by that at the end of the text."""
    time = trajectory.mask.shape[1]
    mask = np.arange(time) < lengths[:, None] + step
    norms = log_norms(trajectory.replace(mask=jnp.asarray(mask)))
    return float(np.exp(np.median(norms[np.arange(len(lengths)), lengths])))


def _accuracy(run: TrainedRun, tokens, lengths, labels, steps) -> Float[np.ndarray, " steps"]:
    """Returns the share of right answers after each number of steps of padding."""

    @jax.jit
    def hits(
        params, tokens: Int[Array, "texts time"], lengths: Int[Array, " texts"]
    ) -> Float[Array, " texts"]:
        mask = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        log_probs = run.token_task.advance(params, tokens, mask)[1]
        return jnp.argmax(log_probs, axis=1)

    params = jax.device_put(run.params)
    answers = [np.asarray(hits(params, tokens, lengths + step)) for step in steps]
    return np.mean(np.array(answers) == np.asarray(labels), axis=1)
