"""Regularisers of recurrent layers: dropped weights, dropped words, penalties on the outputs.

Dropout of a layer's inputs or outputs with one mask for all steps (variational dropout) is flax's
`nn.Dropout(rate, broadcast_dims=(1,))`, and `Stack(variational=True)` between layers. Regularisers
of the state are in `rnnjax.cells.wrappers`.
"""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rnnjax.cells.base import drop, require_rate
from rnnjax.errors import InputError
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.row_keys import batch_key


class WeightDrop(nn.Module):
    """DropConnect on the recurrent kernels of a layer, drawn once per call.

    A weight is zero with probability `rate` and scaled by 1 / (1 - rate) otherwise, the same at all
    steps and in all rows of a call. The draw comes from the rng stream 'dropout'; a call without it
    is an evaluation, which drops nothing.

    Arguments and results are the layer's; parameters are `{"layer": the layer's}`.

    Source: Merity, Keskar, Socher, Regularizing and optimizing LSTM language models, ICLR 2018,
    after Wan et al., Regularization of neural networks using DropConnect, ICML 2013.

    Attributes:
      layer: `RNN`, `Bidirectional`, `Stack` or any other module, whichever engines it has.
      rate: probability to drop, in [0, 1).
      kernels: patterns of the paths of the parameters to drop. A pattern is one name of a path or
        several joined by '/', which match consecutive names anywhere in it; '*' and '?' match any
        letters and any one letter within a name. The default matches the kernels that the cells of
        this package apply to the state, "h?/kernel" those of flax's LSTM and GRU,
        "layers_0/*/recurrent_kernel" those of the lowest layer of a `Stack`.

    Raises:
      InputError: the rate is out of [0, 1), or a pattern of `kernels` matches no parameter.
    """

    layer: nn.Module
    rate: float
    kernels: Sequence[str] = ("recurrent_kernel*",)

    def __post_init__(self):
        require_rate("rate", self.rate)
        if isinstance(self.kernels, str):
            raise InputError(f"kernels: given {self.kernels!r}, expected a tuple of such names")
        super().__post_init__()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Calls the layer, with weights dropped if there is an rng stream 'dropout'."""
        training = self.has_rng("dropout") and not self.is_initializing()
        if not (training or self.is_initializing()):
            return self.layer(*arguments, **options)
        key = batch_key(self.make_rng("dropout")) if training else None
        names = []

        def drop_kernels(variables):
            # Called several times where parts of the layer were constructed outside of it.
            leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
            for index, (path, value) in enumerate(leaves):
                _, *name = (entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
                names.append(name)
                if key is not None and any(_matches(name, kernel) for kernel in self.kernels):
                    entry = jax.random.fold_in(key, len(names))
                    leaves[index] = path, drop(value, self.rate, entry)
            return structure.unflatten(value for _, value in leaves)

        def call(layer, *arguments, **options):
            return layer(*arguments, **options)

        layer = nn.map_variables(call, "params", drop_kernels, init=self.is_initializing())
        result = layer(self.layer, *arguments, **options)
        for kernel in self.kernels:
            if not any(_matches(name, kernel) for name in names):
                raise InputError(
                    f"kernels: given {kernel!r}, which matches none of the parameters "
                    f"{', '.join(map('/'.join, names))}; expected one of these, or whole names in "
                    "it, with '*' and '?' for any letters"
                )
        return result


def _matches(path: Sequence[str], kernel: str) -> bool:
    """Returns whether consecutive names of a path match a pattern."""
    names = kernel.split("/")
    return any(
        all(map(fnmatchcase, path[start:], names)) for start in range(len(path) - len(names) + 1)
    )


def embedding_dropout(
    table: Float[Array, "vocabulary features"], rate: float, key: jax.Array | None
) -> Float[Array, "vocabulary features"]:
    """Drops whole rows (words) of an embedding table.

    Each row is zero with probability `rate` and scaled by 1 / (1 - rate) otherwise: a word is
    dropped at all its occurrences in the batch.

    Source: Gal, Ghahramani, A theoretically grounded application of dropout in recurrent neural
    networks, NeurIPS 2016; Merity, Keskar, Socher, Regularizing and optimizing LSTM language
    models, ICLR 2018.

    Args:
      table: a row for each word.
      rate: probability to drop, in [0, 1).
      key: of this call; None for an evaluation, which drops nothing.

    Raises:
      InputError: the rate is out of [0, 1).
    """
    require_rate("rate", rate)
    return table if key is None else drop(table, rate, batch_key(key), (len(table), 1))


def activation_regularization(
    outputs: Float[Array, "batch time *features"], mask: Bool[Array, "batch time"] | None = None
) -> Float[Array, ""]:
    """Returns the mean square of the outputs at the real steps, 0 if there is none.

    The result is at least float32. No value at a masked position reaches it or its gradient. Scaled
    by a coefficient, it is added to the loss.

    Source: Merity, McCann, Socher, Revisiting activation regularization for language RNNs, 2017,
    which takes the outputs of the last layer after its dropout here, and before it in
    `temporal_activation_regularization`.

    Args:
      outputs: outputs of a layer.
      mask: True where the step is real; None if all are.

    Raises:
      InputError: the mask is not boolean or not of the shape `[batch, time]`.
    """
    outputs, valid = _masked_outputs(outputs, mask)
    return _masked_mean(jnp.square(outputs), valid)


def temporal_activation_regularization(
    outputs: Float[Array, "batch time *features"],
    mask: Bool[Array, "batch time"] | None = None,
    resets: Bool[Array, "batch time"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean square of the change from each real step to the next one of its document.

    Masked steps are skipped, so that neither padding nor holes count as a change; nor does the step
    from a document to the next one of its row. The mean is over all such pairs of the batch, 0 if
    there is none. dtype, errors and source are those of `activation_regularization`.

    Args:
      outputs: outputs of a layer.
      mask: True where the step is real; None if all are.
      resets: those of the layer's call; None if each row is one document.
    """
    outputs, valid = _masked_outputs(outputs, mask)
    last_real_step = jax.lax.cummax(jnp.where(valid, jnp.arange(valid.shape[1]), -1), axis=1)
    previous = jnp.pad(last_real_step[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    has_previous, previous = valid & (previous >= 0), jnp.maximum(previous, 0)
    if resets is not None:
        _require_flags("resets", resets, outputs)
        document = jnp.cumsum(resets, axis=1)
        has_previous &= document == jnp.take_along_axis(document, previous, axis=1)
    previous_outputs = jnp.take_along_axis(outputs, previous[..., None], axis=1)
    change = jnp.where(has_previous[..., None], outputs - previous_outputs, 0)
    return _masked_mean(jnp.square(change), has_previous)


def _masked_outputs(outputs: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns outputs `[batch, time, features]`, float32 or wider, zero where masked; the mask."""
    batch, time, *features = outputs.shape
    outputs = outputs.astype(np.promote_types(outputs.dtype, np.float32))
    outputs = outputs.reshape(batch, time, math.prod(features))
    if mask is None:
        return outputs, jnp.ones((batch, time), bool)
    _require_flags("mask", mask, outputs)
    # Zeroed before they are squared: zero times NaN is NaN in the gradient.
    return zero_masked(outputs, mask), mask


def _require_flags(name: str, flags: jax.Array, outputs: jax.Array) -> None:
    if not hasattr(flags, "dtype"):
        raise InputError(f"{name}: given a {type(flags).__name__}, expected an array of bool")
    if flags.dtype != jnp.bool_ or flags.shape != outputs.shape[:2]:
        raise InputError(
            f"{name}: given {flags.dtype}{list(flags.shape)}, expected "
            f"bool{list(outputs.shape[:2])}, as the outputs are [batch, time, ...]"
        )


def _masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns the mean over valid steps of values that are zero elsewhere."""
    count = jnp.maximum(valid.sum(), 1) * values.shape[-1]
    return values.sum() / count.astype(values.dtype)
