"""Inputs and weights of cases, drawn from fixed seeds: the same for every contender."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cases import CLASSES, GATES, NUM_TOKENS, VOCABULARY


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


class TextData(NamedTuple):
    """A batch of connected text and the initial weights of a language model.

    Attributes:
      inputs: int32 `[batch, time]`, tokens from 0 to the vocabulary less 1.
      targets: int32 `[batch, time]`, the next tokens.
      embedding: float32 `[vocabulary, inputs]`.
      weights: as in `LayerData`.
      score: float32 `[hidden, vocabulary]`, the kernel of the output layer; its bias is zero.
    """

    inputs: np.ndarray
    targets: np.ndarray
    embedding: np.ndarray
    weights: dict[str, np.ndarray]
    score: np.ndarray


def text_data(spec: Mapping[str, Any]) -> TextData:
    """Draws a batch and initial weights from a fixed seed; words are about as frequent as in text.

    The probability of a word falls with its rank, as Zipf's law has it.
    """
    random = np.random.default_rng(0)
    vocabulary, hidden = spec["vocabulary"], spec["hidden"]
    tokens = draw_words(random, vocabulary, (spec["batch"], spec["time"] + 1))
    return TextData(
        inputs=tokens[:, :-1],
        targets=tokens[:, 1:],
        embedding=(random.random((vocabulary, spec["inputs"]), np.float32) - 0.5) / 5,
        weights=recurrent_weights(spec, random),
        score=(random.random((hidden, vocabulary), np.float32) * 2 - 1) * hidden**-0.5,
    )


class SoftmaxData(NamedTuple):
    """Inputs and weights of an output layer.

    Attributes:
      vectors: float32 `[tokens, features]`.
      targets: int32 `[tokens]`.
      kernel: float32 `[features, vocabulary]`; the bias is zero.
    """

    vectors: np.ndarray
    targets: np.ndarray
    kernel: np.ndarray


def softmax_data(spec: Mapping[str, Any]) -> SoftmaxData:
    """Draws inputs and weights from a fixed seed, and targets as `text_data` does."""
    random = np.random.default_rng(0)
    tokens, features, vocabulary = (spec[name] for name in ("tokens", "features", "vocabulary"))
    return SoftmaxData(
        vectors=random.standard_normal((tokens, features), np.float32),
        targets=draw_words(random, vocabulary, (tokens,)),
        kernel=(random.random((features, vocabulary), np.float32) * 2 - 1) * features**-0.5,
    )


def draw_words(random: np.random.Generator, vocabulary: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draws int32 tokens, each with a probability of about 1 / (token + 1)."""
    ranks = np.exp(random.random(shape) * np.log(vocabulary + 1.0))
    return np.minimum(ranks.astype(np.int32) - 1, vocabulary - 1)
