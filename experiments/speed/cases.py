"""Cases and contenders as plain data: the same inputs and weights for every contender."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

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
      group: 'layers', 'linear', 'steps', 'replicates', 'lesson', 'text' or 'growth'.
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


class LayerData(NamedTuple):
    """Inputs and weights of a layer.

    Attributes:
      inputs: float32 `[batch, time, inputs]`.
      lengths: int32 `[batch]`.
      mask: bool `[batch, time]`.
      probe: float32 `[batch, time, outputs]`, zero on padding: the loss is the sum of the outputs
        times the probe.
      weights: named as in the state_dict of PyTorch's modules; none of a linear recurrence.
    """

    inputs: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray
    probe: np.ndarray
    weights: dict[str, np.ndarray]


def layer_data(spec: Mapping[str, Any]) -> LayerData:
    """Draws inputs and weights from a fixed seed, with rows half full to full."""
    random = np.random.default_rng(0)
    batch, time = spec["batch"], spec["time"]
    min_length = time if spec.get("full") else time // 2
    lengths = random.permutation(np.linspace(min_length, time, batch).astype(np.int32))
    mask = np.arange(time) < lengths[:, None]
    outputs = spec["hidden"] * (1 + spec["bidirectional"])
    inputs = random.standard_normal((batch, time, spec["inputs"]), np.float32)
    probe = random.random((batch, time, outputs), np.float32) * mask[..., None]
    weights = recurrent_weights(spec, random) if spec["cell"] in GATES else {}
    return LayerData(inputs, lengths, mask, probe, weights)


def recurrent_weights(
    spec: Mapping[str, Any], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws weights with the distribution and names of PyTorch, an LSTM's second bias zero."""
    hidden, gates = spec["hidden"], GATES[spec["cell"]]
    directions = ("", "_reverse") if spec["bidirectional"] else ("",)
    weights = {}
    for layer in range(spec["layers"]):
        inputs = hidden * len(directions) if layer else spec["inputs"]
        for direction in directions:
            shapes = {
                "weight_ih": (gates * hidden, inputs),
                "weight_hh": (gates * hidden, hidden),
                "bias_ih": (gates * hidden,),
                "bias_hh": (gates * hidden,),
            }
            for name, shape in shapes.items():
                values = (random.random(shape, np.float32) * 2 - 1) * hidden**-0.5
                # Two biases that PyTorch adds are one in rnnjax: a zero bias converts without loss.
                values *= name != "bias_hh" or spec["cell"] == "gru"
                weights[f"{name}_l{layer}{direction}"] = values
    return weights


class StepData(NamedTuple):
    """A batch and the initial weights of a training step.

    Attributes:
      tokens: int32 `[batch, time]`, zero on padding.
      mask: bool `[batch, time]`: the tokens, or, without a mask, every step.
      labels: int32 `[batch]`.
      embedding: float32 `[VOCABULARY, inputs]`.
      weights: as in `LayerData`.
      score: float32 `[outputs, CLASSES]`, the kernel of the last layer; its bias is zero.
    """

    tokens: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    embedding: np.ndarray
    weights: dict[str, np.ndarray]
    score: np.ndarray


def step_data(spec: Mapping[str, Any]) -> StepData:
    """Draws a batch and initial weights from a fixed seed."""
    random = np.random.default_rng(0)
    batch, time = spec["batch"], spec["time"]
    lengths = random.permutation(np.linspace(time // 2, time, batch).astype(np.int32))
    real = np.arange(time) < lengths[:, None]
    outputs = spec["hidden"] * (1 + spec["bidirectional"])
    return StepData(
        tokens=np.where(real, random.integers(1, NUM_TOKENS, real.shape), 0).astype(np.int32),
        mask=real if spec["mask"] else np.ones_like(real),
        labels=random.integers(0, CLASSES, batch).astype(np.int32),
        embedding=(random.random((VOCABULARY, spec["inputs"]), np.float32) - 0.5) / 10,
        weights=recurrent_weights(spec, random),
        score=(random.random((outputs, CLASSES), np.float32) - 0.5),
    )


def digest(
    data: LayerData, outputs: Any, loss: Any, input_gradient: Any, kernel_gradients: list[Any]
) -> dict[str, float]:
    """Returns a few numbers that agree for equal computations."""

    def norm(*arrays: Any) -> float:
        return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays)))

    return {
        "outputs": norm(np.asarray(outputs) * data.mask[..., None]),
        "loss": float(loss),
        "input_gradient": norm(np.asarray(input_gradient)),
        "kernel_gradients": norm(*map(np.asarray, kernel_gradients)),
    }


def digest_of_steps(loss: Callable[[], float]) -> dict[str, float]:
    """Returns the first loss of ten steps on one batch, and its decrease.

    Args:
      loss: takes a step and returns the loss at its start.
    """
    losses = [loss() for _ in range(10)]
    return {"loss": losses[0], "fall": losses[0] - losses[-1]}


_TOLERANCES = {"fall": 0.2}
"""PyTorch trains two biases that are added, so that its steps are a little longer."""


def disagreement(
    expected: Mapping[str, float], actual: Mapping[str, float], tolerance: float
) -> str:
    """Returns the first difference of two digests, '' if they agree.

    Args:
      expected: digest of the reference.
      actual: digest to compare.
      tolerance: largest relative difference.
    """
    for name, value in expected.items():
        # A loss is a sum of terms of either sign, and may be far smaller than its terms.
        scale = max(abs(value), abs(expected.get("outputs", 0.0)))
        if not abs(value - actual[name]) <= _TOLERANCES.get(name, tolerance) * scale:
            return f"{name} {actual[name]:.6g} instead of {value:.6g}"
    return ""
