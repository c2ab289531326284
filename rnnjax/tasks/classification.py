"""Text classification: the network, the loss and what is counted."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from rnnjax.cells import make_cell
from rnnjax.cells.base import frozen_names
from rnnjax.config import Config
from rnnjax.data.batches import Batch
from rnnjax.models import Classifier

Params = Any
"""A pytree of arrays, as flax has it: nested dicts."""

Sums = dict[str, Float[Array, ""]]
"""Metrics summed over examples, each times its weight, and the sum of the weights, 'weight'."""


@dataclasses.dataclass(frozen=True)
class Classification:
    """Cross-entropy over classes.

    Attributes:
      model: the network.
      known: the tokens that can occur are those below this number; `model.vocabulary` if all can.
      trains_embedding: whether training changes the embedding.
    """

    model: Classifier
    known: int
    trains_embedding: bool = True

    @classmethod
    def of(cls, config: Config, known: int, classes: int) -> "Classification":
        """Returns the task of a config.

        Args:
          config: what the network is made of.
          known: size of the vocabulary that was found, at most the one that was asked for.
          classes: number of classes.

        Raises:
          InputError: the config names a cell that there is not.
        """
        dtype = jnp.dtype(config.dtype)
        given = config.model
        model = Classifier(
            # One-hot vectors need no place for tokens that cannot occur.
            vocabulary=config.data.vocabulary.size if given.embedding.features else known,
            classes=classes,
            cell=make_cell(given.cell, given.features, dtype),
            layers=given.layers,
            embedding=given.embedding.features,
            bidirectional=given.bidirectional,
            merge=given.merge,
            pooling=given.pooling,
            dropout=given.dropout,
            variational=given.regularization.variational,
            embedding_dropout=given.regularization.embedding,
            recurrent_dropout=given.regularization.recurrent,
            zoneout=given.regularization.zoneout,
            weight_drop=given.regularization.weights,
            learned_state=given.learned_state,
            remat=given.remat,
            dtype=dtype,
        )
        # Weight decay is the one thing that moves a row that never gets a gradient.
        decays = config.optimizer.weight_decay and given.embedding.trainable
        return cls(model, model.vocabulary if decays else known, given.embedding.trainable)

    def init(self, key: jax.Array) -> Params:
        """Returns new parameters."""
        tokens = jnp.zeros((1, 1), jnp.int32)
        return self.model.init(key, tokens, jnp.ones((1, 1), bool))["params"]

    def with_vectors(
        self,
        params: Params,
        rows: Float[Array, "vocabulary features"],
        found: Bool[Array, " vocabulary"],
    ) -> Params:
        """Returns the parameters with those rows of the embedding replaced that are found."""
        return self._map_embedding(lambda table: jnp.where(found[:, None], rows, table), params)

    def live(self, params: Params) -> Params:
        """Returns the parameters that training can change: no rows of tokens that cannot occur.

        Their gradient is zero for ever and Adam would leave them as they are. Without them the
        optimizer does not spend most of a small network's step on them.
        """
        return self._map_embedding(lambda table: table[: self.known], params)

    def with_live(self, params: Params, live: Params) -> Params:
        """Returns the parameters with those that training can change replaced."""
        return self._map_embedding(
            lambda live_rows, table: table.at[: self.known].set(live_rows), live, params
        )

    def trained(self, params: Params) -> Any:
        """Returns for each parameter whether training may change it.

        It may not change those that a cell says are frozen, nor an embedding that is not trained.
        """
        frozen = frozen_names(self.model.cell)

        def may_change(path, _):
            first, *names = (jax.tree_util.keystr((key,), simple=True) for key in path)
            if first == "embed":
                return self.trains_embedding
            return not (first == "recurrent" and frozen.intersection(names))

        return jax.tree_util.tree_map_with_path(may_change, params)

    def _map_embedding(self, function, params: Params, *rest: Params) -> Params:
        if not self.model.embedding:
            return params
        tables = [each["embed"]["embedding"] for each in (params, *rest)]
        return {**params, "embed": {"embedding": function(*tables)}}

    def loss(self, live: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
        """Returns the mean cross-entropy of a batch, in nats, and the sums behind it.

        Args:
          live: as `live` returns them.
          batch: examples of weight zero do not count.
          key: for dropout.
        """
        model = self.model.clone(vocabulary=self.known) if self.model.embedding else self.model
        if not self.trains_embedding:
            live = self._map_embedding(jax.lax.stop_gradient, live)
        logits = _apply(model, live, batch, rngs={"dropout": key})
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        hits = jnp.argmax(logits, axis=-1) == batch.labels
        sums = {
            "loss": jnp.sum(losses * batch.weights),
            "accuracy": jnp.sum(hits * batch.weights),
            "weight": jnp.sum(batch.weights),
        }
        return sums["loss"] / sums["weight"], sums

    def log_probabilities(self, params: Params, batch: Batch) -> Float[Array, "batch classes"]:
        """Returns the log-probability of each class, without dropout."""
        return jax.nn.log_softmax(_apply(self.model, params, batch))


def _apply(model: Classifier, params: Params, batch: Batch, **options: Any) -> jax.Array:
    logits = model.apply({"params": params}, batch.tokens, batch.mask, **options)
    assert isinstance(logits, jax.Array)
    return logits
