"""Trajectories of the recurrent layers of a trained run, on its own test data or on texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from rnnjax.data.dataset import Dataset, Split
from rnnjax.data.vocabulary import PADDING
from rnnjax.dynamics.trajectory import Trajectory, trace_layers
from rnnjax.errors import InputError
from rnnjax.tasks.token_task import TokenTask
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.state import INIT

ROWS = 64
"""Examples of a split along which derivatives are computed."""
_MAX_TIME = 512
"""Steps of an example that are read; of longer ones these are the first."""


class PaddedExamples(NamedTuple):
    """Padded examples of a split.

    Attributes:
      batch: arrays of the examples, as the task of the run reads them.
      is_example: `[rows, time]`, False on padding, also on that which a network without a mask
        reads.
    """

    batch: Any
    is_example: Bool[np.ndarray, "rows time"]


def load_dataset(run: TrainedRun) -> Dataset:
    """Returns the data set that a run was trained on.

    Raises:
      InputError: it is not available, or is another one now.
    """
    corpus = run.task.load_corpus(run.config)
    dataset = run.task.make_dataset(run.config, corpus, run.vocabulary)
    expected, actual = run.data["fingerprint"], dataset.describe()["fingerprint"]
    if actual != expected:
        raise InputError(
            f"{run.folder}: was trained on data of the fingerprint {expected[:12]}, and that which "
            f"its config names is now {actual[:12]}; bring back the data"
        )
    return dataset


def take_examples(run: TrainedRun, split: Split, rows: int = ROWS) -> PaddedExamples:
    """Returns examples from batches that are spread over a split, all padded to one length.

    Of examples of more than 512 steps these are the first 512.

    Args:
      run: with its task.
      split: of its data.
      rows: at least so many, if the split has them.
    """
    total = split.steps_per_epoch
    count = min(max(-(-rows // split.batch_size), 1), total)
    stride = total // count
    steps = range((stride - 1) // 2, total, stride)[:count]
    shapes = [split.padded_shape_at(0, step) for step in steps]
    shape = tuple(max(lengths) for lengths in zip(*shapes, strict=True))
    groups = [
        split.stack_batches(0, steps[at : at + split.group_size], shape).batches
        for at in range(0, count, split.group_size)
    ]
    batch = jax.tree.map(
        lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves]),
        *groups,
    )
    weights = batch.weights.reshape(len(batch.weights), -1).sum(axis=1)
    batch = jax.tree.map(lambda leaf: leaf[weights > 0], batch)
    time = jax.tree.leaves(batch)[0].shape[1]
    if time > _MAX_TIME:
        batch = jax.tree.map(
            lambda leaf: leaf[:, :_MAX_TIME] if leaf.shape[1:2] == (time,) else leaf, batch
        )
    is_example = np.asarray(getattr(batch, "mask", np.ones(batch.weights.shape[:2], bool)))
    if isinstance(run.task, TokenTask) and not run.config.model.mask:
        is_example = is_example & (np.asarray(batch.inputs) != PADDING)
    return PaddedExamples(batch, is_example)


def trace_batch(run: TrainedRun, batch: Any, params: Any = None) -> list[Trajectory]:
    """Returns the trajectories of the recurrent layers of a run on a batch.

    Args:
      run: with its task.
      batch: as the task reads it.
      params: of the network; None for those of the run.

    Raises:
      InputError: the network has no recurrent layer over whole sequences.
    """
    rows = len(jax.tree.leaves(batch)[0])
    carry = run.task.initial_carry(rows)
    params = run.params if params is None else params
    return trace_layers(run.task.evaluate_batch, params, batch, carry)


def trace_run(run: TrainedRun, texts: Sequence[str] | None = None) -> list[Trajectory]:
    """Returns the trajectories of the recurrent layers of a run.

    Args:
      run: as `rnnjax.load` or `rnnjax.fit` returns it.
      texts: that the network reads; None for 64 examples of its test data. Of a network without a
        mask they are padded to the longest, and the padding is read.

    Raises:
      InputError: the data is not available, or the network reads no texts or has no recurrent
        layer over whole sequences.
    """
    if texts is None:
        return trace_batch(run, take_examples(run, load_dataset(run).test).batch)
    tokens, lengths = encode_texts(run, texts)
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    return trace_tokens(run, tokens, mask if run.config.model.mask else np.ones_like(mask))


def encode_texts(
    run: TrainedRun, texts: Sequence[str]
) -> tuple[Int[np.ndarray, "texts time"], Int[np.ndarray, " texts"]]:
    """Returns padded tokens of texts, and their lengths.

    Args:
      run: with its vocabulary.
      texts: at least one, each with a token.

    Raises:
      InputError: the network reads no text, or a text has no token.
    """
    sequences = run.text_vocabulary.encode(texts, run.config.data.max_tokens)
    if not len(sequences) or not sequences.lengths.min():
        raise InputError("given a text without a token, or none; expected texts of one or more")
    tokens, _ = sequences.pad(np.arange(len(sequences)), int(sequences.lengths.max()))
    return tokens, sequences.lengths


def trace_tokens(
    run: TrainedRun,
    tokens: Int[Array | np.ndarray, "rows time"],
    mask: Bool[Array | np.ndarray, "rows time"],
) -> list[Trajectory]:
    """Returns the trajectories of the recurrent layers of a run on tokens.

    Args:
      run: of a `TokenTask`.
      tokens: ids.
      mask: True where the network takes a step.
    """
    return trace_layers(run.token_task.advance, run.params, jnp.asarray(tokens), jnp.asarray(mask))


def initial_params(run: TrainedRun) -> Any:
    """Returns the parameters with which the network was initialized.

    Pretrained vectors of words are those of the run.
    """
    key = jax.random.fold_in(jax.random.key(run.config.seed), INIT)
    params = jax.jit(run.task.init)(key)
    if run.config.model.embedding.path:
        params = {**params, "embed": run.params["embed"]}
    return params
