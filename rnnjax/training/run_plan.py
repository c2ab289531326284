"""The parts of the plan of a run: shapes, memory, time, exchange between devices."""

import dataclasses
from typing import Any

from rnnjax.data.batches import Shape
from rnnjax.training.program_costs import ProgramMemory


@dataclasses.dataclass(frozen=True)
class ShapePlan:
    """The training batches of one padded shape.

    Attributes:
      lengths: to which they are padded, one for each kind of sequence.
      steps: number of them in an epoch.
      padding: share of their time steps that is padding; None without a mask.
      flops: of the matrix products of a training step, of all devices and replicates.
      memory: of a call of the training step, on one device.
      compile_seconds: until the program was ready, whether compiled or read from the cache.
      step_seconds: of a training step; None where it was not timed.
    """

    lengths: Shape
    steps: int
    padding: float | None
    flops: int
    memory: ProgramMemory
    compile_seconds: float
    step_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """The memory of a run on one device, in bytes.

    Attributes:
      state: of each part of the training state.
      step: of the call of the training step that takes most.
      evaluation: of the evaluation step that takes most.
      code: of all compiled programs.
      process: of the process before there is a state, where the device is a CPU; otherwise 0.
      checkpoint: of a checkpoint, on the disk and without compression.
    """

    state: dict[str, int]
    step: ProgramMemory
    evaluation: ProgramMemory
    code: int
    process: int
    checkpoint: int

    @property
    def peak(self) -> int:
        """Largest memory during the run."""
        # The evaluation reads parameters of the state, so that they count twice: an upper bound.
        evaluation = sum(self.state.values()) + self.evaluation.peak
        return self.process + self.code + max(self.step.peak, evaluation)


@dataclasses.dataclass(frozen=True)
class TimePlan:
    """The time of a run in seconds, on this machine.

    Attributes:
      data: reading the data.
      compilation: of all programs, one after the other.
      steps: all training steps.
      validations: all evaluations of the validation split during the training.
      scores: the evaluation at the end.
    """

    data: float
    compilation: float
    steps: float
    validations: float
    scores: float

    @property
    def total(self) -> float:
        """Seconds from reading the data to the scores."""
        return self.data + self.compilation + self.steps + self.validations + self.scores


@dataclasses.dataclass(frozen=True)
class ExchangePlan:
    """The sum of gradients over a number of devices, against their computation.

    Attributes:
      devices: their number.
      reduced_bytes: of the gradients that a device adds to those of others in a training step.
      sent_bytes: by each device for a training step, by a ring.
      flops: of each device for a training step, the mean over an epoch.
      step_seconds: of the computation of a step, were it shared out evenly; None if not timed.
    """

    devices: int
    reduced_bytes: int
    sent_bytes: float
    flops: float
    step_seconds: float | None

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second at which the exchange takes as long as the computation."""
        return self.sent_bytes / self.step_seconds if self.step_seconds else None


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """The plan of a run.

    Attributes:
      layers: as `rnnjax.models.describe_layers` returns them, ready for JSON.
      rows: of each split.
      epochs: of the training.
      shapes: of the training batches.
      padding: share of padding among the time steps of an epoch; None without masks.
      compilations: number of programs, of 'train' and 'evaluate'.
      validations: number of evaluations of the validation split during the training.
      checkpoints: number of them that the training saves.
      memory: of a device.
      time: None where the steps were not timed.
      exchanges: for some numbers of devices.
    """

    layers: list[dict[str, Any]]
    rows: dict[str, int]
    epochs: int
    shapes: list[ShapePlan]
    padding: float | None
    compilations: dict[str, int]
    validations: int
    checkpoints: int
    memory: MemoryPlan
    time: TimePlan | None
    exchanges: list[ExchangePlan]

    @property
    def parameters(self) -> int:
        """Number of parameters of one replicate."""
        return sum(row["parameters"] for row in self.layers)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps of an epoch."""
        return sum(shape.steps for shape in self.shapes)

    def values(self) -> dict[str, Any]:
        """Returns the plan ready for JSON, with its sums."""
        values = dataclasses.asdict(self)
        values |= {"parameters": self.parameters, "steps_per_epoch": self.steps_per_epoch}
        values |= {"peak_bytes": self.memory.peak, "seconds": self.time and self.time.total}
        for exchange, plan in zip(values["exchanges"], self.exchanges, strict=True):
            exchange["bandwidth"] = plan.bandwidth
        return values
