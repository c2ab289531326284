"""The parameters that a training begins with, where its config names another run.

The folder of the other run is data: of it are read the arrays of its newest checkpoint, its config
and environment as JSON, and its tokenizer. No code that its config names is imported.

Parameters match by path and shape. Along an axis that has an entry for each token or each class
(`Task.labelled_axes`), entries match by the name of the token or class instead; those without a
namesake begin at random, as everything else that does not match.
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
from rnnjax.tasks import TASKS, Task
from rnnjax.training.finite import check_params
from rnnjax.training.replicates import Replicate
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.state import TrainState, is_found

Leaves = dict[str, np.ndarray]
"""Arrays by their path in a pytree, joined by '/'."""

Labels = Mapping[str, Sequence[str]]
"""The names of all tokens and of all classes, as 'tokens' and 'classes'; none where unknown."""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """The parameters of another run, those that it is judged by.

    Attributes:
      path: of its folder, as the config has it.
      step: of the checkpoint.
      digest: SHA-256 of paths, dtypes, shapes and bytes of the arrays.
      leaves: the arrays.
      axes: `Task.labelled_axes` of its task.
      labels: of these axes.
    """

    path: str
    step: int
    digest: str
    leaves: Leaves
    axes: Mapping[str, tuple[int, str]]
    labels: Labels


def read_source(config: Config) -> WarmStart:
    """Returns the parameters of the run that `config.init_from` names.

    Raises:
      InputError: it is no folder of a run of one network with a checkpoint, a file of it is
        damaged, or its parameters are not finite.
    """
    path = Path(config.init_from)
    name, folder = f"config.init_from={config.init_from}", RunFolder(path)
    if not folder.config.exists():
        raise InputError(
            f"{name}: holds no config.json; expected the folder of a run that "
            "`python -m rnnjax.main --workdir ...` has made"
        )
    theirs, _ = folder.read()
    if theirs.replicates > 1:
        first = folder.replicates(theirs)[0][1].path
        raise InputError(
            f"{name}: holds {theirs.replicates} networks; give the folder of one of them, {first} "
            "say"
        )
    data = folder.read_data()
    if data["fallback"]:
        write_message(
            f"WARNING: {name} was trained on the {data['fallback']} corpus, which stood in"
        )
    checkpoints = folder.open_checkpoints()
    shapes = checkpoints.shapes()
    parts = {key: shapes[key] for key in ("params", "average", "best") if shapes.get(key)}
    restored = checkpoints.restore(parts) if parts else None
    if restored is None:
        raise InputError(f"{name}: holds no checkpoint; expected a run that has saved one")
    step, saved = restored
    best = saved.get("best")
    judged = best["params"] if best and is_found(best["loss"]) else saved.get("average")
    leaves = _leaves(saved["params"] if judged is None else judged)
    check_params(leaves, name)
    vocabulary = folder.read_vocabulary()
    if theirs.data.vocabulary.unit != config.data.vocabulary.unit:
        vocabulary = None
    labels = {
        "tokens": vocabulary.words if vocabulary else [],
        "classes": data.get("classes", []),
    }
    axes = TASKS[theirs.task].class_axes
    return WarmStart(config.init_from, step, _digest(leaves), leaves, axes, labels)


def begin_from(
    source: WarmStart, task: Task, members: Sequence[Replicate], state: TrainState
) -> TrainState:
    """Returns the first state with the parameters of another run.

    Args:
      source: the other run.
      task: what is trained.
      members: what is trained, several side by side: each begins with the same parameters.
      state: the first state; what does not match stays as it is there.

    Raises:
      InputError: as `check_source`.
    """
    merged = []
    for member in members:
        params = member.own(state.params)
        leaves, _ = _matched(source, task, member, _leaves(params))
        order = jax.tree_util.tree_structure(params)
        merged.append(jax.tree_util.tree_unflatten(order, list(leaves.values())))
    alone = members[0].place is None
    params = merged[0] if alone else jax.tree.map(lambda *each: np.stack(each), *merged)

    def copy() -> Any:
        return jax.tree.map(jnp.array, params)

    best = state.best and state.best.replace(params=copy())
    average = None if state.average is None else copy()
    return state.replace(params=copy(), average=average, best=best)


def check_source(
    source: WarmStart, task: Task, members: Sequence[Replicate]
) -> list[dict[str, Any]]:
    """Returns for each member what it takes of the other run, and what does not match.

    Nothing is made for it but zeros of the shapes of the parameters.

    Raises:
      InputError: no parameter matches, or input is one-hot and the vocabularies differ.
    """
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes)
    accounts = [_matched(source, task, member, _leaves(zeros))[1] for member in members]
    for line in dict.fromkeys(line for account in accounts for line in _lines(source, account)):
        write_message(line)
    return accounts


def _matched(
    source: WarmStart, task: Task, member: Replicate, ours: Leaves
) -> tuple[Leaves, dict[str, Any]]:
    """Returns our arrays with what matches in those of the source, and an account of it."""
    axes, vocabulary = task.class_axes, member.dataset.vocabulary
    labels = {
        "tokens": vocabulary.words if vocabulary else [],
        "classes": member.describe().get("classes", []),
    }
    if vocabulary and not member.config.model.embedding.features:
        _check_same_tokens(source, labels)
    merged, taken, in_part, other_shape, other_meaning = dict(ours), [], {}, {}, []
    for path in ours.keys() & source.leaves.keys():
        here, there = ours[path], source.leaves[path]
        axis, kind = axes.get(path, (0, ""))
        sizes = [here.shape, there.shape]
        if kind:
            sizes = [(*size[:axis], *size[axis + 1 :]) for size in sizes]
        if source.axes.get(path, (0, ""))[1] != kind:
            other_meaning.append(path)
        elif sizes[0] != sizes[1]:
            other_shape[path] = {"here": list(here.shape), "there": list(there.shape)}
        elif kind:
            merged[path], count = _matched_entries(
                here, there, axis, labels[kind], source.labels[kind]
            )
            in_part[path] = f"{count} of {len(labels[kind])} {kind}"
        else:
            merged[path] = there.astype(here.dtype)
            taken.append(path)
    if not taken and all(share.startswith("0 ") for share in in_part.values()):
        raise InputError(
            f"config.init_from={source.path}: none of its {len(source.leaves)} parameters matches "
            f"one of this network by path and shape; there {', '.join(sorted(source.leaves)[:4])}, "
            f"here {', '.join(sorted(ours)[:4])}: give a run of the same cell and sizes"
        )
    return merged, {
        "path": source.path,
        "step": source.step,
        "digest": source.digest,
        "taken": sorted(taken),
        "in_part": dict(sorted(in_part.items())),
        "other_shape": dict(sorted(other_shape.items())),
        "other_meaning": sorted(other_meaning),
        "missing": sorted(ours.keys() - source.leaves.keys()),
        "extra": sorted(source.leaves.keys() - ours.keys()),
    }


def _matched_entries(
    ours: np.ndarray, theirs: np.ndarray, axis: int, here: Sequence[str], there: Sequence[str]
) -> tuple[np.ndarray, int]:
    """Returns our array with the entries along an axis that have a namesake, and their number."""
    places = {label: place for place, label in enumerate(there)}
    pairs = [(place, places[label]) for place, label in enumerate(here) if label in places]
    to, of = np.array(pairs, int).reshape(-1, 2).T
    array = np.moveaxis(ours.copy(), axis, 0)
    array[to] = np.moveaxis(theirs, axis, 0)[of]
    return np.moveaxis(array, 0, axis), len(pairs)


def _lines(source: WarmStart, account: Mapping[str, Any]) -> list[str]:
    taken, in_part = account["taken"], account["in_part"]
    lines = [
        f"init_from {source.path}, step {source.step}: takes {len(taken) + len(in_part)} of "
        f"{len(source.leaves)} parameters there"
    ]
    parts = {
        "in part": [f"{path} ({share})" for path, share in in_part.items()],
        "not taken, of another shape": [
            f"{path} ({each['there']} there, {each['here']} here)"
            for path, each in account["other_shape"].items()
        ],
        "not taken, tokens there and classes here or the reverse": account["other_meaning"],
        "not there, begins at random": account["missing"],
        "there, and not here": account["extra"],
    }
    return lines + [f"  {what}: {', '.join(paths)}" for what, paths in parts.items() if paths]


def _check_same_tokens(source: WarmStart, labels: Labels) -> None:
    if list(source.labels["tokens"]) != list(labels["tokens"]):
        raise InputError(
            f"config.init_from={source.path}: input is one-hot (config.model.embedding.features=0),"
            " so that both runs need the same tokens, and their vocabularies differ; set "
            "config.model.embedding.features in both, or fit both on the same rows"
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
