"""Evaluation: the scores of a trained replicate."""

from typing import Any

import jax

from rnnjax.tasks import Task
from rnnjax.tasks.prediction import check_scores, predict_split
from rnnjax.training.global_arrays import to_host
from rnnjax.training.processes import is_first, num_processes
from rnnjax.training.replicates import Replicate
from rnnjax.training.state import TrainState, is_evaluated
from rnnjax.training.step import CompiledFunction


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
    params = evaluate_step.copy_to_devices(params)
    splits = {"validation": dataset.validation, "test": dataset.test}
    outputs = {
        name: predict_split(task, evaluate_step, params, split, name)
        for name, split in splits.items()
        if split
    }
    scores = {name: task.compute_metrics(splits[name], outputs[name]) for name in outputs}
    details = {}
    if is_first():  # the analysis runs on its devices alone
        if num_processes() > 1:
            params = jax.tree.map(to_host, params)
        details = task.analyze_test(replicate.config, dataset, params, outputs["test"])
    scores["test"] |= details.pop("test", {})
    for name in scores:
        check_scores(scores[name], f"{folder.path}, {name} part")
    epoch = round(step / dataset.train.steps_per_epoch, 4)
    replicate.log_metrics({"step": step, "epoch": epoch, "split": "test", **scores["test"]})
    return {
        **scores,
        "best_step": step,
        "buckets": list(dataset.train.boundaries),
        "data": folder.read_data(),
        **details,
    }
