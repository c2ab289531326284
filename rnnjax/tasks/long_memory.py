"""Problems of long memory: the network, the loss and what is counted."""

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
"""How far a number may be from the one that was asked for to be right: Hochreiter, Schmidhuber,
Long short-term memory, 1997, section 5.4."""


@dataclasses.dataclass(frozen=True)
class MemoryTask(Task):
    """Cross-entropy over classes, or of numbers the squared error, where a problem counts it.

    Attributes:
      model: the network.
      problem: what there is to remember.
    """

    example_unit = "sequences"
    score_unit = "sequences"
    headline_metrics = ("loss", "baseline", "accuracy")

    model: SequenceModel
    problem: Problem

    @staticmethod
    def run_name(config: Config, name: str) -> str:
        """Returns the name; that of the problem, where the file is named after another problem."""
        return config.data.memory.problem if name in PROBLEMS else name

    @classmethod
    def count_examples(cls, weights: np.ndarray) -> int:
        """Returns the number of sequences, of which a weight is given to each step."""
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
        """Returns batches of made examples; what a seed changes is what is drawn from them."""
        del vocabulary
        return sibling or synthetic.make_dataset(config, corpus)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "MemoryTask":
        """Returns the task of a config."""
        del vocab_size, metadata
        problem = PROBLEMS[config.data.memory.problem]
        model = SequenceModel(
            answers=problem.classes or 1, **recurrent_options(config.model, config.dtype)
        )
        return cls(model, problem)

    def input_shapes(self, split: SyntheticSplit) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns dtypes and shapes of inputs and mask."""
        shape = (split.batch_size, split.boundaries[-1])
        inputs = jax.ShapeDtypeStruct((*shape, self.problem.features), jnp.float32)
        return inputs, jax.ShapeDtypeStruct(shape, jnp.bool_)

    def init(self, key: jax.Array) -> Params:
        """Returns new parameters."""
        inputs = jnp.zeros((1, 1, self.problem.features))
        return self.model.init(key, inputs, jnp.ones((1, 1), bool))["params"]

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        return trainable_mask(params, {"recurrent": self.model.cell})

    def loss(
        self, params: Params, batch: SyntheticBatch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean loss of a batch, the sums behind it and nothing handed on."""
        found = self._sums(params, batch, rngs={"dropout": key})
        recalls = found.pop("recalls")
        # The loss may count more steps than those at which memory is asked for.
        share = found["accuracy"] / jnp.maximum(recalls, 1)
        sums = {**found, "accuracy": share * found["weight"]}
        return sums["loss"] / sums["weight"], (sums, carry)

    def evaluate_batch(
        self, params: Params, batch: SyntheticBatch, carry: Carry
    ) -> tuple[Sums, Carry]:
        """Returns loss and hits, summed, and how much the one and the other are of."""
        return self._sums(params, batch), carry

    def compute_metrics(
        self, split: SyntheticSplit, outputs: Sequence[Any]
    ) -> dict[str, float | int]:
        """Returns 'loss', 'accuracy', 'baseline' and 'rows'.

        The accuracy is of the steps at which memory is asked for: the share of right classes, or of
        numbers within `NEAR`. The baseline is the least loss without memory.
        """
        total = {name: sum(float(each[name]) for each in outputs) for name in outputs[0]}
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
