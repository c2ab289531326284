"""The time that training took, added up over the processes that trained the run."""

import time
from pathlib import Path
from typing import Any

import pydantic

from rnnjax.input_files import load_text, parse_json
from rnnjax.reporting.atomic_files import write_json
from rnnjax.reporting.progress import write_message
from rnnjax.training.processes import is_first


class TimingTotals(pydantic.BaseModel):
    """Training steps and their time.

    Attributes:
      steps: number of timed training steps.
      examples: rows or tokens in them, of all replicates.
      train_seconds: wall time, evaluations and checkpoints in between included.
      cpu_seconds: processor time of the processes, of all cores, from their start.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    steps: int = pydantic.Field(default=0, ge=0)
    examples: int = pydantic.Field(default=0, ge=0)
    train_seconds: float = pydantic.Field(default=0.0, ge=0.0)
    cpu_seconds: float = pydantic.Field(default=0.0, ge=0.0)


class TrainingTimer:
    """Measures the time of a training, and saves it in a file beside the checkpoints.

    The file has the totals at each checkpoint, by its step. A process that resumes from one adds to
    its totals; the time of steps that were lost is dropped. The totals are no part of the state,
    which is the same, bit for bit, for the same training.
    """

    def __init__(self, path: Path, step: int):
        """Starts the clock.

        Args:
          path: the file, which may be missing.
          step: the checkpoint that the training resumes from; 0 for a new training.
        """
        self._path = path
        self._saved = _read(path) if step else {}
        self._earlier = self._saved.get(step, TimingTotals())
        self._steps = self._examples = 0
        self._start = time.monotonic()
        self._seconds: float | None = None

    def add(self, steps: int, examples: int) -> None:
        """Counts training steps, and the rows or tokens in them."""
        self._steps += steps
        self._examples += examples

    def stop(self, step: int, checkpoint_steps: list[int]) -> None:
        """Stops the clock at the end of training, and saves the totals as `save` does."""
        self._seconds = time.monotonic() - self._start
        self.save(step, checkpoint_steps)

    @property
    def totals(self) -> TimingTotals:
        """The totals up to now, earlier processes included."""
        seconds = time.monotonic() - self._start if self._seconds is None else self._seconds
        earlier = self._earlier
        return TimingTotals(
            steps=earlier.steps + self._steps,
            examples=earlier.examples + self._examples,
            train_seconds=earlier.train_seconds + (seconds if self._steps else 0.0),
            cpu_seconds=earlier.cpu_seconds + time.process_time(),
        )

    def save(self, step: int, checkpoint_steps: list[int]) -> None:
        """Writes the totals at a checkpoint that is about to be saved.

        Args:
          step: of the checkpoint.
          checkpoint_steps: of the existing checkpoints; the totals of others are dropped.
        """
        saved = {key: totals for key, totals in self._saved.items() if key in checkpoint_steps}
        self._saved = {**saved, step: self.totals}
        if is_first():
            write_json(self._path, {str(key): dict(totals) for key, totals in self._saved.items()})


def _read(path: Path) -> dict[int, TimingTotals]:
    if not path.exists():
        return {}
    try:
        values: dict[str, Any] = parse_json(load_text(path))
        return {int(step): TimingTotals.model_validate(totals) for step, totals in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        write_message(
            f"WARNING: {path} cannot be used ({reason}): earlier training time is not counted"
        )
        return {}
