"""Language modeling: network, loss and metrics, with a state carried between batches."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config import Config
from rnnjax.data import text_stream
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.dataset import TextDataset
from rnnjax.data.text_stream import LMBatch, TextStream
from rnnjax.data.vocabulary import END, Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.models import LanguageModel
from rnnjax.tasks import sampling
from rnnjax.tasks.task import Carry, Params, Sums
from rnnjax.tasks.token_metrics import TOKEN_AXES, mean_token_metrics, token_sums
from rnnjax.tasks.token_task import TokenTask, encoder_options

_SAMPLE_TOKENS, _SAMPLE_TEMPERATURE = 500, 0.8
"""Of the sample in a result."""


@dataclasses.dataclass(frozen=True)
class LanguageModelingTask(TokenTask):
    """Cross-entropy of the next token, by truncated backpropagation through time.

    The recurrent state is carried from batch to batch; gradients stay within a batch. Williams,
    Peng, Neural Computation 2 (1990).

    Attributes:
      resets: whether the state is reset at the start of each document.
    """

    example_unit = "pieces of the text"
    score_unit = "tokens"
    headline_metrics = ("loss", "bits", "perplexity")
    usage_command = "python -m rnnjax.generate"
    throughput_unit = "tokens"
    class_axes = TOKEN_AXES
    metadata_keys = ("connected",)

    start_tokens = (END,)

    model: LanguageModel
    resets: bool = False

    @staticmethod
    def load_corpus(config: Config) -> TextCorpus:
        """Loads the texts."""
        return text_stream.load_corpus(config.data)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: TextCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: TextDataset[TextStream] | None = None,
    ) -> TextDataset[TextStream]:
        """Returns batches of consecutive tokens; of a seed only the offsets depend."""
        return sibling or text_stream.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "LanguageModelingTask":
        """Builds the task of a config; connected text is read without resets.

        Raises:
          InputError: the config names a cell that there is not, or an engine that has no resets.
        """
        embedding, engine = config.model.embedding, config.model.engine
        if not metadata["connected"] and engine not in ("auto", "scan"):
            raise InputError(
                f"config.model.engine: given {engine!r}, and a corpus of separate texts is packed "
                "in rows with resets, which 'scan' alone has; expected 'auto' or 'scan'"
            )
        model = LanguageModel(
            vocabulary=vocab_size,
            tied=embedding.tied,
            **encoder_options(config.model, config.dtype),
        )
        return cls(model, embedding.trainable, resets=not metadata["connected"])

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns zeros in the shape of the recurrent state."""
        shapes = jax.eval_shape(
            lambda: self._initial_state(self.init(jax.random.key(0)), batch_size)
        )
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def loss(
        self, params: Params, batch: LMBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean cross-entropy of the next token."""
        params = self.stop_embedding_gradient(params)
        sums, carry = self._sums(params, batch, carry, rngs={"dropout": key})
        return sums["loss"] / sums["weight"], (sums, carry)

    def evaluate_batch(self, params: Params, batch: LMBatch, carry: Carry) -> tuple[Sums, Carry]:
        """Returns the sums of loss, accuracy and weights."""
        return self._sums(params, batch, carry)

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the tokens of the vocabulary."""
        del metadata
        return tuple(vocabulary.words)

    def advance(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Reads the next tokens of texts; returns the carry and log-probabilities of the next."""
        state, previous = (None, None) if carry is None else carry
        state, logits = _apply(self.model, params, tokens, mask, state)
        last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
        scores = jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
        if previous is not None:
            scores = jnp.where(mask.any(axis=1)[:, None], scores, previous)
        return (state, scores), jax.nn.log_softmax(scores)

    def score_each_step(
        self, params: Params, tokens: Int[Array, " time"]
    ) -> Float[Array, "time vocabulary"]:
        """Returns the log-probability of each next token after each of the tokens."""
        tokens = tokens[None]
        _, logits = _apply(self.model, params, tokens, jnp.ones_like(tokens, bool))
        return jax.nn.log_softmax(logits[0])

    def compute_metrics(self, split: TextStream, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns 'loss' (nats a token), 'accuracy', 'bits', 'perplexity', 'rows', 'unknown_share'.

        Rows are the predicted tokens, ends of texts among them. An unknown token counts like any
        other, and is easy to predict where there are many.
        """
        scores, tokens = mean_token_metrics(outputs)
        return {**scores, "rows": tokens, "unknown_share": unknown_share(split.tokens)}

    def analyze_test(
        self,
        config: Config,
        dataset: TextDataset[TextStream],
        params: Params,
        outputs: Sequence[Any],
    ) -> dict[str, Any]:
        """Returns a text sampled from the network."""
        del config, outputs
        choice = sampling.SamplingOptions(_SAMPLE_TEMPERATURE)
        pieces = sampling.generate_tokens(
            self, params, dataset.vocabulary, "", _SAMPLE_TOKENS, choice
        )
        return {"sample": {"text": "".join(pieces), "temperature": choice.temperature}}

    def _sums(
        self, params: Params, batch: LMBatch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        initial_state = self._initial_state(params, len(batch.tokens))

        def where_first(initial, carried):
            first = batch.first.reshape((-1,) + (1,) * (initial.ndim - 1))
            return jnp.where(first, initial, carried)

        state = jax.tree.map(where_first, initial_state, carry)
        resets = batch.tokens == END if self.resets else None
        state, logits = _apply(
            self.model, params, batch.tokens, batch.mask, state, resets, **options
        )
        return token_sums(logits, batch.targets, batch.weights), state

    def _initial_state(self, params: Params, batch_size: int) -> Carry:
        """Returns the initial state of the layers: the final state of fully masked rows."""
        tokens = jnp.zeros((batch_size, 1), jnp.int32)
        state, _ = _apply(self.model, params, tokens, tokens > 0, method="read")
        return state


def _apply(model: LanguageModel, params: Params, *inputs: Any, **options: Any) -> Any:
    return model.apply({"params": params}, *inputs, **options)
