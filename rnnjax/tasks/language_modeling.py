"""Language modeling: the next token after each, from batch to batch of running text."""

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
from rnnjax.tasks.token_metrics import TOKEN_AXES, scores_of, sums_of
from rnnjax.tasks.token_task import TokenTask, reader_options

_SAMPLE_TOKENS, _SAMPLE_TEMPERATURE = 500, 0.8
"""Of the text that a result shows."""


@dataclasses.dataclass(frozen=True)
class LanguageModelingTask(TokenTask):
    """Cross-entropy of the next token.

    The state goes on from batch to batch, and gradients stay within one: truncated backpropagation
    through time, Williams, Peng, Neural Computation 2 (1990).

    Attributes:
      model: the network.
      vocab_size: size of the vocabulary.
      embedding_trainable: whether training changes the embedding.
      resets: the network knows nothing of one document when it reads the next.
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
        """Returns running text."""
        return text_stream.load_corpus(config.data)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: TextCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: TextDataset[TextStream] | None = None,
    ) -> TextDataset[TextStream]:
        """Returns batches of running text, which no seed changes but by the places to begin at."""
        return sibling or text_stream.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "LanguageModelingTask":
        """Returns the task of a config; what is connected is read without resets.

        Raises:
          InputError: the config names a cell that there is not, or an engine that has no resets.
        """
        embedding, engine = config.model.embedding, config.model.engine
        if not metadata["connected"] and engine not in ("auto", "scan"):
            raise InputError(
                f"config.model.engine: given {engine!r}, and a corpus of separate texts is packed "
                "in rows with resets, which 'scan' alone has; expected 'auto' or 'scan'"
            )
        model = LanguageModel(vocabulary=vocab_size, tied=embedding.tied, **reader_options(config))
        return cls(model, vocab_size, embedding.trainable, resets=not metadata["connected"])

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns states of the recurrent layers."""
        shapes = jax.eval_shape(
            lambda: self._own_state(self.model, self.init(jax.random.key(0)), batch_size)
        )
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def loss(
        self, live: Params, batch: LMBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean cross-entropy of the next token; where there is none nothing counts."""
        model, live = self.training_model(live)
        sums, carry = self._sums(model, live, batch, carry, rngs={"dropout": key})
        return sums["loss"] / sums["weight"], (sums, carry)

    def evaluate_batch(self, params: Params, batch: LMBatch, carry: Carry) -> tuple[Sums, Carry]:
        """Returns loss and hits, summed, and the sum of the weights."""
        return self._sums(self.model, params, batch, carry)

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the tokens, of which one comes next."""
        del metadata
        return tuple(vocabulary.words)

    def advance(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Returns what is kept of texts so far, and the log-probability of each next token."""
        state, before = (None, None) if carry is None else carry
        state, logits = _apply(self.model, params, tokens, mask, state)
        last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
        scores = jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
        if before is not None:
            scores = jnp.where(mask.any(axis=1)[:, None], scores, before)
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

        Rows are the tokens that were predicted, the ends of texts among them. Unknown ones are a
        token like the others, and easy to predict where they are many.
        """
        scores, tokens = scores_of(outputs)
        return {**scores, "rows": tokens, "unknown_share": unknown_share(split.tokens)}

    def analyze_test(
        self,
        config: Config,
        dataset: TextDataset[TextStream],
        params: Params,
        outputs: Sequence[Any],
    ) -> dict[str, Any]:
        """Returns a text that the network has written."""
        del config, outputs
        choice = sampling.SamplingOptions(_SAMPLE_TEMPERATURE)
        pieces = sampling.generate_tokens(
            self, params, dataset.vocabulary, "", _SAMPLE_TOKENS, choice
        )
        return {"sample": {"text": "".join(pieces), "temperature": choice.temperature}}

    def _sums(
        self, model: LanguageModel, params: Params, batch: LMBatch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        own = self._own_state(model, params, len(batch.tokens))

        def begun(new, old):
            return jnp.where(batch.first.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

        state = jax.tree.map(begun, own, carry)
        resets = batch.tokens == END if self.resets else None
        state, logits = _apply(model, params, batch.tokens, batch.mask, state, resets, **options)
        return sums_of(logits, batch.targets, batch.weights), state

    def _own_state(self, model: LanguageModel, params: Params, rows: int) -> Carry:
        """Returns the state with which the layers begin: that of rows in which nothing is real."""
        tokens = jnp.zeros((rows, 1), jnp.int32)
        state, _ = _apply(model, params, tokens, tokens > 0, method="read")
        return state


def _apply(model: LanguageModel, params: Params, *inputs: Any, **options: Any) -> Any:
    return model.apply({"params": params}, *inputs, **options)
