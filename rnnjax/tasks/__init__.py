"""Tasks, a folder for each: its keys of the config, data, model, loss, metrics and report.

The modules beside the folders are what tasks are built from. `Task` is the interface.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnjax.tasks.model_options import recurrent_options
    from rnnjax.tasks.sequence_task import SequenceTask
    from rnnjax.tasks.stream_task import StreamTask
    from rnnjax.tasks.task import Prediction, Task, UsageCommand
    from rnnjax.tasks.token_metrics import token_sums

_MODULES = {
    "Prediction": "task",
    "SequenceTask": "sequence_task",
    "StreamTask": "stream_task",
    "Task": "task",
    "UsageCommand": "task",
    "recurrent_options": "model_options",
    "token_sums": "token_metrics",
}
__all__ = [
    "Prediction",
    "SequenceTask",
    "StreamTask",
    "Task",
    "UsageCommand",
    "recurrent_options",
    "token_sums",
]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used, so that reading a config needs no JAX."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
