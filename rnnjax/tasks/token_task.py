"""Base class of tasks whose network reads tokens and predicts after any part of a text."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config.sections import ModelConfig
from rnnjax.data.batches import Shape
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.models.initialization import Initialization
from rnnjax.models.token_encoder import TokenEncoder
from rnnjax.tasks.model_options import recurrent_options, trainable_mask
from rnnjax.tasks.task import Params, Task


@dataclasses.dataclass(frozen=True)
class TokenTask(Task):
    """A task of a `TokenEncoder`, whose predictions can be streamed token by token.

    Attributes:
      model: the network.
      embedding_trainable: whether the embedding is trained.
      start_tokens: token ids that the network reads before a text.
    """

    start_tokens: ClassVar[tuple[int, ...]] = ()

    model: TokenEncoder
    embedding_trainable: bool = True

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1,)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of tokens and mask."""
        shape = (batch_size, *lengths)
        return jax.ShapeDtypeStruct(shape, jnp.int32), jax.ShapeDtypeStruct(shape, jnp.bool_)

    def set_word_vectors(
        self,
        params: Params,
        vectors: Float[jax.Array, "vocabulary features"],
        available: Bool[jax.Array, " vocabulary"],
    ) -> Params:
        """Replaces the rows of the embedding that have a pretrained vector."""
        table = params["embed"]["embedding"]
        size = len(table)
        table = jnp.where(available[:size, None], vectors[:size], table)
        return {**params, "embed": {"embedding": table}}

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes and for a fixed embedding."""
        mask = trainable_mask(params, {"recurrent": self.model.cell})
        if "embed" in params:
            mask["embed"] = {"embedding": self.embedding_trainable}
        return mask

    def stop_embedding_gradient(self, params: Params) -> Params:
        """Returns the parameters, a fixed embedding without gradient."""
        if self.embedding_trainable or "embed" not in params:
            return params
        return {**params, "embed": jax.lax.stop_gradient(params["embed"])}

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the names of the classes, or of the tokens that may come next.

        Args:
          metadata: of the data, with `metadata_keys`.
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
        """Reads the next tokens of texts; returns the carry and log-probabilities after them.

        Args:
          params: of the network.
          tokens: that follow those read so far.
          mask: True where a token counts; a row without any keeps its log-probabilities.
          carry: of the previous call, for a unidirectional network; None at the start of a text.
        """
        raise NotImplementedError

    def score_each_step(
        self, params: Params, tokens: Int[Array, " time"]
    ) -> Float[Array, "time outcomes"]:
        """Returns the log-probabilities after each token of one text.

        Each prefix is read anew, as a bidirectional network needs it.
        """
        steps = jnp.arange(len(tokens))
        prefixes = jnp.broadcast_to(tokens, (len(tokens), len(tokens)))
        return self.advance(params, prefixes, steps[None] <= steps[:, None])[1]


def encoder_options(
    config: ModelConfig, dtype: str, initialization: Initialization | None = None
) -> dict[str, Any]:
    """Returns the attributes of a `TokenEncoder`, except for its vocabulary.

    Args:
      config: section `model`.
      dtype: of the computation.
      initialization: as for `make_initialization`.

    Raises:
      InputError: there is no cell of that name.
    """
    return {
        **recurrent_options(config, dtype, initialization),
        "embedding": config.embedding.features,
        "embedding_dropout": config.regularization.embedding_dropout,
    }
