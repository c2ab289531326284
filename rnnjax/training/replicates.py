"""The replicates of a run: trainings that differ in their seed and advance side by side."""

import dataclasses
import functools
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from rnnjax.config import Config
from rnnjax.data.batches import BatchGroup
from rnnjax.data.dataset import Dataset, TextDataset
from rnnjax.data.pretrained_embeddings import WordVectors, load_word_vectors
from rnnjax.errors import InputError
from rnnjax.reporting.metrics_log import MetricsLog
from rnnjax.tasks.registry import find_task
from rnnjax.training.processes import is_first
from rnnjax.training.run_folder import RunFolder

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Replicate:
    """The training of one seed; a run has one or several.

    Attributes:
      config: of this seed alone.
      folder: of its files, the same as those of a run of this seed alone.
      dataset: with the vocabulary and the order of batches of this seed.
      index: position on the leading replicate axis; None when training a single seed.
      vectors: pretrained embeddings to start from; None for random ones, or a resumed run.
    """

    config: Config
    folder: RunFolder
    dataset: Dataset
    index: int | None
    vectors: WordVectors | None = None

    @functools.cached_property
    def _metrics_log(self) -> MetricsLog:
        """The log of its metrics, open for appending."""
        return MetricsLog(self.folder.metrics, self.dataset.fallback_fields)

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Appends a line to the log of its metrics, which the first process writes."""
        if is_first():
            self._metrics_log.write(values)

    def describe(self) -> dict[str, Any]:
        """Returns the description of its data for the manifest."""
        description = self.dataset.describe()
        return {**description, "vectors": self.vectors.metadata} if self.vectors else description

    def slice(self, tree: Tree) -> Tree:
        """Returns this replicate's slice of stacked arrays."""
        if self.index is None:
            return tree
        return jax.tree.map(lambda leaf: leaf[self.index], tree)

    def command(self, command: str) -> str:
        """Returns the command that trains this replicate alone, from the command of the run."""
        flags = f"--config.seed={self.config.seed} --config.replicates=1"
        return f"{command} {flags} --workdir={shlex.quote(str(self.folder.path))}"


def make_replicates(
    config: Config, folder: RunFolder, corpus: Any, *, is_new: bool = True, epochs: int = 0
) -> list[Replicate]:
    """Returns the replicates of a run.

    Args:
      config: of the run.
      folder: of the run.
      corpus: as the task loads it.
      is_new: fit vocabularies and read the vectors of the config; otherwise read the vocabularies
        in the folders.
      epochs: the number for which padded lengths are chosen; 0 for that of the config.

    Raises:
      InputError: there are too few rows, the replicates cannot advance side by side, the file of
        vectors cannot be used, or a file of a resumed run is damaged.
    """
    replicates: list[Replicate] = []
    for index, (seed_config, seed_folder) in enumerate(folder.replicates(config)):
        vocabulary = None if is_new else seed_folder.read_vocabulary()
        sibling = replicates[0].dataset if replicates else None
        batch_config = seed_config.model_copy(update={"epochs": epochs or config.epochs})
        dataset = find_task(config.task).make_dataset(batch_config, corpus, vocabulary, sibling)
        axis_index = None if config.replicates == 1 else index
        replicates.append(Replicate(seed_config, seed_folder, dataset, axis_index))
    datasets = [replicate.dataset for replicate in replicates]
    _check_equal_shapes(datasets, one_hot=not config.model.embedding.features)
    if not (is_new and config.model.embedding.path):
        return replicates
    texts = [dataset for dataset in datasets if isinstance(dataset, TextDataset)]
    vectors = load_word_vectors(config.model.embedding, config.data.vocabulary.size, texts)
    return [
        dataclasses.replace(replicate, vectors=replicate_vectors)
        for replicate, replicate_vectors in zip(replicates, vectors, strict=True)
    ]


def _check_equal_shapes(datasets: Sequence[Dataset], one_hot: bool) -> None:
    """Raises InputError if epochs differ in their steps, or one-hot networks in their sizes."""
    steps = sorted({dataset.train.steps_per_epoch for dataset in datasets})
    if len(steps) > 1:
        raise InputError(
            f"config.replicates: the rows that each seed holds out leave epochs of {steps[0]} to "
            f"{steps[-1]} steps, and replicates take every step together; set "
            "config.data.bucketing=False, or config.data.validation=0"
        )
    sizes = sorted({dataset.vocab_size for dataset in datasets})
    if len(sizes) > 1 and one_hot:
        raise InputError(
            "config.replicates: the rows that each seed holds out leave vocabularies of "
            f"{sizes[0]} to {sizes[-1]} entries, and networks on one-hot input then differ; "
            "learn an embedding (config.model.embedding.features), or set config.data.validation=0"
        )


def batch_group_at(replicates: Sequence[Replicate], step: int, limit: int) -> BatchGroup:
    """Returns the batches of all replicates from a step on, at most `limit` of each.

    Of several replicates, arrays are `[replicates, group, batch, ...]`; all are padded to the
    longest batch among them.
    """
    sources = [(replicate.dataset.train, replicate.config.seed) for replicate in replicates]
    if len(sources) == 1:
        ((split, seed),) = sources
        return split.batch_group_at(seed, step, limit)
    steps = range(step, step + min(limit, sources[0][0].group_size))
    shapes = [split.padded_shape_at(seed, index) for split, seed in sources for index in steps]
    longest = tuple(map(max, zip(*shapes, strict=True)))
    groups = [split.stack_batches(seed, steps, longest) for split, seed in sources]
    return BatchGroup(
        jax.tree.map(lambda *arrays: np.stack(arrays), *(group.batches for group in groups)),
        groups[0].count,
    )


def batches_to_compile(replicates: Sequence[Replicate]) -> list[BatchGroup]:
    """Returns batches of the shapes that are sure to occur, to compile the training step for.

    Of several replicates that is one shape: the longest batch among them is rarely a short one.
    """
    if len(replicates) == 1:
        return replicates[0].dataset.train.empty_batch_groups()
    return [batch_group_at(replicates, 0, 1)]
