"""Warm start: initial parameters from another run, `config.init_from`.

The folder of that run is data: the arrays of its newest checkpoint, its config and manifest as
JSON, and its tokenizer are read. No code that its config names is imported.

Parameters match by path and shape. Along an axis with an entry for each token or class
(`Task.class_axes`), entries match by the name of the token or class instead. Everything without a
match is initialized at random.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message
from rnnjax.tasks import Task
from rnnjax.tasks.registry import find_task, is_in_package
from rnnjax.training.finite import check_params
from rnnjax.training.replicates import Replicate
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.state import TrainState, is_evaluated

Leaves = dict[str, np.ndarray]
"""Arrays by their path in a pytree, joined by '/'."""

Labels = Mapping[str, Sequence[str]]
"""The names of all tokens and of all classes, as 'tokens' and 'classes'; none where unknown."""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """The parameters of another run that it is evaluated with.

    Attributes:
      path: of its folder, as the config has it.
      step: of the checkpoint.
      digest: SHA-256 of paths, dtypes, shapes and bytes of the arrays.
      leaves: the arrays.
      axes: `Task.class_axes` of its task.
      labels: along these axes.
    """

    path: str
    step: int
    digest: str
    leaves: Leaves
    axes: Mapping[str, tuple[int, str]]
    labels: Labels


def read_warm_start(config: Config) -> WarmStart:
    """Returns the parameters of the run that `config.init_from` names.

    Raises:
      InputError: it is no folder of a run of one network with a checkpoint, a file of it is
        damaged, or its parameters are not finite.
    """
    name, folder = f"config.init_from={config.init_from}", RunFolder(Path(config.init_from))
    folder.check_is_run(name)
    source_config, _ = folder.read()
    if source_config.replicates > 1:
        first = folder.replicates(source_config)[0][1].path
        raise InputError(
            f"{name}: holds {source_config.replicates} networks; give the folder of one of them, "
            f"{first} say"
        )
    data = folder.read_data()
    if data["fallback"]:
        write_message(
            f"WARNING: {name} was trained on the {data['fallback']} corpus, which stood in"
        )
    checkpoints = folder.open_checkpoints()
    shapes = checkpoints.shapes()
    template = {key: shapes[key] for key in ("params", "average", "best") if shapes.get(key)}
    restored = checkpoints.restore(template) if template else None
    if restored is None:
        raise InputError(f"{name}: holds no checkpoint; expected a run that has saved one")
    step, saved = restored
    params, best = saved.get("average", saved["params"]), saved.get("best")
    if best and is_evaluated(best["loss"]):
        params = best["params"]
    leaves = _leaves(params)
    check_params(leaves, name)
    vocabulary = folder.read_vocabulary()
    has_same_unit = source_config.data.vocabulary.unit == config.data.vocabulary.unit
    labels = {
        "tokens": vocabulary.words if vocabulary and has_same_unit else [],
        "classes": data.get("classes", []),
    }
    is_known = is_in_package(source_config.task) or source_config.task == config.task
    axes = find_task(source_config.task).class_axes if is_known else {}
    return WarmStart(config.init_from, step, _digest(leaves), leaves, axes, labels)


def apply_warm_start(
    warm_start: WarmStart, task: Task, replicates: Sequence[Replicate], state: TrainState
) -> TrainState:
    """Returns the initial state with the parameters of another run.

    Args:
      warm_start: parameters of the other run, with which every replicate starts.
      task: of the run.
      replicates: of the run.
      state: the initial state; parameters without a match stay as they are.

    Raises:
      InputError: as `match_warm_start`.
    """
    merged = []
    for replicate in replicates:
        params = replicate.slice(state.params)
        leaves, _ = _merge(warm_start, task, replicate, _leaves(params))
        structure = jax.tree_util.tree_structure(params)
        merged.append(jax.tree_util.tree_unflatten(structure, list(leaves.values())))
    if len(replicates) > 1:
        params = jax.tree.map(lambda *arrays: np.stack(arrays), *merged)
    else:
        (params,) = merged

    def copy() -> Any:
        return jax.tree.map(jnp.array, params)

    best = state.best and state.best.replace(params=copy())
    average = None if state.average is None else copy()
    return state.replace(params=copy(), average=average, best=best)


def match_warm_start(
    warm_start: WarmStart, task: Task, replicates: Sequence[Replicate]
) -> list[dict[str, Any]]:
    """Returns for each replicate which parameters match those of the other run, for the manifest.

    Raises:
      InputError: no parameter matches, or input is one-hot and the vocabularies differ.
    """
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    # Zeros that take no memory.
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes)
    reports = [_merge(warm_start, task, replicate, _leaves(zeros))[1] for replicate in replicates]
    for line in dict.fromkeys(line for report in reports for line in _lines(warm_start, report)):
        write_message(line)
    return reports


def _merge(
    warm_start: WarmStart, task: Task, replicate: Replicate, initial: Leaves
) -> tuple[Leaves, dict[str, Any]]:
    """Returns initial parameters with the matching ones replaced, and a report of the matches."""
    axes, vocabulary = task.class_axes, replicate.dataset.vocabulary
    labels = {
        "tokens": vocabulary.words if vocabulary else [],
        "classes": replicate.describe().get("classes", []),
    }
    if vocabulary and not replicate.config.model.embedding.features:
        reason = "input is one-hot (config.model.embedding.features=0)"
        _check_same_tokens(warm_start, labels, reason)
    if "score/head" in initial.keys() & warm_start.leaves.keys():
        reason = "the output layers have clusters of token ids (config.model.output.cutoffs)"
        _check_same_tokens(warm_start, labels, reason)
    merged, complete, partial, other_shape, other_meaning = dict(initial), [], {}, {}, []
    for path in initial.keys() & warm_start.leaves.keys():
        target, source = initial[path], warm_start.leaves[path]
        axis, kind = axes.get(path, (0, ""))
        sizes = [target.shape, source.shape]
        if kind:
            sizes = [(*size[:axis], *size[axis + 1 :]) for size in sizes]
        if warm_start.axes.get(path, (0, ""))[1] != kind:
            other_meaning.append(path)
        elif sizes[0] != sizes[1]:
            other_shape[path] = {"here": list(target.shape), "there": list(source.shape)}
        elif kind:
            merged[path], count = _merge_entries(
                target, source, axis, labels[kind], warm_start.labels[kind]
            )
            partial[path] = f"{count} of {len(labels[kind])} {kind}"
        else:
            merged[path] = source.astype(target.dtype)
            complete.append(path)
    if not complete and all(share.startswith("0 ") for share in partial.values()):
        raise InputError(
            f"config.init_from={warm_start.path}: none of its {len(warm_start.leaves)} parameters "
            "matches one of this network by path and shape; there "
            f"{', '.join(sorted(warm_start.leaves)[:4])}, here {', '.join(sorted(initial)[:4])}: "
            "give a run of the same cell and sizes"
        )
    return merged, {
        "path": warm_start.path,
        "step": warm_start.step,
        "digest": warm_start.digest,
        "taken": sorted(complete),
        "in_part": dict(sorted(partial.items())),
        "other_shape": dict(sorted(other_shape.items())),
        "other_meaning": sorted(other_meaning),
        "missing": sorted(initial.keys() - warm_start.leaves.keys()),
        "extra": sorted(warm_start.leaves.keys() - initial.keys()),
    }


def _merge_entries(
    target: np.ndarray,
    source: np.ndarray,
    axis: int,
    target_labels: Sequence[str],
    source_labels: Sequence[str],
) -> tuple[np.ndarray, int]:
    """Returns the target with entries of the same label replaced, and their number."""
    positions = {label: index for index, label in enumerate(source_labels)}
    pairs = [
        (index, positions[label]) for index, label in enumerate(target_labels) if label in positions
    ]
    target_indices, source_indices = np.array(pairs, int).reshape(-1, 2).T
    merged = np.moveaxis(target.copy(), axis, 0)
    merged[target_indices] = np.moveaxis(source, axis, 0)[source_indices]
    return np.moveaxis(merged, 0, axis), len(pairs)


def _lines(warm_start: WarmStart, report: Mapping[str, Any]) -> list[str]:
    """Returns a report of matches as lines of text."""
    complete, partial = report["taken"], report["in_part"]
    lines = [
        f"init_from {warm_start.path}, step {warm_start.step}: takes "
        f"{len(complete) + len(partial)} of {len(warm_start.leaves)} parameters there"
    ]
    groups = {
        "in part": [f"{path} ({share})" for path, share in partial.items()],
        "not taken, of another shape": [
            f"{path} ({shapes['there']} there, {shapes['here']} here)"
            for path, shapes in report["other_shape"].items()
        ],
        "not taken, tokens there and classes here or the reverse": report["other_meaning"],
        "not there, begins at random": report["missing"],
        "there, and not here": report["extra"],
    }
    return lines + [f"  {title}: {', '.join(paths)}" for title, paths in groups.items() if paths]


def _check_same_tokens(warm_start: WarmStart, labels: Labels, reason: str) -> None:
    """Raises InputError if token ids would have another meaning."""
    if list(warm_start.labels["tokens"]) != list(labels["tokens"]):
        raise InputError(
            f"config.init_from={warm_start.path}: {reason}, so that both runs need the same "
            "tokens, and their vocabularies differ; set that key otherwise, or fit both on the "
            "same rows"
        )


def _leaves(tree: Any) -> Leaves:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _digest(leaves: Leaves) -> str:
    digest = hashlib.sha256()
    for path, leaf in sorted(leaves.items()):
        digest.update(f"{path} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
