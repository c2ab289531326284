"""Translation: network, loss, metrics and the translations of the test split."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.cells import make_cell
from rnnjax.config import Config
from rnnjax.data.batches import Shape
from rnnjax.data.corpora.parallel_text import ParallelCorpus
from rnnjax.data.pairs import PairBatch, PairBatches
from rnnjax.data.sequences import Sequences
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.models.initialization import Initialization
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.model_options import make_initialization, trainable_mask
from rnnjax.tasks.task import Carry, Params, Sums, Task, UsageCommand
from rnnjax.tasks.token_metrics import TOKEN_AXES, cross_entropy_sums, mean_token_metrics
from rnnjax.tasks.translation import data
from rnnjax.tasks.translation.bleu import require_sacrebleu, translation_scores
from rnnjax.tasks.translation.config import SCHEMA, TranslationConfig
from rnnjax.tasks.translation.data import TranslationDataset
from rnnjax.tasks.translation.decoding import BeamOptions, TranslatedText, translate_texts
from rnnjax.tasks.translation.model import Translator
from rnnjax.tasks.translation.report import make_report_part

if TYPE_CHECKING:
    from rnnjax.tasks.translation.trained_run import TrainedTranslator

_EXAMPLES = 8
"""Translations in a result, of the first rows of the test split."""


@dataclasses.dataclass(frozen=True)
class TranslationTask(Task):
    """Cross-entropy of the target tokens under teacher forcing.

    Attributes:
      model: the network.
      max_length: most tokens of a translation, end token included.
      label_smoothing: epsilon; the target distribution of the training loss is 1 - epsilon for the
        right token and uniform for epsilon. Metrics are without it. Szegedy et al.,
        Rethinking the Inception architecture, CVPR 2016.
      scheduled_sampling: final probability of feeding the decoder its own prediction in training.
      scheduled_sampling_steps: steps over which that probability rises linearly from 0.
    """

    schema = SCHEMA
    example_unit = "pairs"
    score_unit = "texts"
    headline_metrics = ("bleu", "chrf", "exact", "perplexity")
    commands = (UsageCommand("Translate a text", "translate", '"text"'),)
    length_key = "data.vocabulary.size"
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
        """Loads pairs of texts.

        Raises:
          InputError: they are not available, or sacrebleu is not installed.
        """
        require_sacrebleu()
        return data.load_corpus(config.data, config.section(TranslationConfig))

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: ParallelCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: TranslationDataset | None = None,
    ) -> TranslationDataset:
        """Returns batches of pairs; a seed changes only their order."""
        if sibling:
            # A copy, since a split caches the orders of its epochs.
            return dataclasses.replace(sibling, train=dataclasses.replace(sibling.train))
        return data.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "TranslationTask":
        """Builds the task of a config; each direction of the encoder has half its features."""
        model_config, dtype = config.model, jnp.dtype(config.dtype)
        options = config.section(TranslationConfig)
        initialization = make_initialization(model_config)
        model = Translator(
            vocabulary=vocab_size,
            encoder_cell=make_cell(model_config.cell, -(-model_config.features // 2), dtype),
            decoder_cell=make_cell(model_config.cell, model_config.features, dtype),
            encoder_layers=model_config.layers,
            decoder_layers=model_config.layers,
            embedding=model_config.embedding.features,
            attention=options.attention,
            input_feeding=options.input_feeding,
            tied=model_config.embedding.tied,
            dropout=model_config.dropout,
            initialization=None if initialization == Initialization() else initialization,
            dtype=dtype,
        )
        return cls(
            model,
            metadata["longest"] + 1,
            options.label_smoothing,
            options.scheduled_sampling,
            options.scheduled_sampling_steps,
        )

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1, 1)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of source and target tokens, and their masks."""
        source, target = ((batch_size, length) for length in lengths)
        return tuple(
            jax.ShapeDtypeStruct(shape, dtype)
            for shape in (source, target)
            for dtype in (jnp.int32, jnp.bool_)
        )

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns a count of batches, for the schedule of scheduled sampling."""
        del batch_size
        return jnp.zeros((), jnp.int32) if self.scheduled_sampling else None

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        encoder, decoder = self.model.encoder_cell, self.model.decoder_cell
        return trainable_mask(params, {"encoder": encoder, "first": decoder, "rest": decoder})

    def loss(
        self, params: Params, batch: PairBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean loss of the target tokens, with label smoothing; the sums are without.

        The carry is the number of batches.
        """
        rate = None
        if self.scheduled_sampling:
            rate = self.scheduled_sampling * jnp.minimum(carry / self.scheduled_sampling_steps, 1.0)
            carry = carry + 1
        rngs = {"dropout": key}
        result = self._cross_entropy(params, batch, rate, self.label_smoothing, rngs=rngs)
        sums = cross_entropy_sums(result, batch.weights)
        unsmoothed = jax.lax.stop_gradient(jnp.sum(result.token_losses * batch.weights))
        return sums["loss"] / sums["weight"], ({**sums, "loss": unsmoothed}, carry)

    def evaluate_batch(self, params: Params, batch: PairBatch, carry: Carry) -> tuple[Sums, Carry]:
        """Returns the sums of loss, accuracy and weights."""
        return cross_entropy_sums(self._cross_entropy(params, batch), batch.weights), carry

    def compute_metrics(self, split: PairBatches, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns 'loss' (nats a token), 'accuracy', 'bits', 'perplexity', 'tokens', 'rows' and
        'unknown_share'.

        The first four are means over target tokens, ends included, under teacher forcing. Rows are
        texts. 'unknown_share' is of the tokens of sources and targets.
        """
        scores, tokens = mean_token_metrics(outputs)
        unknown = unknown_share(split.tokens)
        return {**scores, "tokens": tokens, "rows": len(split), "unknown_share": unknown}

    def analyze_test(
        self, config: Config, dataset: TranslationDataset, params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Translates the test split; returns BLEU, chrF and examples with their attention."""
        del outputs
        translations = self._translate(config, dataset, params, dataset.test.sources)
        test = dataset.corpus.splits["test"]
        references = test.targets[: len(translations)]
        scores, signatures = translation_scores([row.text for row in translations], references)
        copied, _ = translation_scores(test.sources[: len(translations)], references)
        examples = [
            {
                "source": source,
                "reference": reference,
                "text": translation.text,
                "score": translation.score,
                "read": translation.source_tokens,
                "written": translation.tokens,
                "attention": np.round(translation.attention.astype(float), 3).tolist(),
            }
            for source, reference, translation in zip(
                test.sources[:_EXAMPLES], references[:_EXAMPLES], translations, strict=False
            )
        ]
        details = {"signatures": signatures, "copied_bleu": copied["bleu"], "examples": examples}
        return {"test": scores, "translation": details}

    def example_texts(
        self, config: Config, dataset: TranslationDataset, params: Params
    ) -> dict[str, str]:
        """Returns source, reference and translation of the first rows of the validation split."""
        rows = dataset.corpus.splits["validation"]
        sources = dataset.vocabulary.encode(rows.sources[:_EXAMPLES])
        translations = self._translate(config, dataset, params, sources)
        return {
            f"translation {number}": f"{source}\n{reference}\n{translation.text}"
            for number, (source, reference, translation) in enumerate(
                zip(rows.sources, rows.targets, translations, strict=False), 1
            )
        }

    def _translate(
        self, config: Config, dataset: TranslationDataset, params: Params, sources: Sequences
    ) -> list[TranslatedText]:
        """Translates tokens of sources by the beam search of the config."""
        return translate_texts(
            self.model,
            params,
            dataset.vocabulary,
            sources,
            BeamOptions.from_config(config.section(TranslationConfig)),
            length=self.max_length,
            batch_size=config.batch_size,
        )

    @classmethod
    def describe_baselines(cls, result: Mapping[str, Any]) -> str:
        """Returns the BLEU of the sources themselves."""
        return f"bleu of the sources copied: {result['translation']['copied_bleu']:.2f}"

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns scores and translations with their attention."""
        return make_report_part(run)

    @classmethod
    def trained_run(cls) -> "type[TrainedTranslator]":
        """Returns the class of trained translators."""
        from rnnjax.tasks.translation.trained_run import TrainedTranslator

        return TrainedTranslator

    def _cross_entropy(
        self,
        params: Params,
        batch: PairBatch,
        rate: Any = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> Any:
        inputs = batch.source, batch.source_mask, batch.inputs, batch.targets, batch.weights
        return self.model.apply(
            {"params": params}, *inputs, rate, label_smoothing, method="cross_entropy", **options
        )


TASK = TranslationTask
