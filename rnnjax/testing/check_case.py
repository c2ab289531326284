"""One case of a check: an engine, a direction, a batch size and a mask."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rnnjax.layers import available_engines
from rnnjax.testing.assertions import assert_close, to_numpy
from rnnjax.testing.cell_adapter import CellAdapter
from rnnjax.testing.harness import Harness
from rnnjax.testing.mask_patterns import format_mask
from rnnjax.testing.sequence_result import SequenceArguments, SequenceResult


@dataclasses.dataclass(frozen=True)
class CheckCase:
    """The setting at which an invariant is checked.

    Attributes:
      harness: the cell, its arguments and compiled programs.
      rows: of the batch.
      steps: of the batch.
      mask: `[rows, steps]`, all True for an invariant that is not about masks.
      engine: of the layer; '' for an invariant of the cell alone.
      reverse: whether the layer reads from the last step to the first.
      training: whether runs get a dropout key, the same for all.
    """

    harness: Harness
    rows: int
    steps: int
    mask: np.ndarray
    engine: str = ""
    reverse: bool = False
    training: bool = False

    @property
    def adapter(self) -> CellAdapter:
        """The cell and the shape of its inputs."""
        return self.harness.adapter

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines of the cell that run on this machine."""
        return self._engines(resets=False)

    @property
    def takes_resets(self) -> bool:
        """Whether the engine of the case takes resets."""
        return self.engine in self._engines(resets=True)

    def _engines(self, resets: bool) -> tuple[str, ...]:
        engines = available_engines(self.adapter.cell, resets)
        on_gpu = jax.default_backend() == "gpu"
        return tuple(engine for engine in engines if engine != "cudnn" or on_gpu)

    @property
    def arguments(self) -> SequenceArguments:
        """The default arguments of a run."""
        return self.harness.arguments(self.rows, self.steps, self.training)

    @property
    def step_order(self) -> np.ndarray:
        """The indices of the steps in the order in which they are read."""
        return np.arange(self.steps)[:: -1 if self.reverse else 1]

    def run(
        self,
        mask: np.ndarray | None = None,
        reverse: bool | None = None,
        pass_mask: bool = True,
        pass_state: bool = True,
        resets: np.ndarray | None = None,
        **changes: Any,
    ) -> SequenceResult:
        """Runs the layer forward and backward, with some of the arguments replaced.

        Args:
          mask: instead of the mask of the case.
          reverse: instead of the direction of the case.
          pass_mask: pass a mask to the layer.
          pass_state: pass an initial state; otherwise the layer uses the cell's default.
          resets: pass them to the layer.
          **changes: fields of the arguments.
        """
        mask = self.mask if mask is None else mask
        return self.harness.run(
            self.engine or "scan",
            self.reverse if reverse is None else reverse,
            self.arguments._replace(**changes),
            mask if pass_mask else None,
            pass_state=pass_state,
            resets=resets,
        )

    def run_in_precision(self, arguments: SequenceArguments, precision: str) -> SequenceResult:
        """Runs the layer forward and backward, with the cell in a precision."""
        return self.harness.run(self.engine, self.reverse, arguments, self.mask, precision)

    def assert_close(self, actual: SequenceResult, expected: SequenceResult, context: str) -> None:
        """Asserts that two results agree up to rounding."""
        self._compare(actual, expected, self.harness.tolerances(self.rows, self.steps), context)

    def assert_step_close(self, actual: Any, expected: Any, context: str) -> None:
        """Asserts that (next state, output) of two steps agree up to rounding."""
        actual, expected = (SequenceResult(*to_numpy(step)) for step in (actual, expected))
        self._compare(actual, expected, self.harness.step_tolerances(self.rows), context)

    def _compare(
        self,
        actual: SequenceResult,
        expected: SequenceResult,
        tolerances: dict[str, float],
        context: str,
    ) -> None:
        deviation = assert_close(actual.leaves(), expected.leaves(), tolerances, context)
        self.harness.largest_deviation = max(self.harness.largest_deviation, deviation)

    @property
    def location(self) -> str:
        """The engine, the direction and the mode as text; '' for an evaluation of the cell."""
        parts = []
        if self.engine:
            parts += [f"engine {self.engine}", "reverse" if self.reverse else "forward"]
        if self.training:
            parts.append("in training")
        return ", ".join(parts)

    def describe(self, with_mask: bool) -> str:
        """Returns the size of the batch, and optionally the mask, as text."""
        size = f"{_plural(self.rows, 'row')}, {_plural(self.steps, 'step')}"
        return f"{size}, mask (# is real):\n{format_mask(self.mask)}" if with_mask else size


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
