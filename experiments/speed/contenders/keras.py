"""Layers, training steps and text of Keras, on the backend of KERAS_BACKEND."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from case_data import LayerData, layer_data, step_data
from cases import CLASSES, FORWARD_BACKWARD, VOCABULARY
from contenders import Job
from contenders.rnnjax import make_layers
from digests import digest, digest_of_steps
from rnnjax.interop import from_torch, to_keras
from rnnjax.layers import Stack

_LAYERS = {"simple": kl.SimpleRNN, "lstm": kl.LSTM, "gru": kl.GRU}


def _recurrent(spec: dict[str, Any], last_sequence: bool) -> list[Any]:
    recurrent = []
    for index in range(spec["layers"]):
        sequences = last_sequence or index < spec["layers"] - 1
        layer = _LAYERS[spec["cell"]](spec["hidden"], return_sequences=sequences)
        recurrent.append(kl.Bidirectional(layer) if spec["bidirectional"] else layer)
    return recurrent


def _set_weights(
    spec: dict[str, Any], recurrent: list[Any], weights: dict[str, np.ndarray]
) -> None:
    stack = Stack(make_layers(spec))
    keras_weights = to_keras(stack, from_torch(stack, weights))
    for layer, layer_weights in zip(recurrent, keras_weights, strict=True):
        layer.set_weights(layer_weights)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is ignored."""
    del variant
    data = layer_data(spec)
    inputs = keras.Input((spec["time"], spec["inputs"]), batch_size=spec["batch"])
    mask = keras.Input((spec["time"],), batch_size=spec["batch"], dtype="bool")
    recurrent = _recurrent(spec, last_sequence=True)
    outputs = inputs
    for layer in recurrent:
        outputs = layer(outputs, mask=mask)
    _set_weights(spec, recurrent, data.weights)
    model = keras.Model([inputs, mask], outputs)
    return (_in_tensorflow if keras.backend.backend() == "tensorflow" else _in_jax)(model, data)


def _kernels(model: keras.Model, gradients: list[Any]) -> list[Any]:
    pairs = zip(model.trainable_variables, gradients, strict=True)
    return [gradient for variable, gradient in pairs if "kernel" in variable.name]


def _in_jax(model: keras.Model, data: LayerData) -> Job:
    from contenders.jax_jobs import layer_job

    def outputs(params, inputs, mask):
        return model.stateless_call(params, seeds, [inputs, mask])[0]

    params = [np.asarray(variable) for variable in model.trainable_variables]
    seeds = [np.asarray(variable) for variable in model.non_trainable_variables]
    return layer_job(outputs, lambda gradients: _kernels(model, gradients), params, data, data.mask)


def _in_tensorflow(model: keras.Model, data: LayerData) -> Job:
    import tensorflow as tf

    arguments = [tf.constant(data.inputs), tf.constant(data.mask)]
    probe = tf.constant(data.probe)
    # As compile(jit_compile="auto") of Keras does.
    jit = all(layer.supports_jit for layer in model._flatten_layers())
    weights = [variable.value for variable in model.trainable_variables]
    compiled = tf.function(model, jit_compile=jit)

    @tf.function(jit_compile=jit)
    def gradients(inputs, mask, probe):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(model([inputs, mask]) * probe)
        return loss, tape.gradient(loss, [inputs, *weights])

    def synchronize(result: Any) -> Any:
        if tf.config.list_physical_devices("GPU"):
            tf.test.experimental.sync_devices()
        return result

    def forward() -> Any:
        return synchronize(compiled(arguments))

    def forward_backward() -> Any:
        return synchronize(gradients(*arguments, probe))

    value, (input_gradient, *param_gradients) = forward_backward()
    facts = {
        "digest": digest(data, forward(), value, input_gradient, _kernels(model, param_gradients))
    }
    return Job({"forward": forward, FORWARD_BACKWARD: forward_backward}, facts)


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` is ignored."""
    del variant
    data = step_data(spec)
    recurrent = _recurrent(spec, last_sequence=False)
    embed = kl.Embedding(VOCABULARY, spec["inputs"], mask_zero=spec["mask"])
    score = kl.Dense(CLASSES, activation="softmax")
    tokens = keras.Input((spec["time"],), dtype="int32")
    outputs = tokens
    for layer in (embed, *recurrent, score):
        outputs = layer(outputs)
    embed.set_weights([data.embedding])
    _set_weights(spec, recurrent, data.weights)
    score.set_weights([data.score, np.zeros(CLASSES, np.float32)])
    model = keras.Model(tokens, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def run() -> Any:
        return model.train_on_batch(data.tokens, data.labels, return_dict=True)

    return Job({"step": run}, {"digest": digest_of_steps(lambda: float(run()["loss"]))})


def text(spec: dict[str, Any], variant: str) -> Job:
    """Returns the jobs from CSV files to batches; `variant` is ignored."""
    del variant
    import tensorflow as tf

    def read() -> tuple[list[str], list[str], list[int]]:
        rows: list[list[str]] = []
        for split in ("test", "train"):
            with Path(spec["data"], f"{split}.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        texts = [f"{title} {description}" for _, title, description in rows]
        return [title for _, title, _ in rows], texts, [int(label) - 1 for label, _, _ in rows]

    titles, texts, labels = read()

    def count_tokens() -> int:
        vectorizer = kl.TextVectorization(max_tokens=VOCABULARY)
        vectorizer.adapt(titles[:2_000])
        rows = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(16)
        batches = rows.map(lambda text, label: (vectorizer(text), label), tf.data.AUTOTUNE)
        return sum(tokens.numpy().size for tokens, _ in batches.prefetch(tf.data.AUTOTUNE))

    return Job({"read": read, "batches": count_tokens}, {"rows": len(texts)})
