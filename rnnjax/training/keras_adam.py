"""Adam with the epsilon of Keras, and decoupled weight decay."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def keras_adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Returns Adam (Kingma, Ba, ICLR 2015) as Keras has it.

    Epsilon is added to the root of the second moment before bias correction, as in the last lines
    of section 2 of the paper and in Keras; optax and PyTorch add it after, where at the first step
    it weighs 30 times less (b2 = 0.999). It decides how far a word moves whose gradient has faded
    away, as it does over the padding that a network reads.

    Args:
      learning_rate: a number, or of each step.
      b1: decay of the first moment of the gradients.
      b2: decay of the second moment.
      epsilon: added to the root of the second moment.
      weight_decay: decoupled (AdamW), times the learning rate.
    """

    def corrected_epsilon(count: Int[Array, ""]) -> Float[Array, ""]:
        return epsilon / jnp.sqrt(1 - b2 ** (count.astype(jnp.float32) + 1))

    scale = optax.inject_hyperparams(optax.scale_by_adam, static_args=("b1", "b2", "eps_root"))
    return optax.chain(
        scale(b1=b1, b2=b2, eps=corrected_epsilon),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )
