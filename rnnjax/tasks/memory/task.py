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
from rnnjax.data.dataset import Dataset
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.models import SequenceModel
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.memory import data
from rnnjax.tasks.memory.config import SCHEMA, MemoryConfig
from rnnjax.tasks.memory.data import SyntheticSplit
from rnnjax.tasks.memory.problem import Problem, SyntheticBatch
from rnnjax.tasks.memory.problems import PROBLEMS
from rnnjax.tasks.memory.report import make_report_part
from rnnjax.tasks.model_options import recurrent_options
from rnnjax.tasks.sequence_task import SequenceTask
from rnnjax.tasks.task import Carry, Params, Sums

NEAR = 0.04
"""Largest absolute error of a correct number: Hochreiter, Schmidhuber, Long short-term memory,
1997, section 5.4."""


@dataclasses.dataclass(frozen=True)
class MemoryTask(SequenceTask):
    """Cross-entropy of classes, or squared error of numbers, at the steps that a problem scores.

    Attributes:
      problem: the synthetic problem.
    """

    schema = SCHEMA
    example_unit = "sequences"
    score_unit = "sequences"
    headline_metrics = ("loss", "baseline", "accuracy")
    length_key = "memory.length"

    problem: Problem

    @staticmethod
    def run_name(config: Config, name: str) -> str:
        """Returns the problem's name for a config file that is named after a problem."""
        return config.section(MemoryConfig).problem if name in PROBLEMS else name

    @classmethod
    def count_examples(cls, weights: np.ndarray) -> int:
        """Counts the sequences with a step of non-zero weight."""
        return int(np.count_nonzero(weights.any(axis=-1)))

    @staticmethod
    def load_corpus(config: Config) -> Problem:
        """Returns the problem."""
        return data.load_problem(config.section(MemoryConfig))

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: Problem,
        vocabulary: Vocabulary | None = None,
        sibling: Dataset[SyntheticSplit] | None = None,
    ) -> Dataset[SyntheticSplit]:
        """Returns batches of generated examples; the seed of a run draws the training examples."""
        del vocabulary
        return sibling or data.make_dataset(config, corpus)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "MemoryTask":
        """Builds the task of a config."""
        del vocab_size, metadata
        problem = PROBLEMS[config.section(MemoryConfig).problem]
        model = SequenceModel(
            outputs=problem.classes or 1,
            inputs=problem.features,
            **recurrent_options(config.model, config.dtype),
        )
        return cls(model, problem, features=problem.features)

    def loss(
        self, params: Params, batch: SyntheticBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean loss of a batch, its sums and an unchanged carry."""
        sums, carry = self.batch_sums(params, batch, carry, rngs={"dropout": key})
        recalls = sums.pop("recalls")
        # The loss may count more steps than those that require memory.
        share = sums["accuracy"] / jnp.maximum(recalls, 1)
        sums = {**sums, "accuracy": share * sums["weight"]}
        return sums["loss"] / sums["weight"], (sums, carry)

    def compute_metrics(
        self, split: SyntheticSplit, outputs: Sequence[Any]
    ) -> dict[str, float | int]:
        """Returns 'loss', 'accuracy', 'baseline', 'rows' and, of classes, 'scaled_accuracy'.

        The accuracy is over the steps that require memory: the share of correct classes, or of
        numbers within `NEAR`. The baseline is the lowest loss without memory.
        The scaled accuracy is 0 for the most probable answer without memory and 1 for the right
        one, as in Grazzi et al., ICLR 2025, arXiv:2411.12537.
        """
        total = {
            name: sum(float(batch_sums[name]) for batch_sums in outputs) for name in outputs[0]
        }
        metrics: dict[str, float | int] = {
            "loss": total["loss"] / total["weight"],
            "accuracy": total["accuracy"] / total["recalls"],
            "baseline": split.baseline,
            "rows": len(split),
        }
        if self.problem.chance is not None:
            chance = self.problem.chance(split.lengths)
            metrics["scaled_accuracy"] = (metrics["accuracy"] - chance) / (1 - chance)
        return metrics

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns the loss beside that without memory."""
        return make_report_part(run)

    def batch_sums(
        self, params: Params, batch: SyntheticBatch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        """Returns the sums of loss, hits, recall steps and weights, and an unchanged carry."""
        outputs = self.model.apply({"params": params}, batch.inputs, batch.mask, **options)
        assert isinstance(outputs, jax.Array)
        if self.problem.classes:
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
            hits = jnp.argmax(outputs, axis=-1) == batch.targets
        else:
            errors = outputs[..., 0] - batch.targets
            losses, hits = errors**2, jnp.abs(errors) < NEAR
        recalls = batch.recalls & (batch.weights > 0)
        sums = {
            "loss": jnp.sum(losses * batch.weights),
            "accuracy": jnp.sum(hits & recalls).astype(jnp.float32),
            "recalls": jnp.sum(recalls).astype(jnp.float32),
            "weight": jnp.sum(batch.weights),
        }
        return sums, carry


TASK = MemoryTask
