"""Cases and contenders as plain data."""

import dataclasses
import importlib.util
from typing import Any

SIZES = ((16, 48, 64, 64), (32, 64, 128, 128), (64, 256, 256, 256), (8, 1024, 128, 512))
"""Batch, time, inputs, hidden."""

GATES = {"simple": 1, "lstm": 4, "gru": 3}

LINEAR_CELLS = (
    *("MinGRUCell", "LRUCell", "Mamba2Cell(heads=2)", "GatedLinearAttentionCell(heads=2)"),
    *("GatedDeltaNetCell(heads=2)", "MLSTMCell(heads=2)"),
)
"""Linear recurrences with diagonal states, then with matrix states."""

LINEAR_SIZES = tuple((32_768 // time, time, 128, 128) for time in (128, 512, 2_048, 8_192, 16_384))
"""Batch, time, inputs, hidden: the same number of steps in all."""

VOCABULARY, NUM_TOKENS, CLASSES = 20_000, 5_119, 4
"""Of the lesson: the maximal size, and the words of the titles of its first 2,000 rows."""

FORWARD_BACKWARD = "forward+backward"


@dataclasses.dataclass(frozen=True)
class Case:
    """A benchmark that several contenders run.

    Attributes:
      group: a key of `CONTENDERS`.
      name: unique within the group.
      spec: parameters for the contenders.
    """

    group: str
    name: str
    spec: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A library and a variant of using it.

    Attributes:
      name: displayed in tables.
      module: of `contenders`; '' for a complete command.
      variant: an argument of the module.
      backend: for KERAS_BACKEND, which Keras reads once, when it is imported.
      requires: packages that must be installed.
      reads_padding: has no mask, so that it reads the padding of ragged rows.
    """

    name: str
    module: str = ""
    variant: str = ""
    backend: str = ""
    requires: tuple[str, ...] = ()
    reads_padding: bool = False

    @property
    def missing(self) -> str:
        """The packages that are not installed, as text."""
        missing = [name for name in self.requires if importlib.util.find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else ""


RNNJAX = Contender("rnnjax", "rnnjax", "auto")
_KERAS = (
    Contender("Keras on TensorFlow", "keras", "", "tensorflow", ("keras", "tensorflow")),
    Contender("Keras on JAX", "keras", "", "jax", ("keras",)),
)

CONTENDERS: dict[str, tuple[Contender, ...]] = {
    "layers": (
        RNNJAX,
        *(Contender(f"rnnjax, {name}", "rnnjax", name) for name in ("scan", "cudnn", "pallas")),
        Contender("flax nn.RNN", "flax"),
        *_KERAS,
        Contender("PyTorch, packed", "torch", "packed", requires=("torch",)),
        Contender("PyTorch, padded", "torch", "padded", requires=("torch",), reads_padding=True),
        Contender("jax.experimental.rnn", "cudnn"),
        Contender("the products alone", "products"),
    ),
    "linear": (
        RNNJAX,
        *(
            Contender(f"rnnjax, {name}", "rnnjax", name)
            for name in ("scan", "fused", "associative", "chunkwise")
        ),
    ),
    "steps": (RNNJAX, *_KERAS, Contender("PyTorch", "torch", requires=("torch",))),
    "language_models": (RNNJAX, Contender("PyTorch", "torch", requires=("torch",))),
    "softmax": (
        RNNJAX,
        Contender("rnnjax, all logits", "rnnjax", "all logits"),
        Contender("rnnjax, adaptive", "rnnjax", "adaptive"),
        Contender("PyTorch", "torch", requires=("torch",)),
    ),
    "replicates": tuple(
        Contender(f"{count} seed{'s' * (count > 1)}", "rnnjax", f"{count}") for count in (1, 4, 16)
    ),
    "text": (RNNJAX, _KERAS[0]),
    "growth": (RNNJAX, Contender("rnnjax, remat", "rnnjax", "remat")),
    "lesson": (
        Contender("rnnjax, cold"),
        Contender("rnnjax, warm"),
        Contender("Keras on TensorFlow", requires=("keras", "tensorflow")),
    ),
}
"""The contenders of each group; the first is the reference of the ratios."""


def cases(group: str, data: str = "") -> list[Case]:
    """Returns the cases of a group.

    Args:
      group: its name.
      data: the folder with train.csv and test.csv of AG News, for 'text' and 'lesson'.
    """
    if group == "text":
        return [Case("text", "AG News", {"data": data})]
    if group == "lesson":
        return [Case("lesson", name, {"data": data}) for name in STEPS]
    specs = {
        "layers": _layers,
        "linear": _linear,
        "steps": _steps,
        "language_models": _language_models,
        "softmax": _softmax,
        "replicates": _steps,
        "growth": _growth,
    }
    return [Case(group, name, spec) for name, spec in specs[group]().items()]


def layer_spec(cell: str, size: tuple[int, int, int, int], bidirectional: bool = False) -> dict:
    """Returns the spec of one layer of a cell, or of two bidirectional layers."""
    names = ("batch", "time", "inputs", "hidden")
    return {
        "cell": cell,
        "layers": 2 if bidirectional else 1,
        "bidirectional": bidirectional,
        **dict(zip(names, size, strict=True)),
    }


def _layers() -> dict[str, dict]:
    # Small, with full rows, to compare the contenders without a mask too.
    small = {**layer_spec("", (3, 7, 5, 6), True), "full": True}
    checks = {f"{cell}, small and full": {**small, "cell": cell} for cell in GATES}
    return checks | {
        f"{cell}{', 2 bidirectional' if bidirectional else ''}, {'x'.join(map(str, size))}": (
            layer_spec(cell, size, bidirectional)
        )
        for bidirectional in (False, True)
        for size in SIZES
        for cell in GATES
    }


def _linear() -> dict[str, dict]:
    return {
        f"{cell.partition('Cell')[0]}, {'x'.join(map(str, size))}": layer_spec(cell, size)
        for cell in LINEAR_CELLS
        for size in LINEAR_SIZES
    }


def _step(cell: str, hidden: int, batch: int, time: int, mask: bool, **changes: Any) -> dict:
    return {
        "cell": cell,
        "hidden": hidden,
        "batch": batch,
        "time": time,
        "mask": mask,
        "layers": 1,
        "bidirectional": False,
        "inputs": 64,
    } | changes


STEPS = {
    "simple_rnn": _step("simple", 16, 16, 12, False),
    "masked_rnn": _step("simple", 16, 16, 48, True),
    "lstm": _step("lstm", 8, 8, 48, False),
    "bilstm": _step("lstm", 64, 16, 48, True, layers=2, bidirectional=True, inputs=128),
}
"""The lesson's networks at a length to which many of its batches are padded."""


def _steps() -> dict[str, dict]:
    return {name: {**spec, "network": name} for name, spec in STEPS.items()}


def _language_models() -> dict[str, dict]:
    sizes = {"layers": 2, "inputs": 200, "hidden": 200, "batch": 20, "time": 35}
    spec = {"cell": "lstm", "bidirectional": False, **sizes}
    return {
        f"2 LSTM layers, 20x35x200x200, {size:,} words": {**spec, "vocabulary": size}
        for size in (10_000, 50_000)
    }


def _softmax() -> dict[str, dict]:
    return {
        f"{tokens:,} tokens, 200 features, {size:,} words": {
            "tokens": tokens,
            "features": 200,
            "vocabulary": size,
        }
        for tokens in (700, 2_048)
        for size in (10_000, 50_000)
    }


GROWTH = {
    "time": (128, 256, 512, 1024, 2048),
    "batch": (8, 16, 32, 64, 128),
    "hidden": (32, 64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
}


def _growth() -> dict[str, dict]:
    base = layer_spec("lstm", (16, 256, 64, 64))
    return {
        f"{axis}={value}": {**base, axis: value, "axis": axis}
        for axis, values in GROWTH.items()
        for value in values
    }
