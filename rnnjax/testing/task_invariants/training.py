"""Invariants of training: seeds, resumption, and what a checkpoint holds."""

import tempfile
from pathlib import Path
from typing import Any

import jax

from rnnjax.data.dataset import Dataset
from rnnjax.tasks.task import Task
from rnnjax.testing.assertions import ViolationError, assert_bits_equal, bits_differ, named_leaves
from rnnjax.testing.task_harness import TaskHarness
from rnnjax.testing.task_invariant import task_invariant
from rnnjax.testing.task_invariants.comparison import assert_same_metrics
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.schedule import make_schedule
from rnnjax.training.state import TrainState, init_state
from rnnjax.training.step import make_evaluate_step, make_train_step

_STEPS = 3
"""Training steps before the checkpoint, and after it."""


@task_invariant(
    "a key gives the same parameters every time, and another key others",
    "Parameters are drawn from NumPy's global generator or from the clock, or the key is ignored.",
)
def seeded_parameters(harness: TaskHarness) -> None:
    seed = harness.config.seed
    params, other_params = (harness.initial_params(number) for number in (seed, seed + 1))
    if bits_differ(params, jax.jit(harness.make_task().init)(jax.random.key(seed))):
        raise ViolationError("`init` returns other parameters for the same key")
    if not bits_differ(params, other_params):
        raise ViolationError("`init` returns the same parameters for another key")


@task_invariant(
    "a resumed training equals an uninterrupted one, bit for bit",
    "Training depends on a value that is not in the training state: a counter or a cache in "
    "Python, the order of calls, the clock.",
)
def resumption(harness: TaskHarness) -> None:
    with tempfile.TemporaryDirectory(prefix="rnnjax-task-") as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints")
        first = _Training(harness)
        first.train(_STEPS)
        first.evaluate()
        checkpoints.save(_STEPS, first.state)
        first.train(2 * _STEPS)
        first.evaluate()  # so that a counter of the class or module differs for the second
        resumed = _Training(harness)
        restored = checkpoints.restore(resumed.state)
    assert restored is not None
    _, resumed.state = restored
    resumed.train(2 * _STEPS)
    context = f"after {_STEPS} steps, a checkpoint and {_STEPS} more"
    assert_bits_equal(named_leaves(resumed.state), named_leaves(first.state), context)


@task_invariant(
    "a run loaded from its folder has the scores of its result",
    "Evaluation depends on a value that is not in the parameters, such as an attribute that "
    "training sets.",
)
def restored_scores(harness: TaskHarness) -> None:
    run = harness.trained_run
    split = _data_of_run(harness).test
    scores = run.task.compute_metrics(split, run.outputs(split, "evaluate"))
    recorded = {name: run.result["test"].get(name) for name in scores}
    assert_same_metrics(scores, recorded, "in result.json")


def _data_of_run(harness: TaskHarness) -> Dataset:
    run = harness.trained_run
    return harness.task_class.make_dataset(run.config, harness.corpus, run.vocabulary)


class _Training:
    """A training by new objects, as in a new process."""

    def __init__(self, harness: TaskHarness):
        config = harness.random_config
        self._seed = config.seed
        self._dataset: Dataset = harness.task_class.make_dataset(
            config, harness.corpus, harness.dataset.vocabulary
        )
        self._task: Task = harness.make_task(config)
        schedule = make_schedule(config.schedule, config.learning_rate, 0, 2 * _STEPS)
        optimizer = make_optimizer(config.optimizer, schedule, self._task.trainable_mask)
        self._train_step = make_train_step(
            self._task, optimizer, [config.seed], config.averaging.decay
        )
        self._evaluate_step = make_evaluate_step(self._task)
        self.state: TrainState = init_state(
            self._task,
            optimizer,
            [config.seed],
            batch_size=config.batch_size,
            track_average=bool(config.averaging.decay),
        ).create()

    def train(self, last: int) -> None:
        """Trains up to a step."""
        while (step := self.state.num_steps) < last:
            group = self._dataset.train.batch_group_at(self._seed, step, last - step)
            self.state = self._train_step(self.state, group)

    def evaluate(self) -> dict[str, Any]:
        """Evaluates the validation split, or without one the test split."""
        split = self._dataset.validation or self._dataset.test
        outputs, carry = [], self._task.initial_carry(split.batch_size)
        for step in range(split.steps_per_epoch):
            batch = split.batch_at(0, step)
            result, carry = self._evaluate_step((self.state.params, carry), batch)
            outputs.append(jax.device_get(result))
        return dict(self._task.compute_metrics(split, outputs))
