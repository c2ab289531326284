"""One case of a check: an engine, a direction, a size and a mask."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rnnjax.layers import available_engines
from rnnjax.testing.cell_adapter import CellAdapter
from rnnjax.testing.comparison import host, require_close
from rnnjax.testing.harness import Harness
from rnnjax.testing.mask_patterns import drawn
from rnnjax.testing.sequence_result import SequenceInputs, SequenceResult


@dataclasses.dataclass(frozen=True)
class CheckCase:
    """What one look at an invariant is taken at.

    Attributes:
      bench: the cell, its numbers and its programs.
      rows: of the batch.
      steps: of each row.
      engine: of the layer; '' where the check is about the cell alone.
      reverse: whether the layer reads from the last step to the first.
      training: whether there is a key to draw from, the same for every run.
      mask: `[rows, steps]`, all real where the check is about no mask.
    """

    bench: Harness
    rows: int
    steps: int
    mask: np.ndarray
    engine: str = ""
    reverse: bool = False
    training: bool = False

    @property
    def subject(self) -> CellAdapter:
        """The cell and the shape of what it reads."""
        return self.bench.subject

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that the cell has, and this machine."""
        found = available_engines(self.subject.cell)
        return tuple(each for each in found if each != "cudnn" or jax.default_backend() == "gpu")

    @property
    def given(self) -> SequenceInputs:
        """What a run reads, unless a check changes it."""
        return self.bench.given(self.rows, self.steps, self.training)

    @property
    def order(self) -> np.ndarray:
        """The steps in the order in which they are read."""
        return np.arange(self.steps)[:: -1 if self.reverse else 1]

    def run(
        self,
        mask: np.ndarray | None = None,
        reverse: bool | None = None,
        kind: str = "all given",
        **changed: Any,
    ) -> SequenceResult:
        """Returns what the layer returns, and its gradients, with some of the given changed."""
        return self.bench.run(
            self.engine or "scan",
            self.reverse if reverse is None else reverse,
            self.given._replace(**changed),
            self.mask if mask is None else mask,
            kind,
        )

    def close(self, found: SequenceResult, expected: SequenceResult, because: str) -> None:
        """Breaks unless one result is the other, but for rounding."""
        allowed = self.bench.allowed(self.rows, self.steps)
        part = require_close(found.leaves(), expected.leaves(), allowed, because)
        self.bench.largest = max(self.bench.largest, part)

    def close_step(self, found: Any, expected: Any, because: str) -> None:
        """Breaks unless (next state, output) of one step are those of another."""
        one, other = SequenceResult(*host(found)), SequenceResult(*host(expected))
        allowed = self.bench.allowed_step(self.rows)
        part = require_close(one.leaves(), other.leaves(), allowed, because)
        self.bench.largest = max(self.bench.largest, part)

    @property
    def where(self) -> str:
        """The engine, the direction and the mode; '' where the check is about none of them."""
        found = [f"engine {self.engine}"] if self.engine else []
        found += [("reverse" if self.reverse else "forward")] if self.engine else []
        return ", ".join([*found, *(["in training"] if self.training else [])])

    def lines(self, masked: bool) -> str:
        """Returns the case as an error draws it, with the mask if it is about masks."""
        size = f"{_count(self.rows, 'row')}, {_count(self.steps, 'step')}"
        return f"{size}, masked so (# is real):\n{drawn(self.mask)}" if masked else size


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
