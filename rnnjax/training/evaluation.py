"""Evaluation: the outputs of a network on a split, and the scores of a trained replicate."""

from typing import Any

import jax

from rnnjax.data.dataset import Split
from rnnjax.reporting.progress import Progress
from rnnjax.tasks import Task
from rnnjax.training.finite import check_scores
from rnnjax.training.replicates import Replicate
from rnnjax.training.state import TrainState, is_evaluated
from rnnjax.training.step import CompiledFunction


def predict_split(
    task: Task, evaluate_step: CompiledFunction, params: Any, split: Split, name: str
) -> list[Any]:
    """Returns the outputs of the network on each batch of a split, by `Task.evaluate_batch`.

    Args:
      task: of the network.
      evaluate_step: as `make_evaluate_step` returns it.
      params: of the network.
      split: every example is evaluated once.
      name: of the progress bar.
    """
    outputs, carry = [], task.initial_carry(split.batch_size)
    with Progress(name, split.steps_per_epoch, unit=task.throughput_unit) as progress:
        for step in range(split.steps_per_epoch):
            batch = split.batch_at(0, step)
            batch_outputs, carry = evaluate_step((params, carry), batch)
            outputs.append(batch_outputs)
            progress.update(step + 1, examples=task.count_examples(batch.weights))
        return jax.device_get(outputs)


def evaluate_replicate(
    task: Task, replicate: Replicate, state: TrainState, evaluate_step: CompiledFunction
) -> dict[str, Any]:
    """Returns the scores of a trained network for its result, and logs those on the test split.

    Args:
      task: of the network.
      replicate: whose network is evaluated.
      state: of all replicates, at the end of training. With early stopping its best parameters are
        evaluated, otherwise the last.
      evaluate_step: as `make_evaluate_step` returns it.

    Raises:
      InputError: a score is not finite.
    """
    dataset, folder = replicate.dataset, replicate.folder
    params, step = replicate.slice(state.eval_params), state.num_steps
    if state.best is not None and is_evaluated(state.best.loss):
        params, step = state.best.params, int(state.best.step)
    splits = {"validation": dataset.validation, "test": dataset.test}
    outputs = {
        name: predict_split(task, evaluate_step, params, split, name)
        for name, split in splits.items()
        if split
    }
    scores = {name: task.compute_metrics(splits[name], outputs[name]) for name in outputs}
    details = task.analyze_test(replicate.config, dataset, params, outputs["test"])
    scores["test"] |= details.pop("test", {})
    for name in scores:
        check_scores(scores[name], f"{folder.path}, {name} part")
    epoch = round(step / dataset.train.steps_per_epoch, 4)
    replicate.metrics_log.write({"step": step, "epoch": epoch, "split": "test", **scores["test"]})
    return {
        **scores,
        "best_step": step,
        "buckets": list(dataset.train.boundaries),
        "data": folder.read_data(),
        **details,
    }
