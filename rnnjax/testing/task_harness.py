"""A task prepared for its checks: small data, a network, compiled functions, a trained run."""

import contextlib
import dataclasses
import functools
import io
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import cache, training
from rnnjax.config import Config, load_config
from rnnjax.data.dataset import Dataset, Split
from rnnjax.errors import InputError
from rnnjax.tasks.registry import find_task
from rnnjax.tasks.task import Task
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.testing.assertions import to_numpy
from rnnjax.testing.batch_changes import check_fields, counted_rows, step_mask

MAX_BATCHES = 200
"""Most batches of a split, since the checks read all of them several times."""

_ROWS = 64
"""`data.take` of a task that reads it, where the config takes all rows."""
_CANDIDATES = 4
"""Training batches, from the first on, among which the fullest one is chosen."""
_PREPARED = {
    "dtype": "float32",  # in bfloat16 rounding would hide mistakes
    "replicates": 1,
    "epochs": 1,
    "warmup_steps": 0,
    "init_from": "",
    "checkpoint.every": 0,
}
_RATES = {
    "model.dropout": 0.0,
    "model.regularization.variational_dropout": False,
    "model.regularization.embedding_dropout": 0.0,
    "model.regularization.recurrent_dropout": 0.0,
    "model.regularization.zoneout": 0.0,
    "model.regularization.weight_dropout": 0.0,
}
_DROPOUT = 0.3


@dataclasses.dataclass(frozen=True)
class LossValues:
    """The loss of a batch with its sums, gradients and the next carry, in NumPy arrays."""

    loss: float
    sums: dict[str, float]
    gradients: Any
    carry: Any

    def leaves(self) -> dict[str, Any]:
        """Returns loss, sums and gradients by name."""
        gradients, _ = jax.tree_util.tree_flatten_with_path(self.gradients)
        return {
            "the loss": self.loss,
            **{f"the sum {name!r}": value for name, value in self.sums.items()},
            **{
                f"the gradient of {jax.tree_util.keystr(path, simple=True, separator='/')}": leaf
                for path, leaf in gradients
            },
        }


