"""Synthetic problems of long memory: network, loss and metrics."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from rnnjax.config import Config
from rnnjax.data import synthetic
from rnnjax.data.dataset import Dataset
from rnnjax.data.synthetic import SyntheticSplit
from rnnjax.data.synthetic_problems import PROBLEMS, Problem, SyntheticBatch
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.models import SequenceModel
from rnnjax.tasks.recurrent_options import recurrent_options, trainable_mask
from rnnjax.tasks.task import Carry, Params, Sums, Task

NEAR = 0.04
"""Largest absolute error of a correct number: Hochreiter, Schmidhuber, Long short-term memory,
1997, section 5.4."""


@dataclasses.dataclass(frozen=True)
class MemoryTask(Task):
    """Cross-entropy of classes, or squared error of numbers, at the steps that a problem scores.

    Attributes:
      model: the network.
      problem: the synthetic problem.
    """

    example_unit = "sequences"
    score_unit = "sequences"
    headline_metrics = ("loss", "baseline", "accuracy")

    model: SequenceModel
    problem: Problem

    @staticmethod
    def run_name(config: Config, name: str) -> str:
        """Returns the problem's name for a config file that is named after a problem."""
        return config.data.memory.problem if name in PROBLEMS else name

    @classmethod
    def count_examples(cls, weights: np.ndarray) -> int:
        """Counts the sequences with a step of non-zero weight."""
        return int(np.count_nonzero(weights.any(axis=-1)))

    @staticmethod
    def load_corpus(config: Config) -> Problem:
        """Returns the problem."""
        return synthetic.load_problem(config.data.memory)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: Problem,
        vocabulary: Vocabulary | None = None,
        sibling: Dataset[SyntheticSplit] | None = None,
    ) -> Dataset[SyntheticSplit]:
        """Returns batches of generated examples; the seed of a run draws the training examples."""
        del vocabulary
        return sibling or synthetic.make_dataset(config, corpus)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "MemoryTask":
        """Builds the task of a config."""
        del vocab_size, metadata
        problem = PROBLEMS[config.data.memory.problem]
        model = SequenceModel(
            answers=problem.classes or 1, **recurrent_options(config.model, config.dtype)
        )
        return cls(model, problem)

    def input_shapes(self, split: SyntheticSplit) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of inputs and mask."""
        shape = (split.batch_size, split.boundaries[-1])
        inputs = jax.ShapeDtypeStruct((*shape, self.problem.features), jnp.float32)
        return inputs, jax.ShapeDtypeStruct(shape, jnp.bool_)

    def init(self, key: jax.Array) -> Params:
        """Initializes the parameters."""
        inputs = jnp.zeros((1, 1, self.problem.features))
        return self.model.init(key, inputs, jnp.ones((1, 1), bool))["params"]

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        return trainable_mask(params, {"recurrent": self.model.cell})

    def loss(
        self, params: Params, batch: SyntheticBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean loss of a batch, its sums and an unchanged carry."""
        sums = self._sums(params, batch, rngs={"dropout": key})
        recalls = sums.pop("recalls")
        # The loss may count more steps than those that require memory.
        share = sums["accuracy"] / jnp.maximum(recalls, 1)
        sums = {**sums, "accuracy": share * sums["weight"]}
        return sums["loss"] / sums["weight"], (sums, carry)

    def evaluate_batch(
        self, params: Params, batch: SyntheticBatch, carry: Carry
    ) -> tuple[Sums, Carry]:
        """Returns the sums of loss, hits, recall steps and weights."""
        return self._sums(params, batch), carry

    def compute_metrics(
        self, split: SyntheticSplit, outputs: Sequence[Any]
    ) -> dict[str, float | int]:
        """Returns 'loss', 'accuracy', 'baseline' and 'rows'.

        The accuracy is over the steps that require memory: the share of correct classes, or of
        numbers within `NEAR`. The baseline is the lowest loss without memory.
        """
        total = {
            name: sum(float(batch_sums[name]) for batch_sums in outputs) for name in outputs[0]
        }
        return {
            "loss": total["loss"] / total["weight"],
            "accuracy": total["accuracy"] / total["recalls"],
            "baseline": split.baseline,
            "rows": len(split),
        }

    def analyze_test(
        self,
        config: Config,
        dataset: Dataset[SyntheticSplit],
        params: Params,
        outputs: Sequence[Any],
    ) -> dict[str, Any]:
        """Returns nothing more."""
        del config, dataset, params, outputs
        return {}

    def _sums(self, params: Params, batch: SyntheticBatch, **options: Any) -> Sums:
        outputs = self.model.apply({"params": params}, batch.inputs, batch.mask, **options)
        assert isinstance(outputs, jax.Array)
        if self.problem.classes:
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
            hits = jnp.argmax(outputs, axis=-1) == batch.targets
        else:
            errors = outputs[..., 0] - batch.targets
            losses, hits = errors**2, jnp.abs(errors) < NEAR
        return {
            "loss": jnp.sum(losses * batch.weights),
            "accuracy": jnp.sum(hits & batch.recalls).astype(jnp.float32),
            "recalls": jnp.sum(batch.recalls).astype(jnp.float32),
            "weight": jnp.sum(batch.weights),
        }
