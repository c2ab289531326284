"""Adam with gradient clipping and weight decay, and its learning-rate schedule."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from rnnjax.config.schema import OptimizerConfig


def make_schedule(
    kind: Literal["constant", "linear", "cosine"],
    learning_rate: float,
    warmup_steps: int,
    num_steps: int,
) -> optax.Schedule:
    """Returns the learning rate of each step, counted from 0.

    It rises linearly from 0 to its peak in the warm-up, then stays there ('constant') or decays to
    0 at the last step, linearly or along half a cosine.

    Args:
      kind: of the decay.
      learning_rate: the peak.
      warmup_steps: number of steps of the warm-up; 0 for none.
      num_steps: number of training steps, warm-up included.
    """
    decay_steps = max(num_steps - warmup_steps, 1)
    decay = {
        "constant": optax.constant_schedule(learning_rate),
        "linear": optax.linear_schedule(learning_rate, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(learning_rate, decay_steps),
    }[kind]
    if not warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def make_optimizer(
    options: OptimizerConfig,
    learning_rate: optax.Schedule,
    trainable: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Returns Adam (Kingma, Ba, ICLR 2015), with clipping before it and weight decay in it.

    Args:
      options: section `optimizer` of the config.
      learning_rate: of each step.
      trainable: returns for parameters a tree of bools; the optimizer skips those with False, whose
        gradients are zero. None if all are trainable.

    Epsilon is added to the root of the second moment before bias correction, as in the last lines
    of section 2 of the paper and in Keras; optax and PyTorch add it after, where at the first step
    it weighs 30 times less (b2 = 0.999). It decides how far a word moves whose gradient has faded
    away, as it does over the padding that a network reads.
    """

    def corrected_epsilon(count: Int[Array, ""]) -> Float[Array, ""]:
        return options.epsilon / jnp.sqrt(1 - options.b2 ** (count.astype(jnp.float32) + 1))

    scale = optax.inject_hyperparams(optax.scale_by_adam, static_args=("b1", "b2", "eps_root"))
    decay, max_norm = options.weight_decay, options.clip_norm
    adam = optax.chain(
        scale(b2=options.b2, eps=corrected_epsilon),
        optax.add_decayed_weights(decay) if decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )
    if trainable is not None:
        adam = optax.masked(adam, trainable)
    return optax.chain(optax.clip_by_global_norm(max_norm) if max_norm else optax.identity(), adam)
