"""Translation: a text for each text that is read."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.cells import make_cell
from rnnjax.config import Config
from rnnjax.data import translation_pairs
from rnnjax.data.corpora.parallel_text import ParallelCorpus
from rnnjax.data.translation_pairs import TranslationBatch, TranslationBatches, TranslationDataset
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.models import Translator
from rnnjax.tasks.bleu import require_sacrebleu, translation_scores
from rnnjax.tasks.decoding import BeamOptions, translate_texts
from rnnjax.tasks.recurrent_options import trainable_mask
from rnnjax.tasks.task import Carry, Params, Sums, Task
from rnnjax.tasks.token_metrics import TOKEN_AXES, scores_of, sums_of

_EXAMPLES = 8
"""Of the test part, from its start, that a result shows."""


@dataclasses.dataclass(frozen=True)
class TranslationTask(Task):
    """Cross-entropy of each token of the target, given the source and the tokens before it.

    Attributes:
      model: the network.
      max_length: most tokens of a translation, end token included.
      label_smoothing: epsilon; the loss in training is the cross-entropy with a target of 1 -
        epsilon, and epsilon shared out among all tokens. What is reported is without. Szegedy et
        al., Rethinking the Inception architecture, CVPR 2016.
      scheduled_sampling: final probability of feeding the decoder its own prediction in training.
      scheduled_sampling_steps: steps over which that probability rises linearly from 0.
    """

    example_unit = "pairs"
    score_unit = "texts"
    headline_metrics = ("bleu", "chrf", "exact", "perplexity")
    usage_command = "python -m rnnjax.translate"
    throughput_unit = "tokens"
    class_axes = TOKEN_AXES
    metadata_keys = ("longest",)

    model: Translator
    max_length: int
    label_smoothing: float = 0.0
    scheduled_sampling: float = 0.0
    scheduled_sampling_steps: int = 1

    @staticmethod
    def load_corpus(config: Config) -> ParallelCorpus:
        """Returns pairs of texts.

        Raises:
          InputError: they cannot be had, or what judges translations is not installed.
        """
        require_sacrebleu()
        return translation_pairs.load_corpus(config.data, config.translation)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: ParallelCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: TranslationDataset | None = None,
    ) -> TranslationDataset:
        """Returns batches of pairs, of which a seed changes the order alone."""
        if sibling:
            # A part of its own, which keeps the orders of its epochs.
            return dataclasses.replace(sibling, train=dataclasses.replace(sibling.train))
        return translation_pairs.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "TranslationTask":
        """Returns the task of a config; the two directions of the encoder share its features."""
        given, dtype = config.model, jnp.dtype(config.dtype)
        asked = config.translation
        model = Translator(
            vocabulary=vocab_size,
            encoder_cell=make_cell(given.cell, -(-given.features // 2), dtype),
            decoder_cell=make_cell(given.cell, given.features, dtype),
            encoder_layers=given.layers,
            decoder_layers=given.layers,
            embedding=given.embedding.features,
            attention=asked.attention,
            input_feeding=asked.input_feeding,
            tied=given.embedding.tied,
            dropout=given.dropout,
            dtype=dtype,
        )
        return cls(
            model,
            metadata["longest"] + 1,
            asked.label_smoothing,
            asked.scheduled_sampling,
            asked.scheduled_sampling_steps,
        )

    def input_shapes(self, split: TranslationBatches) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns dtypes and shapes of source, its mask, inputs and theirs."""
        source, target = ((split.batch_size, each) for each in np.max(split.boundaries, axis=0))
        return tuple(
            jax.ShapeDtypeStruct(shape, dtype)
            for shape in (source, target)
            for dtype in (jnp.int32, jnp.bool_)
        )

    def init(self, key: jax.Array) -> Params:
        """Returns new parameters."""
        tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
        return self.model.init(key, tokens, mask, tokens, mask)["params"]

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns the number of batches so far, where what the network reads changes with it."""
        del batch_size
        return jnp.zeros((), jnp.int32) if self.scheduled_sampling else None

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        encoder, decoder = self.model.encoder_cell, self.model.decoder_cell
        return trainable_mask(params, {"encoder": encoder, "first": decoder, "rest": decoder})

    def loss(
        self, params: Params, batch: TranslationBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean loss of the tokens of a batch, smoothed, and their sums, which are not.

        What is handed on is the number of batches.
        """
        rate = None
        if self.scheduled_sampling:
            rate = self.scheduled_sampling * jnp.minimum(carry / self.scheduled_sampling_steps, 1.0)
            carry = carry + 1
        logits = self._scores(params, batch, rate, rngs={"dropout": key})
        sums = sums_of(logits, batch.targets, batch.weights)
        loss = sums["loss"]
        if self.label_smoothing:
            alike = -jnp.sum(jax.nn.log_softmax(logits).mean(axis=-1) * batch.weights)
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * alike
        return loss / sums["weight"], (sums, carry)

    def evaluate_batch(
        self, params: Params, batch: TranslationBatch, carry: Carry
    ) -> tuple[Sums, Carry]:
        """Returns loss and hits, summed, and the sum of the weights."""
        return sums_of(self._scores(params, batch), batch.targets, batch.weights), carry

    def compute_metrics(
        self, split: TranslationBatches, outputs: Sequence[Any]
    ) -> dict[str, float | int]:
        """Returns 'loss' (nats a token), 'accuracy', 'bits', 'perplexity', 'tokens', 'rows' and
        'unknown_share'.

        The first four are of each token of the right text, given those before it. Rows are the
        texts; ends are among the tokens. The last is of the tokens of sources and targets.
        """
        scores, tokens = scores_of(outputs)
        unknown = unknown_share(split.tokens)
        return {**scores, "tokens": tokens, "rows": len(split), "unknown_share": unknown}

    def analyze_test(
        self, config: Config, dataset: TranslationDataset, params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns how good the translations of the test part are, and some of them."""
        del outputs
        written = translate_texts(
            self.model,
            params,
            dataset.vocabulary,
            dataset.test.sources,
            BeamOptions.from_config(config.translation),
            length=self.max_length,
            batch_size=config.batch_size,
        )
        test = dataset.corpus.splits["test"]
        references = test.targets[: len(written)]
        scores, signatures = translation_scores([each.text for each in written], references)
        examples = [
            {
                "source": source,
                "reference": reference,
                "text": each.text,
                "score": each.score,
                "read": each.read,
                "written": each.written,
                "attention": np.round(each.attention.astype(float), 3).tolist(),
            }
            for source, reference, each in zip(
                test.sources[:_EXAMPLES], references[:_EXAMPLES], written, strict=False
            )
        ]
        return {"test": scores, "translation": {"signatures": signatures, "examples": examples}}

    def _scores(
        self, params: Params, batch: TranslationBatch, rate: Any = None, **options: Any
    ) -> Any:
        given = batch.source, batch.source_mask, batch.inputs, batch.weights > 0
        return self.model.apply({"params": params}, *given, rate, **options)
