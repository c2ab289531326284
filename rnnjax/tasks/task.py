"""The interface of a task: a model, its data, its loss, its metrics and its part of the report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.config import Config
from rnnjax.config.task_schema import TaskSchema
from rnnjax.data.batches import Shape
from rnnjax.data.dataset import Dataset, Split
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart

if TYPE_CHECKING:
    from rnnjax.tasks.trained_run import TrainedRun

Params = Any
"""The parameters of a flax module: nested dicts of arrays."""

Carry = Any
"""State that a model passes from one batch to the next: a pytree of arrays, or None."""

Sums = dict[str, Float[Array, ""]]
"""Weighted sums of 'loss' and 'accuracy' over a batch, and of the weights, 'weight'."""


class UsageCommand(NamedTuple):
    """A command for a trained network.

    Attributes:
      purpose: a phrase: 'Classify a text'.
      command: of `rnnjax`: 'predict'.
      arguments: beside the folder of the run, as typed in a shell.
    """

    purpose: str
    command: str
    arguments: str


class Prediction(NamedTuple):
    """An answer of a trained network.

    Attributes:
      line: of text for people.
      values: ready for JSON.
    """

    line: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """Interface between a model with its data and the training loop, which serves every task.

    A loss is the weighted mean over a batch. The carry belongs to the training state, so that a
    resumed training continues with it. A subclass gives `schema`, `make_dataset`, `from_config`,
    `input_shapes` and `batch_sums`; the rest has defaults.

    Attributes:
      model: the network.
      schema: the keys of a config that the task reads.
      trainable_rows: by the path of a parameter, how many of its leading rows can get a gradient;
        all rows of those that are not listed.
      example_unit: what a row of a batch is called in messages: 'texts', 'pairs'.
      score_unit: what the test scores are averaged over, for messages: 'rows', 'tokens'.
      throughput_unit: what the training speed counts, 'rows' or 'tokens'.
      class_axes: by the path of a parameter, the axis along which it has an entry for each token
        or class, and which of the two: 'tokens' or 'classes'.
      headline_metrics: the metrics in the last line of a run, the most important one first.
      commands: for a trained network.
      metadata_keys: the keys of `Dataset.describe` that `from_config` reads.
      length_key: the key of the config that bounds the length of a sequence; '' if none does.
    """

    schema: ClassVar[TaskSchema]
    example_unit: ClassVar[str] = "rows"
    score_unit: ClassVar[str] = "rows"
    throughput_unit: ClassVar[Literal["rows", "tokens"]] = "rows"
    class_axes: ClassVar[Mapping[str, tuple[int, str]]] = {}
    headline_metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    commands: ClassVar[tuple[UsageCommand, ...]] = ()
    metadata_keys: ClassVar[tuple[str, ...]] = ()
    length_key: ClassVar[str] = ""

    model: nn.Module
    trainable_rows: Mapping[str, int] = dataclasses.field(
        default_factory=dict, kw_only=True, hash=False
    )

    @staticmethod
    def load_corpus(config: Config) -> Any:
        """Loads the corpus of a config, and prepares it the first time.

        Raises:
          InputError: it is not available, or damaged.
        """
        raise NotImplementedError

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: Any,
        vocabulary: Vocabulary | None = None,
        sibling: Any = None,
    ) -> Dataset:
        """Returns the training, validation and test batches of a config.

        Args:
          config: of the run.
          corpus: as `load_corpus` returns it.
          vocabulary: None to fit it on the training split.
          sibling: a dataset whose config differs in its seed only, to share arrays with.

        Raises:
          InputError: the corpus has fewer rows than the config asks for.
        """
        raise NotImplementedError

    @staticmethod
    def run_name(config: Config, name: str) -> str:
        """Returns the name of a run, by default that of its config file."""
        del config
        return name

    @classmethod
    def count_examples(cls, weights: np.ndarray) -> int:
        """Counts the rows or tokens (`throughput_unit`) of non-zero weight."""
        return int(np.count_nonzero(weights))

    @property
    def num_classes(self) -> int:
        """Number of classes that whole numbers among the targets are of; 0 where they are none."""
        return 0

    @classmethod
    def from_config(cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]) -> "Task":
        """Builds the task of a config.

        Args:
          config: of the run.
          vocab_size: number of token ids, at most `config.data.vocabulary.size`; 0 without text.
          metadata: of the data, with `metadata_keys`.

        Raises:
          InputError: there is no cell of that name.
        """
        raise NotImplementedError

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1,)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of the model's inputs.

        Args:
          batch_size: rows of a batch.
          lengths: to which it is padded, one for each kind of sequence in it.
        """
        raise NotImplementedError

    def init(self, key: jax.Array) -> Params:
        """Initializes the parameters."""
        inputs = [jnp.ones(leaf.shape, leaf.dtype) for leaf in self.input_shapes()]
        return self.model.init(key, *inputs)["params"]

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns the carry of the first batch; only its shapes and dtypes matter.

        The loss itself resets the carry where a new text begins.
        """
        del batch_size
        return None

    def set_word_vectors(self, params: Params, vectors: jax.Array, available: jax.Array) -> Params:
        """Replaces the rows of the embedding that have a pretrained vector.

        Args:
          params: as `init` returns them.
          vectors: `[vocabulary, features]`, zeros where there is none.
          available: `[vocabulary]`, True where there is one.
        """
        raise NotImplementedError

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for parameters that the optimizer skips."""
        return jax.tree.map(lambda _: True, params)

    def batch_sums(
        self, params: Params, batch: Any, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        """Returns the sums of loss (nats, say), accuracy and weights, and the next carry.

        Further entries, such as the predictions at each step, are for the evaluation alone.

        Args:
          params: of the network.
          batch: examples of weight zero do not count.
          carry: of the previous batch.
          **options: of `flax.linen.Module.apply`: `rngs` with 'dropout' in training.
        """
        raise NotImplementedError

    def loss(
        self, params: Params, batch: Any, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the training loss, with the sums for the log and the next carry.

        Args:
          params: of the network.
          batch: examples of weight zero do not count.
          carry: of the previous batch.
          key: random key of dropout.
        """
        sums, carry = self.batch_sums(params, batch, carry, rngs={"dropout": key})
        logged = {name: sums[name] for name in ("loss", "accuracy", "weight")}
        return sums["loss"] / sums["weight"], (logged, carry)

    def evaluate_batch(self, params: Params, batch: Any, carry: Carry) -> tuple[Any, Carry]:
        """Returns the outputs that `compute_metrics` reads, without dropout, and the next carry."""
        return self.batch_sums(params, batch, carry)

    def compute_metrics(self, split: Any, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns the metrics of a split: 'loss', 'accuracy', 'rows' and others.

        By default the outputs are sums, and metrics are their scalars by the weight.

        Args:
          split: of the dataset.
          outputs: of `evaluate_batch` on each of its batches, in their order.
        """
        scalars = [name for name, value in outputs[0].items() if not np.ndim(value)]
        totals = {name: sum(float(batch[name]) for batch in outputs) for name in scalars}
        weight = totals.pop("weight")
        return {**{name: total / weight for name, total in totals.items()}, "rows": len(split)}

    def analyze_test(
        self, config: Config, dataset: Any, params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns further entries of result.json, such as a confusion matrix.

        An entry 'test' is merged into the metrics of the test split.

        Args:
          config: of the run.
          dataset: as `make_dataset` returns it.
          params: of the network.
          outputs: of `evaluate_batch` on each batch of the test split, in their order.
        """
        del config, dataset, params, outputs
        return {}

    def example_texts(self, config: Config, dataset: Any, params: Params) -> dict[str, str]:
        """Returns texts that a network writes, by name, for event files; {} where it writes none.

        Args:
          config: of the run.
          dataset: as `make_dataset` returns it, with a validation split.
          params: of the network.
        """
        del config, dataset, params
        return {}

    @staticmethod
    def input_free_loss(dataset: Any) -> float | None:
        """Returns the lowest training loss of a network that ignores its input; None if unknown.

        Args:
          dataset: as `make_dataset` returns it.
        """
        del dataset
        return None

    @classmethod
    def describe_baselines(cls, result: Mapping[str, Any]) -> str:
        """Returns the scores of simpler models beside the test scores, for messages; '' for none.

        Args:
          result: of one seed, with the entries of `analyze_test`.
        """
        del result
        return ""

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns the task's part of the report of a run."""
        return ReportPart.of_scores(run, cls.headline_metrics, cls.score_unit)

    def read_split(self, run: "TrainedRun", path: Path) -> Split:
        """Returns the split of a file, to evaluate a trained network on or to predict.

        Args:
          run: with config, data and vocabulary.
          path: of the file.

        Raises:
          InputError: the task reads no files, or it is damaged.
        """
        raise run.query_error(f"reads no files, and {path} was given")

    def predictions(self, split: Any, outputs: Sequence[Any]) -> Iterator[Prediction]:
        """Yields the answer to each example of a split.

        Args:
          split: as `read_split` returns it.
          outputs: of `evaluate_batch` on each of its batches, in their order.
        """
        raise NotImplementedError

    @classmethod
    def trained_run(cls) -> "type[TrainedRun]":
        """Returns the class of trained runs of the task."""
        from rnnjax.tasks.trained_run import TrainedRun

        return TrainedRun
