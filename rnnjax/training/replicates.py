"""The trainings of a run: one, or replicates that differ in their seed and go side by side."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from rnnjax.config import Config
from rnnjax.data.batches import BatchGroup
from rnnjax.data.dataset import Dataset, TextDataset
from rnnjax.data.pretrained_embeddings import WordVectors, load_word_vectors
from rnnjax.errors import InputError
from rnnjax.reporting.metrics_log import MetricsLog
from rnnjax.tasks import TASKS
from rnnjax.training.run_folder import RunFolder

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Replicate:
    """One training of a run.

    Attributes:
      config: of this training by itself.
      folder: what it leaves, as it would by itself.
      dataset: what it reads.
      place: in the arrays of all of them; None if there is no other, and no axis for it.
      vectors: that its embedding begins with; None if it begins at random, or has begun.
    """

    config: Config
    folder: RunFolder
    dataset: Dataset
    place: int | None
    vectors: WordVectors | None = None

    @functools.cached_property
    def metrics(self) -> MetricsLog:
        """How it goes."""
        return MetricsLog(self.folder.metrics, self.dataset.fallback_fields)

    def describe(self) -> dict[str, Any]:
        """Returns what environment.json says of what it reads."""
        told = self.dataset.describe()
        return {**told, "vectors": self.vectors.metadata} if self.vectors else told

    def own(self, tree: Tree) -> Tree:
        """Returns its part of arrays of all members."""
        if self.place is None:
            return tree
        return jax.tree.map(lambda leaf: leaf[self.place], tree)


def make_replicates(
    config: Config, folder: RunFolder, corpus: Any, *, begin: bool = True, epochs: int = 0
) -> list[Replicate]:
    """Returns the trainings of a run.

    Args:
      config: of the run.
      folder: of the run.
      corpus: as the task loads it.
      begin: whether they begin, with vocabularies fitted anew and the vectors of the config;
        otherwise they go on with the vocabularies of their folders.
      epochs: the number by which padded lengths are chosen; 0 for that of the config.

    Raises:
      InputError: there are too few rows, the replicates cannot go side by side, the file of
        vectors cannot be used, or a file of a run that goes on is damaged.
    """
    members: list[Replicate] = []
    for place, (each, own) in enumerate(folder.replicates(config)):
        known = None if begin else own.read_vocabulary()
        sibling = members[0].dataset if members else None
        batched = each.model_copy(update={"epochs": epochs or each.epochs})
        dataset = TASKS[config.task].dataset(batched, corpus, known, sibling)
        alone = config.replicates == 1
        members.append(Replicate(each, own, dataset, None if alone else place))
    datasets = [member.dataset for member in members]
    _check_they_agree(config, datasets)
    if not (begin and config.model.embedding.path):
        return members
    texts = [dataset for dataset in datasets if isinstance(dataset, TextDataset)]
    vectors = load_word_vectors(config.model.embedding, config.data.vocabulary.size, texts)
    return [
        dataclasses.replace(member, vectors=each)
        for member, each in zip(members, vectors, strict=True)
    ]


def _check_they_agree(config: Config, datasets: Sequence[Dataset]) -> None:
    steps = sorted({dataset.train.steps_per_epoch for dataset in datasets})
    if len(steps) > 1:
        raise InputError(
            f"config.replicates: the rows that each seed holds out leave epochs of {steps[0]} to "
            f"{steps[-1]} steps, and replicates take every step together; set "
            "config.data.bucketing=False, or config.data.validation=0"
        )
    sizes = sorted({dataset.vocab_size for dataset in datasets})
    if len(sizes) > 1 and not config.model.embedding.features:
        raise InputError(
            "config.replicates: the rows that each seed holds out leave vocabularies of "
            f"{sizes[0]} to {sizes[-1]} entries, and networks on one-hot input then differ; "
            "learn an embedding (config.model.embedding.features), or set config.data.validation=0"
        )


def batch_group_at(members: Sequence[Replicate], step: int, most: int) -> BatchGroup:
    """Returns the next batches of all members, at most so many of each.

    Side by side, each in its own order, all are padded to the longest among them, and the arrays
    are `[members, group, batch, ...]`.
    """
    parts = [(member.dataset.train, member.config.seed) for member in members]
    if len(parts) == 1:
        ((part, seed),) = parts
        return part.batch_group_at(seed, step, most)
    steps = range(step, step + min(most, parts[0][0].group_size))
    shapes = [part.padded_shape_at(seed, each) for part, seed in parts for each in steps]
    longest = tuple(map(max, zip(*shapes, strict=True)))
    stacks = [part.stack_batches(seed, steps, longest) for part, seed in parts]
    return BatchGroup(
        jax.tree.map(lambda *each: np.stack(each), *(stack.batches for stack in stacks)),
        stacks[0].count,
    )


def empty_batch_groups(members: Sequence[Replicate]) -> list[BatchGroup]:
    """Returns a stack of each shape that is sure to come: with others, a batch is rarely short."""
    if len(members) == 1:
        return members[0].dataset.train.empty_batch_groups()
    return [batch_group_at(members, 0, 1)]
