"""A trained run, to be asked."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from rnnjax import cache
from rnnjax.config import Config
from rnnjax.data.dataset import make_batches
from rnnjax.data.text import Vocabulary
from rnnjax.errors import InputError
from rnnjax.reporting.progress import say
from rnnjax.tasks import Classification
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.evaluation import answers
from rnnjax.training.folder import RunFolder, read_json
from rnnjax.training.state import is_found
from rnnjax.training.step import Compiled, make_evaluate_step

_LONG = 512
"""Texts of more tokens than this are read one at a time, so that memory follows their length."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A network and what it takes to ask it.

    Attributes:
      config: of the run.
      classes: names of the classes.
      fallback: the corpus that it was trained on in the place of the one asked for; or ''.
      vocabulary: numbers the tokens.
      boundaries: the padded lengths of the run; none if it has not ended.
      params: of the network.
      step: of the training at which they were saved.
      evaluate_step: asks the network.
    """

    config: Config
    classes: tuple[str, ...]
    fallback: str
    vocabulary: Vocabulary
    boundaries: tuple[int, ...]
    params: Any
    step: int
    evaluate_step: Compiled

    def evaluate(
        self, texts: list[str], labels: Int32[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows classes"]:
        """Returns log-probabilities of texts batched as the test data of the run was.

        Args:
          texts: at least one.
          labels: a class for each.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        # Where padding is read, what stands beside a text is part of what is asked.
        longest = _LONG if self.config.model.mask else sys.maxsize
        return self._answers("evaluate", texts, labels, self.config.batch_size, longest)

    def predict(self, texts: list[str]) -> Float[np.ndarray, "rows classes"]:
        """Returns the probability of each class for each text, read by itself.

        What stands beside a text does not matter, also where the network reads padding: there is
        none.

        Raises:
          InputError: a text is too long for the memory of the device.
        """
        together = self.config.batch_size if self.config.model.mask else 1
        labels = np.zeros(len(texts), np.int32)
        return np.exp(self._answers("predict", texts, labels, together, _LONG))

    def _answers(
        self, name: str, texts: list[str], labels: np.ndarray, batch_size: int, longest: int
    ) -> np.ndarray:
        """Returns log-probabilities; texts of more than `longest` tokens are read one at a time."""
        lengths = self.vocabulary.encode(texts, self.config.data.max_tokens).lengths
        found = np.empty((len(texts), len(self.classes)), np.float32)
        short, long = np.flatnonzero(lengths <= longest), np.flatnonzero(lengths > longest)
        for rows, size, boundaries in ((short, batch_size, self.boundaries), (long, 1, ())):
            if not len(rows):
                continue
            batches = make_batches(
                self.config.model_copy(update={"batch_size": size}),
                self.vocabulary,
                [texts[row] for row in rows],
                labels[rows],
                boundaries=boundaries,
            )
            try:
                found[rows] = answers(self.evaluate_step, self.params, batches, name)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise InputError(
                    "the device ran out of memory on texts of up to "
                    f"{lengths[rows].max():,} tokens, {size} at a time; shorten the texts"
                ) from error
        return found


def load(workdir: Path) -> TrainedRun:
    """Returns the network of a run, as its newest checkpoint has it.

    Args:
      workdir: the folder of the run, finished or not.

    Raises:
      InputError: there is no run, no checkpoint, or a file is damaged.
    """
    cache.keep_compilations()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    folder = RunFolder(workdir)
    if not folder.config.exists():
        raise InputError(
            f"workdir {workdir}: holds no config.json; expected the folder of a run that "
            "`python -m rnnjax.main --workdir ...` has made"
        )
    _, config = folder.read_config()
    if config.replicates > 1:
        folders = [own.path for _, own in folder.replicates(config)]
        raise InputError(
            f"workdir {workdir}: holds {len(folders)} networks, of the seeds {config.seed} to "
            f"{config.seed + len(folders) - 1}; ask one of them: --workdir {folders[0]}"
        )
    data = folder.read_data()
    if data["fallback"]:
        say(
            f"WARNING: this network was trained on the {data['fallback']} corpus, which stood in "
            "for the news: it tells libraries apart, not news"
        )
    vocabulary = Vocabulary.load(folder.tokenizer)
    task = Classification.of(config, len(vocabulary), len(data["classes"]))
    params = jax.eval_shape(task.init, jax.random.key(0))
    judged = "average" if config.averaging.decay else "params"
    template: dict[str, Any] = {judged: params}
    if config.early_stopping.patience:
        template["best"] = {"params": params, "loss": jax.ShapeDtypeStruct((), jnp.float32)}
    restored = Checkpoints(folder.checkpoints).restore(template)
    if restored is None:
        raise InputError(
            f"workdir {workdir}: holds no checkpoint yet; let the run reach its first one "
            f"(config.checkpoint.every, {config.checkpoint.every} steps) or its end"
        )
    step, saved = restored
    ended = folder.result.exists()
    found = "best" in saved and is_found(saved["best"]["loss"])
    return TrainedRun(
        config=config,
        classes=tuple(data["classes"]),
        fallback=data["fallback"],
        vocabulary=vocabulary,
        boundaries=tuple(read_json(folder.result, "buckets")["buckets"]) if ended else (),
        params=saved["best"]["params"] if found else saved[judged],
        step=step,
        evaluate_step=make_evaluate_step(task),
    )
