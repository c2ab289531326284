"""What a run trains: a network, what it reads, its loss, and how it is judged."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from rnnjax.config import Config
from rnnjax.data.dataset import Dataset, Split
from rnnjax.data.vocabulary import Vocabulary

Params = Any
"""A pytree of arrays, as flax has it: nested dicts."""

Carry = Any
"""What a network hands on from batch to batch: a pytree of arrays; None where that is nothing."""

Sums = dict[str, Float[Array, ""]]
"""Loss and accuracy summed over what counts, each times its weight, and the weights, 'weight'."""


class Task:
    """What the loop, which serves every task, asks of one.

    A loss is a mean over what counts in a batch, by its weights. What a batch leaves to the next
    one is part of the state of a training, so that a training that is taken up again goes on with
    it.

    Attributes:
      model: the network.
      rows: what the rows of a batch are, for messages.
      counted: what the scores are of, for messages.
      unit: 'rows' or 'tokens', whichever the speed of a training is counted in.
      labelled_axes: by the path of a parameter, the axis along which it has an entry for each
        token or class, and which of them: 'tokens' or 'classes'.
      shown: the scores in the line that a run ends with, the most important one first.
      asked_with: the command that asks a trained network; '' if there is none.
      about: what it has to know of the data: keys of `Dataset.describe`.
    """

    model: nn.Module
    rows: ClassVar[str]
    counted: ClassVar[str]
    unit: ClassVar[Literal["rows", "tokens"]] = "rows"
    class_axes: ClassVar[Mapping[str, tuple[int, str]]] = {}
    shown: ClassVar[tuple[str, ...]]
    usage_command: ClassVar[str] = ""
    about: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def load(config: Config) -> Any:
        """Returns the corpus of a config, prepared if need be.

        Raises:
          InputError: it cannot be had, or is damaged.
        """
        raise NotImplementedError

    @staticmethod
    def dataset(
        config: Config,
        corpus: Any,
        vocabulary: Vocabulary | None = None,
        sibling: Any = None,
    ) -> Dataset:
        """Returns what a run of a config reads.

        Args:
          config: what to take and how to batch it.
          corpus: as `load` returns it.
          vocabulary: None to fit it as the config says.
          sibling: what a config reads that differs in its seed alone; much may be shared.

        Raises:
          InputError: there is too little for what the config asks.
        """
        raise NotImplementedError

    @staticmethod
    def run_name(config: Config, name: str) -> str:
        """Returns the name of a run of a config, from that of the config's file."""
        del config
        return name

    @classmethod
    def count(cls, weights: np.ndarray) -> int:
        """Returns the number of rows or tokens, in `unit`, in batches of these weights."""
        return int(np.count_nonzero(weights))

    @classmethod
    def of(cls, config: Config, known: int, about: Mapping[str, Any]) -> "Task":
        """Returns the task of a config.

        Args:
          config: what the network is made of.
          known: size of the vocabulary that was found, at most the one that was asked for.
          about: the data, as `Dataset.describe` says it.

        Raises:
          InputError: the config names a cell that there is not.
        """
        raise NotImplementedError

    def inputs(self, part: Split) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns dtypes and shapes of what the network reads at once, at the most."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> Params:
        """Returns new parameters."""
        raise NotImplementedError

    def begin(self, rows: int) -> Carry:
        """Returns what the first batch of so many rows is given; what it holds counts for nothing.

        The task itself begins anew where its data does.
        """
        del rows

    def with_vectors(self, params: Params, rows: jax.Array, found: jax.Array) -> Params:
        """Returns the parameters with those rows of the embedding replaced that are found."""
        raise NotImplementedError

    def live(self, params: Params) -> Params:
        """Returns the parameters that training can change."""
        return params

    def with_live(self, params: Params, live: Params) -> Params:
        """Returns the parameters with those that training can change replaced."""
        del params
        return live

    def trained(self, params: Params) -> Any:
        """Returns for each parameter whether training may change it."""
        return jax.tree.map(lambda _: True, params)

    def loss(
        self, live: Params, batch: Any, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the loss of a batch, in nats, the sums behind it and what it hands on.

        Args:
          live: as `live` returns them.
          batch: what weighs nothing does not count.
          carry: as the batch before has handed it on.
          key: for dropout.
        """
        raise NotImplementedError

    def answer(self, params: Params, batch: Any, carry: Carry) -> tuple[Any, Carry]:
        """Returns what an evaluation keeps of a batch, without dropout, and what it hands on."""
        raise NotImplementedError

    def summary(self, part: Any, answers: Sequence[Any]) -> dict[str, float | int]:
        """Returns the scores: 'loss', 'accuracy' and others, and of how much they are, 'rows'.

        Args:
          part: of the data.
          answers: to each of its batches, in their order.
        """
        raise NotImplementedError

    def details(
        self, config: Config, dataset: Any, params: Params, answers: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns what else a result says of a network, ready for JSON.

        What it says of 'test' joins the scores of `summary`.

        Args:
          config: of the run.
          dataset: as `dataset` returns it.
          params: of the network.
          answers: to each batch of the test part, in their order.
        """
        raise NotImplementedError
