"""What tasks share whose network reads tokens: an embedding of which not every row is live."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config import Config
from rnnjax.data.dataset import Split
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.models.token_encoder import TokenEncoder
from rnnjax.tasks import recurrent_options
from rnnjax.tasks.task import Params, Task


@dataclasses.dataclass(frozen=True)
class TokenTask(Task):
    """A task of a network that derives from `TokenEncoder`.

    Attributes:
      model: the network.
      vocab_size: number of token ids that occur in data, at most `model.vocabulary`.
      embedding_trainable: whether training changes the embedding.
      start_tokens: token ids that the network reads before a text.
    """

    start_tokens: ClassVar[tuple[int, ...]] = ()

    model: TokenEncoder
    vocab_size: int
    embedding_trainable: bool = True

    def input_shapes(self, split: Split) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns dtypes and shapes of tokens and mask."""
        shape = (split.batch_size, split.boundaries[-1])
        return jax.ShapeDtypeStruct(shape, jnp.int32), jax.ShapeDtypeStruct(shape, jnp.bool_)

    def init(self, key: jax.Array) -> Params:
        """Returns new parameters."""
        tokens = jnp.zeros((1, 1), jnp.int32)
        return self.model.init(key, tokens, jnp.ones((1, 1), bool))["params"]

    def set_word_vectors(
        self,
        params: Params,
        rows: Float[jax.Array, "vocabulary features"],
        found: Bool[jax.Array, " vocabulary"],
    ) -> Params:
        """Returns the parameters with those rows of the embedding replaced that are found."""

        def replaced(table):
            return jnp.where(found[: len(table), None], rows[: len(table)], table)

        return self._map_embedding(replaced, params)

    def live(self, params: Params) -> Params:
        """Returns the parameters that training can change: no rows of tokens that cannot occur.

        Their gradient is zero for ever and Adam would leave them as they are. Without them the
        optimizer does not spend most of a small network's step on them.
        """
        return self._map_embedding(lambda table: table[: self.vocab_size], params)

    def with_live(self, params: Params, live: Params) -> Params:
        """Returns the parameters with those that training can change replaced."""
        return self._map_embedding(
            lambda live_rows, table: table.at[: self.vocab_size].set(live_rows), live, params
        )

    def trainable_mask(self, params: Params) -> Any:
        """Returns for each parameter whether training may change it.

        It may not change those that a cell says are frozen, nor an embedding that is not trained.
        """
        trained = recurrent_options.trained(self.model.cell, params)
        if "embed" in params:
            trained["embed"] = jax.tree.map(lambda _: self.embedding_trainable, params["embed"])
        return trained

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the names of what the network tells apart.

        Args:
          metadata: the data, as `Dataset.describe` says it.
          vocabulary: of the network.
        """
        raise NotImplementedError

    def advance(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch outcomes"]]:
        """Returns what is kept of texts so far, and the log-probability of each outcome after them.

        Args:
          params: of the network.
          tokens: what comes next.
          mask: True where a token counts; without any the answer is that of before.
          carry: as a call has returned it, of a network that reads from left to right; None at the
            start of a text.
        """
        raise NotImplementedError

    def score_each_step(
        self, params: Params, tokens: Int[Array, " time"]
    ) -> Float[Array, "time outcomes"]:
        """Returns the log-probabilities of the outcomes after each token of one text."""
        raise NotImplementedError

    def training_model(self, live: Params) -> tuple[Any, Params]:
        """Returns the network over live parameters, and these, the untrained ones held fast."""
        model = self.model.clone(vocabulary=self.vocab_size) if self.model.embedding else self.model
        if not self.embedding_trainable:
            live = self._map_embedding(jax.lax.stop_gradient, live)
        return model, live

    def _map_embedding(self, function, params: Params, *rest: Params) -> Params:
        if not self.model.embedding:
            return params
        tables = [each["embed"]["embedding"] for each in (params, *rest)]
        return {**params, "embed": {"embedding": function(*tables)}}


def reader_options(config: Config) -> dict[str, Any]:
    """Returns what a config says of a network's attributes, but for its vocabulary.

    Raises:
      InputError: the config names a cell that there is not.
    """
    given = config.model
    return {
        **recurrent_options.options(config),
        "embedding": given.embedding.features,
        "embedding_dropout": given.regularization.embedding_dropout,
    }