class TaskHarness:
    """Data, networks and compiled functions that the checks of a task share.

    Attributes:
      config: as given, but for one network in float32, one epoch, no warm-up, no initial run, and
        64 rows where the task reads `data.take` and it is 0. Without dropout.
      random_config: with dropout, if the task reads `model.dropout`, or that of the given config.
      file: that `evaluate` and `predict` of a trained run read; None without one.
    """

    def __init__(self, config: Config, file: Path | None = None):
        """Prepares the configs; nothing is loaded or computed."""
        cache.enable_compilation_cache()  # several checks compile the same program
        reads = config.task_schema.reads
        prepared = dict(_PREPARED)
        if reads("data.take") and not config.data.take:
            prepared["data.take"] = _ROWS
        self.file = file
        with_rates = load_config(config, prepared)
        rates = {key: rate for key, rate in _RATES.items() if reads(key)}
        self.config = load_config(with_rates, rates)
        self.random_config = with_rates
        if with_rates == self.config and reads("model.dropout"):
            self.random_config = load_config(with_rates, {"model.dropout": _DROPOUT})
        self.task_class = find_task(config.task)

    @functools.cached_property
    def corpus(self) -> Any:
        """The corpus of the config."""
        with quiet():
            return self.task_class.load_corpus(self.config)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data of the config."""
        dataset = self.make_dataset()
        for name in ("train", "test"):
            split = getattr(dataset, name)
            check_fields(split.batch_at(0, 0))
            if split.steps_per_epoch > MAX_BATCHES:
                raise InputError(
                    f"given {len(split)} examples of the {name} split, {split.steps_per_epoch} "
                    f"batches, expected at most {MAX_BATCHES}, since the checks read them many "
                    "times; set fewer, by config.data.take or by the keys of the task"
                )
        return dataset

    def make_dataset(self, **changes: Any) -> Dataset:
        """Returns the data of the config with other values of top keys: batch_size=3."""
        config = self.config.model_copy(update=changes)
        vocabulary = self.dataset.vocabulary if changes else None
        with quiet():
            return self.task_class.make_dataset(config, self.corpus, vocabulary)

    def make_task(self, config: Config | None = None) -> Task:
        """Returns a new task of a config; None for the one without dropout."""
        dataset = self.dataset
        return self.task_class.from_config(
            config or self.config, dataset.vocab_size, dataset.describe()
        )

    @functools.cached_property
    def task(self) -> Task:
        """The task without dropout."""
        return self.make_task()

    @functools.cached_property
    def random_task(self) -> Task:
        """The task with dropout, if it has any."""
        return self.make_task(self.random_config)

    @functools.cached_property
    def _compiled_init(self) -> Callable[..., Any]:
        return jax.jit(self.task.init)

    def initial_params(self, seed: int) -> Any:
        """Returns the parameters of a seed, in NumPy arrays."""
        return to_numpy(self._compiled_init(jax.random.key(seed)))

    @functools.cached_property
    def params(self) -> Any:
        """Parameters with noise, since zeros, in an output layer say, would hide mistakes."""
        params = self.initial_params(self.config.seed)
        generator = np.random.default_rng(0)

        def add_noise(leaf: np.ndarray) -> np.ndarray:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return (leaf + 0.1 * generator.standard_normal(leaf.shape)).astype(leaf.dtype)

        return jax.tree.map(add_noise, params)

    @functools.cached_property
    def batches(self) -> list[Any]:
        """The first training batches."""
        split = self.dataset.train
        steps = min(_CANDIDATES, split.steps_per_epoch)
        return [split.batch_at(self.config.seed, step) for step in range(steps)]

    @functools.cached_property
    def batch(self) -> Any:
        """The first training batch with the most rows that count, and masked steps if possible."""

        def fullness(batch: Any) -> tuple[int, bool]:
            mask = step_mask(batch)
            return int(counted_rows(batch).sum()), mask is not None and not mask.all()

        return max(self.batches, key=fullness)

    @functools.cached_property
    def partial_dataset(self) -> Dataset:
        """The data in batches of such a size that some row of the test split only fills its batch.

        Where there is none, the data of the config.
        """
        for extra in range(4):
            dataset = self.make_dataset(batch_size=self.config.batch_size + extra)
            split = dataset.test
            batches = (split.batch_at(0, step) for step in range(split.steps_per_epoch))
            if not all(counted_rows(batch).all() for batch in batches):
                return dataset
        return self.dataset

    @functools.cached_property
    def _compiled_loss(self) -> Callable[..., Any]:
        return jax.jit(jax.value_and_grad(self.task.loss, has_aux=True))

    @functools.cached_property
    def _compiled_evaluation(self) -> Callable[..., Any]:
        return jax.jit(self.task.evaluate_batch)

    def loss(self, batch: Any, carry: Any = None, key: int = 0) -> LossValues:
        """Returns the training loss of a batch without dropout, its sums and gradients.

        Args:
          batch: to compute the loss of.
          carry: of the previous batch; None for the initial one.
          key: seed of the random key.
        """
        if carry is None:
            carry = self.initial_carry(batch)
        (loss, (sums, carry)), gradients = self._compiled_loss(
            self.params, batch, carry, jax.random.key(key)
        )
        totals = {name: float(value) for name, value in sums.items()}
        return LossValues(float(loss), totals, to_numpy(gradients), to_numpy(carry))

    @functools.cached_property
    def draws(self) -> bool:
        """Whether the training loss depends on its random key, though rates are 0."""
        losses = {self.loss(self.batch, key=key).loss for key in range(3)}
        return len(losses) > 1

    def initial_carry(self, batch: Any) -> Any:
        """Returns the carry of a first batch of this size."""
        return self.task.initial_carry(len(batch.weights))

    def evaluate(self, batch: Any, carry: Any = None) -> tuple[Any, Any]:
        """Returns the outputs of an evaluation and the next carry, in NumPy arrays."""
        if carry is None:
            carry = self.initial_carry(batch)
        return to_numpy(self._compiled_evaluation(self.params, batch, carry))

    def evaluate_split(
        self, split: Split, change: Callable[[Any], Any] = lambda batch: batch
    ) -> list[Any]:
        """Returns the outputs of an evaluation on each batch of a split.

        Args:
          split: to evaluate.
          change: of each batch.
        """
        outputs, carry = [], self.task.initial_carry(split.batch_size)
        for step in range(split.steps_per_epoch):
            result, carry = self.evaluate(change(split.batch_at(0, step)), carry)
            outputs.append(result)
        return outputs

    def metrics(self, split: Split, outputs: Sequence[Any]) -> dict[str, Any]:
        """Returns the metrics of a split from outputs of the network."""
        return dict(self.task.compute_metrics(split, outputs))

    @functools.cached_property
    def trained_run(self) -> TrainedRun:
        """A run of one epoch, loaded from a folder that is deleted with the harness."""
        folder = Path(tempfile.mkdtemp(prefix="rnnjax-task-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with quiet():
            training.train(self.random_config, "conformance", folder / "run")
            return training.load_run(folder / "run", trust=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards progress and messages of data and training, which are none of a check."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
