"""Broadcasting of parameters against arrays of more axes, without implicit rank promotion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def match_rank(parameter: Float[Array, " features"], values: jax.Array) -> Float[Array, "..."]:
    """Returns a parameter with as many axes as `values`, the leading ones of size 1.

    It then broadcasts against `values` also where `jax_numpy_rank_promotion` is 'raise'.

    Args:
      parameter: any array of at most as many axes as `values`, `[features]` for instance.
      values: `[..., features]`.
    """
    return jnp.expand_dims(parameter, range(values.ndim - parameter.ndim))
