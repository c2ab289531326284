"""Regularisers of recurrent layers: dropped weights, dropped words, penalties on the outputs.

Dropout of a layer's inputs or outputs with one mask for all steps (variational dropout) is flax's
`nn.Dropout(rate, broadcast_dims=(1,))`, and `Stack(variational=True)` between layers. What acts on
the state is in `rnnjax.cells.wrappers`.
"""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells.base import drop, require_rate
from rnnjax.errors import InputError


class WeightDrop(nn.Module):
    """A layer whose recurrent kernels lose single weights, drawn once a call.

    A weight is zero with probability `rate` and 1 / (1 - rate) times itself otherwise, at all steps
    and in all rows of a call (DropConnect). The draw comes from the rng stream 'dropout'; a call
    that is given none is an evaluation, and is the layer's.

    It is called as the layer is, and its parameters are `{"layer": the layer's}`.

    Source: Merity, Keskar, Socher, Regularizing and optimizing LSTM language models, ICLR 2018,
    after Wan et al., Regularization of neural networks using DropConnect, ICML 2013.

    Attributes:
      layer: `RNN`, `Bidirectional`, `Stack` or any other module, whichever engines it has.
      rate: probability to drop, in [0, 1).
      kernels: which parameters are dropped. Each entry is one name of a path or several joined by
        '/', and takes the parameters whose path has these names, whole and next to each other, at
        its end or anywhere before; '*' and '?' stand for any letters and any one letter within a
        name. By default these are the kernels that the cells of this package apply to the state.
        "h?/kernel" takes those of flax's LSTM and GRU, "layers_0/*/recurrent_kernel" those of the
        lowest layer of a `Stack`.

    Raises:
      InputError: the rate is out of [0, 1), or an entry of `kernels` takes no parameter.
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
        """Returns what the layer returns, its kernels dropped where 'dropout' is given."""
        training = self.has_rng("dropout") and not self.is_initializing()
        if not (training or self.is_initializing()):
            return self.layer(*arguments, **options)
        key = self.make_rng("dropout") if training else None
        names = []

        def dropped(variables):
            # Called for each of several trees where parts of the layer were made outside of it.
            leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
            for index, (path, value) in enumerate(leaves):
                _, *name = (each.key for each in path if isinstance(each, jax.tree_util.DictKey))
                names.append(name)
                if key is not None and any(_has(name, kernel) for kernel in self.kernels):
                    each = jax.random.fold_in(key, len(names))
                    leaves[index] = path, drop(value, self.rate, each)
            return structure.unflatten(value for _, value in leaves)

        def call(layer, *arguments, **options):
            return layer(*arguments, **options)

        layer = nn.map_variables(call, "params", dropped, init=self.is_initializing())
        returned = layer(self.layer, *arguments, **options)
        for kernel in self.kernels:
            if not any(_has(name, kernel) for name in names):
                raise InputError(
                    f"kernels: given {kernel!r}, which takes none of the parameters "
                    f"{', '.join(map('/'.join, names))}; expected one of these, or whole names in "
                    "it, with '*' and '?' for any letters"
                )
        return returned


def _has(path: Sequence[str], kernel: str) -> bool:
    """Returns whether a path has the names of a pattern, next to each other."""
    names = kernel.split("/")
    return any(
        all(map(fnmatchcase, path[start:], names)) for start in range(len(path) - len(names) + 1)
    )


def embedding_dropout(
    table: Float[Array, "vocabulary features"], rate: float, key: jax.Array | None
) -> Float[Array, "vocabulary features"]:
    """Returns an embedding table without some of its words.

    Each row is zero with probability `rate` and 1 / (1 - rate) times itself otherwise: a word that
    is dropped is dropped wherever the batch has it.

    Source: Gal, Ghahramani, A theoretically grounded application of dropout in recurrent neural
    networks, NeurIPS 2016; Merity, Keskar, Socher, Regularizing and optimizing LSTM language
    models, ICLR 2018.

    Args:
      table: a vector for each word.
      rate: probability to drop, in [0, 1).
      key: of this call; None for an evaluation, which drops nothing.

    Raises:
      InputError: the rate is out of [0, 1).
    """
    require_rate("rate", rate)
    return table if key is None else drop(table, rate, key, (len(table), 1))


def activation_regularization(
    outputs: Float[Array, "batch time *features"], mask: Bool[Array, "batch time"] | None = None
) -> Float[Array, ""]:
    """Returns the mean square of the outputs at the real steps, 0 if there is none.

    It is float32 (or wider, as the outputs are). Nothing at a masked position reaches it, nor its
    gradient. Scaled by a coefficient, it is added to the loss.

    Source: Merity, McCann, Socher, Revisiting activation regularization for language RNNs, 2017,
    which takes the outputs of the last layer after its dropout here, and before it in
    `temporal_activation_regularization`.

    Args:
      outputs: of a layer.
      mask: True where the step is real; None if all are.

    Raises:
      InputError: the mask is not boolean, or is not of the outputs' shape.
    """
    outputs, real = _cleaned(outputs, mask)
    return _mean(jnp.square(outputs), real)


def temporal_activation_regularization(
    outputs: Float[Array, "batch time *features"],
    mask: Bool[Array, "batch time"] | None = None,
    resets: Bool[Array, "batch time"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean square of the change from each real step to the next one of its document.

    Masked steps count as cut out, so that neither padding nor holes make a change; nor does the
    step from a document to the next one of its row. The mean is over all such pairs of the batch, 0
    if there is none. dtype, errors and source are those of `activation_regularization`.

    Args:
      outputs: of a layer.
      mask: True where the step is real; None if all are.
      resets: as the layer was given them; None if each row is one document.
    """
    outputs, real = _cleaned(outputs, mask)
    latest = jax.lax.cummax(jnp.where(real, jnp.arange(real.shape[1]), -1), axis=1)
    before = jnp.pad(latest[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    paired, before = real & (before >= 0), jnp.maximum(before, 0)
    if resets is not None:
        _require("resets", resets, outputs)
        document = jnp.cumsum(resets, axis=1)
        paired &= document == jnp.take_along_axis(document, before, axis=1)
    earlier = jnp.take_along_axis(outputs, before[..., None], axis=1)
    change = jnp.where(paired[..., None], outputs - earlier, 0)
    return _mean(jnp.square(change), paired)


def _cleaned(outputs: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns outputs of at least float32, zero where masked, and which of them are real.

    Those of a step stand in one axis.
    """
    batch, time, *features = outputs.shape
    outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    outputs = outputs.reshape(batch, time, math.prod(features))
    if mask is None:
        return outputs, jnp.ones((batch, time), bool)
    _require("mask", mask, outputs)
    # Replaced before they are squared: zero times NaN would be NaN in the gradient.
    return jnp.where(mask[..., None], outputs, 0), mask


def _require(name: str, flags: jax.Array, outputs: jax.Array) -> None:
    if not hasattr(flags, "dtype"):
        raise InputError(f"{name}: given a {type(flags).__name__}, expected an array of bool")
    if flags.dtype != jnp.bool_ or flags.shape != outputs.shape[:2]:
        raise InputError(
            f"{name}: given {flags.dtype}{list(flags.shape)}, expected "
            f"bool{list(outputs.shape[:2])}, as the outputs are [batch, time, ...]"
        )


def _mean(values: jax.Array, counted: jax.Array) -> jax.Array:
    """Returns the mean of values that are zero wherever they are not counted."""
    return values.sum() / (jnp.maximum(counted.sum(), 1) * values.shape[-1])
