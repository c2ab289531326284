"""The time that the steps of a run took, over all the processes that trained it."""

import time
from pathlib import Path
from typing import Any

import pydantic

from rnnjax.input_files import load_text, parse_json
from rnnjax.reporting.atomic_files import write_json
from rnnjax.reporting.progress import write_message


class Total(pydantic.BaseModel):
    """Steps of a run, and what they took.

    Attributes:
      steps: training steps that are counted.
      examples: rows or tokens in them, of all replicates.
      train_seconds: wall time, evaluations and checkpoints on the way included.
      cpu_seconds: of the processes, on all cores, from their start.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    steps: int = pydantic.Field(default=0, ge=0)
    examples: int = pydantic.Field(default=0, ge=0)
    train_seconds: float = pydantic.Field(default=0.0, ge=0.0)
    cpu_seconds: float = pydantic.Field(default=0.0, ge=0.0)


class Timing:
    """Adds up the time of a training, and keeps it in a file beside the checkpoints.

    The file has the totals at each checkpoint, by its step. A process that goes on from one adds to
    its totals; time spent on steps that were lost is in none of them. The totals are no part of a
    state, which the same training leaves bit for bit.
    """

    def __init__(self, path: Path, step: int):
        """Starts the clock.

        Args:
          path: the file, which need not be there.
          step: the checkpoint to go on from; 0 for a new training.
        """
        self._path = path
        self._saved = _read(path) if step else {}
        self._before = self._saved.get(step, Total())
        self._steps = self._examples = 0
        self._start = time.monotonic()
        self._seconds: float | None = None

    def add(self, steps: int, examples: int) -> None:
        """Counts training steps, and the rows or tokens in them."""
        self._steps += steps
        self._examples += examples

    def stop(self, step: int, others: list[int]) -> None:
        """Stops the clock at the end of the training, and saves the totals as `save` does."""
        self._seconds = time.monotonic() - self._start
        self.save(step, others)

    @property
    def total(self) -> Total:
        """The totals up to now."""
        seconds = time.monotonic() - self._start if self._seconds is None else self._seconds
        before = self._before
        return Total(
            steps=before.steps + self._steps,
            examples=before.examples + self._examples,
            train_seconds=before.train_seconds + (seconds if self._steps else 0.0),
            cpu_seconds=before.cpu_seconds + time.process_time(),
        )

    def save(self, step: int, others: list[int]) -> None:
        """Writes the totals at a checkpoint that is about to be saved.

        Args:
          step: of the checkpoint.
          others: steps of the checkpoints that there are.
        """
        self._saved = {each: total for each, total in self._saved.items() if each in others}
        self._saved[step] = self.total
        write_json(self._path, {str(each): dict(total) for each, total in self._saved.items()})


def _read(path: Path) -> dict[int, Total]:
    if not path.exists():
        return {}
    try:
        values: dict[str, Any] = parse_json(load_text(path))
        return {int(step): Total.model_validate(total) for step, total in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        write_message(
            f"WARNING: {path} cannot be used ({reason}): earlier training time is not counted"
        )
        return {}
