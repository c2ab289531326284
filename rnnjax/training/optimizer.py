"""The optimizer of a config."""

from collections.abc import Callable
from typing import Any

import optax

from rnnjax.config import Config


def schedule(config: Config, steps: int) -> optax.Schedule:
    """Returns the learning rate of each step, counted from 0.

    It rises from 0 in `warmup_steps` steps to `learning_rate`, then stays there ('constant') or
    falls to 0 at the last step, evenly ('linear') or along half a cosine ('cosine').

    Args:
      config: what it says.
      steps: number of steps of the training, warm-up included.
    """
    height = config.learning_rate
    left = max(steps - config.warmup_steps, 1)
    after = {
        "constant": optax.constant_schedule(height),
        "linear": optax.linear_schedule(height, 0.0, left),
        "cosine": optax.cosine_decay_schedule(height, left),
    }[config.schedule]
    if not config.warmup_steps:
        return after
    rise = optax.linear_schedule(0.0, height, config.warmup_steps)
    return optax.join_schedules([rise, after], [config.warmup_steps])


def make_optimizer(
    config: Config, steps: int, trained: Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """Returns Adam (Kingma, Ba, ICLR 2015), with clipping before it and weight decay in it.

    Args:
      config: what it says.
      steps: number of steps of the training.
      trained: says of each parameter whether training may change it; None if it may change all.
        The others, whose gradients are zero, the optimizer passes over.

    Keras adds epsilon to the root of the second moment before its bias is corrected, optax after;
    at 1e-7 the two cannot be told apart but for gradients of about that size.
    """
    rate = schedule(config, steps)
    given = config.optimizer
    adam = (
        optax.adamw(rate, b2=given.b2, eps=given.epsilon, weight_decay=given.weight_decay)
        if given.weight_decay
        else optax.adam(rate, b2=given.b2, eps=given.epsilon)
    )
    if trained is not None:
        adam = optax.masked(adam, trained)
    clip = optax.clip_by_global_norm(given.clip_norm) if given.clip_norm else optax.identity()
    return optax.chain(clip, adam)
