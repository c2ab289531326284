"""Language modeling: network, loss and metrics, with a state carried between batches."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config import Config
from rnnjax.config.constraints import integers
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.streams import StreamBatch
from rnnjax.data.vocabulary import END, Vocabulary, count_tokens, unknown_share
from rnnjax.layers import activation_regularization, temporal_activation_regularization
from rnnjax.layers.engines import resolve_engine
from rnnjax.models.initialization import Initialization
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.generation import TextGenerator
from rnnjax.tasks.language_modeling import data
from rnnjax.tasks.language_modeling.config import SCHEMA
from rnnjax.tasks.language_modeling.data import TextStream
from rnnjax.tasks.language_modeling.model import ACTIVATIONS, LanguageModel
from rnnjax.tasks.language_modeling.ngrams import KneserNeyBigrams, Unigrams, perplexity
from rnnjax.tasks.language_modeling.report import BASELINES, make_report_part
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.stream_task import StreamTask
from rnnjax.tasks.task import Carry, Params, Sums, UsageCommand
from rnnjax.tasks.token_metrics import TOKEN_AXES, cross_entropy_sums, mean_token_metrics
from rnnjax.tasks.token_task import TokenTask, encoder_options

if TYPE_CHECKING:
    from rnnjax.tasks.language_modeling.trained_run import TrainedLanguageModel

INITIALIZATION = Initialization("haiku")
"""Initial values of a config that names none, the best of four libraries on a validation part: with
those of Keras, two layers or more stay at the loss of the word frequencies for long."""

_BIGRAM_TOKENS = 2**24
"""Tokens of the training split whose pairs are counted, from the start: their number is bounded by
the memory alone."""
_SAMPLE_TOKENS, _SAMPLE_TEMPERATURE = 500, 0.8
"""Of the sample in a result."""


@dataclasses.dataclass(frozen=True)
class LanguageModelingTask(TokenTask, StreamTask):
    """Cross-entropy of the next token, by truncated backpropagation through time.

    The recurrent state is carried from batch to batch; gradients stay within a batch. Williams,
    Peng, Neural Computation 2 (1990).

    Attributes:
      resets: whether the state is reset at the start of each document.
      activation: coefficient of `rnnjax.layers.activation_regularization` of the topmost layer.
      temporal_activation: coefficient of `temporal_activation_regularization`.
    """

    schema = SCHEMA
    example_unit = "pieces of the text"
    score_unit = "tokens"
    headline_metrics = ("loss", "bits", "perplexity")
    commands = (
        UsageCommand("Generate text", "generate", '--prompt "text"'),
        UsageCommand("Score a text token by token", "score", '"text"'),
        UsageCommand("Evaluate it on another file", "evaluate", "--data FILE.txt"),
    )
    length_key = "data.sequence_length"
    throughput_unit = "tokens"
    class_axes = TOKEN_AXES
    metadata_keys = ("connected",)

    start_tokens = (END,)

    model: LanguageModel
    resets: bool = False
    activation: float = 0.0
    temporal_activation: float = 0.0

    @staticmethod
    def load_corpus(config: Config) -> TextCorpus:
        """Loads the texts."""
        return data.load_corpus(config.data)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: TextCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: data.TextStreamDataset | None = None,
    ) -> data.TextStreamDataset:
        """Returns batches of consecutive tokens; of a seed only the offsets depend."""
        return sibling or data.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "LanguageModelingTask":
        """Builds the task of a config; connected text is read without resets.

        Raises:
          InputError: the config names a cell that there is not, or an engine that has no resets.
        """
        embedding = config.model.embedding
        model = LanguageModel(
            vocabulary=vocab_size,
            tied=embedding.tied,
            soft_cap=config.model.output.soft_cap,
            samples=config.model.output.samples,
            cutoffs=integers(config.model.output.cutoffs),
            **encoder_options(config.model, config.dtype, INITIALIZATION),
        )
        if not metadata["connected"]:
            # Separate texts are packed in rows with resets.
            resolve_engine(config.model.engine, model.cell, resets=True)
        regularization = config.model.regularization
        return cls(
            model,
            embedding.trainable,
            resets=not metadata["connected"],
            activation=regularization.activation,
            temporal_activation=regularization.temporal_activation,
        )

    def read(self, params: Params, inputs: Any, mask: Any, *state: Any, **options: Any) -> Any:
        """Returns the final state of the layers, and the logits at each step."""
        return _apply(self.model, params, inputs, mask, *state, **options)

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
        carry, logits = self.advance_logits(params, tokens, mask, carry)
        return carry, jax.nn.log_softmax(logits)

    def advance_logits(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch vocabulary"]]:
        """Reads the next tokens of texts; returns the carry and logits of the next token."""
        state, previous = (None, None) if carry is None else carry
        state, logits = _apply(self.model, params, tokens, mask, state)
        last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
        scores = jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0]
        if previous is not None:
            scores = jnp.where(mask.any(axis=1)[:, None], scores, previous)
        return (state, scores), scores

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
        other, and is easy to predict where there are many. Of characters and subwords there are
        'bits_per_character' and 'bits_per_byte' of the raw text too.
        """
        scores, tokens = mean_token_metrics(outputs)
        if split.num_characters:
            scores["bits_per_character"] = scores["bits"] * tokens / split.num_characters
            scores["bits_per_byte"] = scores["bits"] * tokens / split.num_bytes
        return {**scores, "rows": tokens, "unknown_share": unknown_share(split.tokens)}

    def analyze_test(
        self,
        config: Config,
        dataset: data.TextStreamDataset,
        params: Params,
        outputs: Sequence[Any],
    ) -> dict[str, Any]:
        """Returns a text sampled from the network, and the perplexities of counted models.

        These count the training split, and are scored on the same targets as the network.
        """
        del outputs
        (text,) = self.example_texts(config, dataset, params).values()
        return {
            "sample": {"text": text, "temperature": _SAMPLE_TEMPERATURE},
            "baselines": _baselines(dataset),
        }

    def example_texts(
        self, config: Config, dataset: data.TextStreamDataset, params: Params
    ) -> dict[str, str]:
        """Returns a sampled text of 500 tokens at most, 'sample'."""
        del config
        options = GenerationOptions(_SAMPLE_TEMPERATURE)
        generator = TextGenerator(self, params, dataset.vocabulary, _SAMPLE_TOKENS, options)
        (text,) = generator.generate([""])
        return {"sample": text}

    @staticmethod
    def input_free_loss(dataset: data.TextStreamDataset) -> float:
        """Returns the entropy of the training targets, in nats."""
        counts = count_tokens(dataset.train.targets)
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    @classmethod
    def describe_baselines(cls, result: Mapping[str, Any]) -> str:
        """Returns the perplexities of unigrams and Kneser-Ney bigrams on the test split."""
        unigram, bigram = (result["baselines"][name]["test"] for name in BASELINES)
        return f"perplexity of unigrams {unigram:.2f}, of Kneser-Ney bigrams {bigram:.2f}"

    def loss(
        self, params: Params, batch: StreamBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean cross-entropy with the penalties of the outputs, sums without, carry."""
        if not (self.activation or self.temporal_activation):
            return super().loss(params, batch, carry, key)
        result, variables = self._read_batch(
            params, batch, carry, rngs={"dropout": key}, mutable=[ACTIVATIONS]
        )
        (dropped,), (outputs,) = (variables[ACTIVATIONS][name] for name in ("dropped", "outputs"))
        mask = jnp.asarray(batch.mask)
        penalty = self.activation * activation_regularization(dropped, mask)
        penalty += self.temporal_activation * temporal_activation_regularization(
            outputs, mask, self._resets(batch)
        )
        state, cross_entropy = result
        sums = cross_entropy_sums(cross_entropy, batch.weights)
        return sums["loss"] / sums["weight"] + penalty, (sums, state)

    def batch_sums(
        self, params: Params, batch: StreamBatch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        """Returns the sums of cross-entropy of the next token, accuracy and weights."""
        state, cross_entropy = self._read_batch(params, batch, carry, **options)
        return cross_entropy_sums(cross_entropy, batch.weights), state

    def _read_batch(self, params: Params, batch: StreamBatch, carry: Carry, **options: Any) -> Any:
        """Returns the state after a batch and the cross-entropy of its targets."""
        params = self.stop_embedding_gradient(params)
        state = self.start_state(params, batch, carry)
        inputs = batch.inputs, batch.mask, batch.targets, batch.weights, state
        resets = self._resets(batch)
        return _apply(self.model, params, *inputs, resets, method="cross_entropy", **options)

    def _resets(self, batch: StreamBatch) -> Any:
        return batch.inputs == END if self.resets else None

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns perplexity and a sample."""
        return make_report_part(run)

    @classmethod
    def trained_run(cls) -> "type[TrainedLanguageModel]":
        """Returns the class of trained language models."""
        from rnnjax.tasks.language_modeling.trained_run import TrainedLanguageModel

        return TrainedLanguageModel


TASK = LanguageModelingTask


def _baselines(dataset: data.TextStreamDataset) -> dict[str, dict[str, float]]:
    """Returns the perplexity of counted models by name and split."""
    train, size = dataset.train, dataset.vocab_size
    unigrams = Unigrams.fit(train.targets, size)
    counted = slice(0, _BIGRAM_TOKENS)
    bigrams = KneserNeyBigrams.fit(train.inputs[counted], train.targets[counted], size)
    splits = {"validation": dataset.validation, "test": dataset.test}
    losses = {
        name: (unigrams.loss(split.targets), bigrams.loss(split.inputs, split.targets))
        for name, split in splits.items()
        if split
    }
    return {
        model: {name: perplexity(pair[index]) for name, pair in losses.items()}
        for index, model in enumerate(BASELINES)
    }


def _apply(model: LanguageModel, params: Params, *inputs: Any, **options: Any) -> Any:
    return model.apply({"params": params}, *inputs, **options)
