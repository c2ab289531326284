"""The optimizer of a config."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

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

    Epsilon is added to the root of the second moment before the bias of that is corrected, as in
    the last lines of section 2 of the paper and in Keras; optax and PyTorch add it after, where at
    the first step it weighs 30 times less (b2 = 0.999). It decides how far a word moves whose
    gradient has faded away, as it does over the padding that a network reads.
    """
    given = config.optimizer

    def corrected(count: Int[Array, ""]) -> Float[Array, ""]:
        return given.epsilon / jnp.sqrt(1 - given.b2 ** (count.astype(jnp.float32) + 1))

    scale = optax.inject_hyperparams(optax.scale_by_adam, static_args=("b1", "b2", "eps_root"))
    adam = optax.chain(
        scale(b2=given.b2, eps=corrected),
        optax.add_decayed_weights(given.weight_decay) if given.weight_decay else optax.identity(),
        optax.scale_by_learning_rate(schedule(config, steps)),
    )
    if trained is not None:
        adam = optax.masked(adam, trained)
    clip = optax.clip_by_global_norm(given.clip_norm) if given.clip_norm else optax.identity()
    return optax.chain(clip, adam)
