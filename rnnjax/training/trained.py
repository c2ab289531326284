"""A trained run, to be asked."""

import dataclasses
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
from rnnjax.tasks import Classification
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.evaluation import answers
from rnnjax.training.folder import RunFolder, read_json
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
      params: of the network.
      step: of the training at which they were saved.
      evaluate_step: asks the network.
    """

    config: Config
    classes: tuple[str, ...]
    fallback: str
    vocabulary: Vocabulary
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
        """
        batches = make_batches(self.config, self.vocabulary, texts, labels)
        return answers(self.evaluate_step, self.params, batches, "evaluate")

    def predict(self, texts: list[str]) -> Float[np.ndarray, "rows classes"]:
        """Returns the probability of each class for each text, read by itself.

        What stands beside a text does not matter, also where the network reads padding: there is
        none.
        """
        lengths = self.vocabulary.encode(texts, self.config.data.max_tokens).lengths
        together = self.config.batch_size if self.config.model.mask else 1
        found = np.empty((len(texts), len(self.classes)), np.float32)
        short = lengths <= _LONG
        for rows, batch_size in ((np.flatnonzero(short), together), (np.flatnonzero(~short), 1)):
            if len(rows):
                config = self.config.model_copy(update={"batch_size": batch_size})
                labels = np.zeros(len(rows), np.int32)
                batches = make_batches(
                    config, self.vocabulary, [texts[row] for row in rows], labels
                )
                found[rows] = np.exp(answers(self.evaluate_step, self.params, batches, "predict"))
        return found


def load(workdir: Path) -> TrainedRun:
    """Returns the network of a run, as its newest checkpoint has it.

    Args:
      workdir: the folder of the run, finished or not.

    Raises:
      InputError: there is no run, no checkpoint, or a file is damaged.
    """
    cache.keep_compilations()
    folder = RunFolder(workdir)
    if not folder.config.exists():
        raise InputError(
            f"workdir {workdir}: holds no config.json; expected the folder of a run that "
            "`python -m rnnjax.main --workdir ...` has made"
        )
    _, config = folder.read_config()
    data = read_json(folder.environment)["data"]
    vocabulary = Vocabulary.load(folder.tokenizer)
    task = Classification.of(config, len(vocabulary), len(data["classes"]))
    params = jax.eval_shape(task.init, jax.random.key(0))
    template: dict[str, Any] = {"params": params}
    if config.early_stopping.patience:
        template["best"] = {"params": params, "loss": jax.ShapeDtypeStruct((), jnp.float32)}
    restored = Checkpoints(folder.checkpoints).restore(template)
    if restored is None:
        raise InputError(
            f"workdir {workdir}: holds no checkpoint yet; let the run reach its first one "
            f"(config.checkpoint.every, {config.checkpoint.every} steps) or its end"
        )
    step, saved = restored
    if "best" in saved and np.isfinite(saved["best"]["loss"]):
        saved = saved["best"]
    return TrainedRun(
        config=config,
        classes=tuple(data["classes"]),
        fallback=data["fallback"],
        vocabulary=vocabulary,
        params=saved["params"],
        step=step,
        evaluate_step=make_evaluate_step(task),
    )
