"""The interface of a task: a model, its data, its loss and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from rnnjax.config import Config
from rnnjax.data.dataset import Dataset, Split
from rnnjax.data.vocabulary import Vocabulary

Params = Any
"""The parameters of a flax module: nested dicts of arrays."""

Carry = Any
"""State that a model passes from one batch to the next: a pytree of arrays, or None."""

Sums = dict[str, Float[Array, ""]]
"""Weighted sums of 'loss' and 'accuracy' over a batch, and of the weights, 'weight'."""


class Task:
    """Interface between a model with its data and the training loop, which serves every task.

    A loss is the weighted mean over a batch. The carry belongs to the training state, so that a
    resumed training continues with it.

    Attributes:
      model: the network.
      trainable_rows: by the path of a parameter, how many of its leading rows can get a gradient;
        all rows of those that are not listed.
      example_unit: what a row of a batch is called in messages: 'texts', 'pairs'.
      score_unit: what the test scores are averaged over, for messages: 'rows', 'tokens'.
      throughput_unit: what the training speed counts, 'rows' or 'tokens'.
      class_axes: by the path of a parameter, the axis along which it has an entry for each token
        or class, and which of the two: 'tokens' or 'classes'.
      headline_metrics: the metrics in the last line of a run, the most important one first.
      usage_command: the command that applies a trained network; '' if there is none.
      metadata_keys: the keys of `Dataset.describe` that `from_config` reads.
    """

    model: nn.Module
    trainable_rows: Mapping[str, int] = {}
    example_unit: ClassVar[str]
    score_unit: ClassVar[str]
    throughput_unit: ClassVar[Literal["rows", "tokens"]] = "rows"
    class_axes: ClassVar[Mapping[str, tuple[int, str]]] = {}
    headline_metrics: ClassVar[tuple[str, ...]]
    usage_command: ClassVar[str] = ""
    metadata_keys: ClassVar[tuple[str, ...]] = ()

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

    def input_shapes(self, split: Split) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of the model's inputs, those of the longest batch."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> Params:
        """Initializes the parameters."""
        raise NotImplementedError

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

    def loss(
        self, params: Params, batch: Any, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the training loss in nats, with the sums for the log and the next carry.

        Args:
          params: of the network.
          batch: examples of weight zero do not count.
          carry: of the previous batch.
          key: random key of dropout.
        """
        raise NotImplementedError

    def evaluate_batch(self, params: Params, batch: Any, carry: Carry) -> tuple[Any, Carry]:
        """Returns the outputs that `compute_metrics` reads, without dropout, and the next carry."""
        raise NotImplementedError

    def compute_metrics(self, split: Any, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns the metrics of a split: 'loss', 'accuracy', 'rows' and others.

        Args:
          split: of the dataset.
          outputs: of `evaluate_batch` on each of its batches, in their order.
        """
        raise NotImplementedError

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
        raise NotImplementedError
