"""Event files of TensorBoard, written by tensorboardX: the scalars of a run beside its metrics."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError


def require_tensorboardx() -> None:
    """Checks that tensorboardX, an extra of the package, is installed.

    Raises:
      InputError: it is not.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError(
            "config.tensorboard: given True, and event files are written by tensorboardX, which is "
            "not installed: pip install 'rnnjax[tensorboard]', or pip install tensorboardX"
        )


class EventFiles:
    """Appends scalars to event files of one folder.

    Events of a process that ended are hidden from the first step on that this one writes, so that a
    resumed run has one curve.
    """

    def __init__(self, folder: Path):
        """Opens nothing yet: the folder is created with the first scalar."""
        self._folder = folder
        self._writer: Any = None

    def write(self, step: int, prefix: str, values: Mapping[str, Any]) -> None:
        """Writes the numbers among some values as scalars `prefix/name`."""
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{prefix}/{name}", float(value), step)
        self._writer.flush()

    def close(self) -> None:
        """Ends the thread that writes."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
