"""Event files of TensorBoard, written by tensorboardX: scalars and texts of a run."""

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
    """Appends scalars and texts to event files of one folder.

    Events of a process that ended are hidden from the first step on that this one writes, so that a
    resumed run has one curve.
    """

    def __init__(self, folder: Path):
        """Opens nothing yet: the folder is created by the first event."""
        self._folder = folder
        self._writer: Any = None

    def write(self, step: int, prefix: str, values: Mapping[str, Any]) -> None:
        """Writes the numbers among some values as scalars `prefix/name`."""
        writer = self._open(step)
        for name, value in values.items():
            if isinstance(value, int | float):
                writer.add_scalar(f"{prefix}/{name}", float(value), step)
        writer.flush()

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts by their names, with their lines and spaces as they are."""
        writer = self._open(step)
        for name, text in texts.items():
            # TensorBoard renders Markdown, in which an indented line is shown unchanged.
            indented = "\n".join(f"    {line}" for line in text.split("\n"))
            writer.add_text(name, indented, step)
        writer.flush()

    def _open(self, step: int) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        return self._writer

    def close(self) -> None:
        """Ends the thread that writes."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
