"""Keras, on the backend that KERAS_BACKEND says."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from cases import (
    BOTH,
    CLASSES,
    VOCABULARY,
    LayerData,
    digest,
    digest_of_steps,
    layer_data,
    step_data,
)
from contenders import Job
from contenders.ours import layer_list
from rnnjax.interop import from_torch, to_keras
from rnnjax.layers import Stack

_LAYERS = {"simple": kl.SimpleRNN, "lstm": kl.LSTM, "gru": kl.GRU}


def _recurrent(spec: dict[str, Any], last_sequence: bool) -> list[Any]:
    made = []
    for index in range(spec["layers"]):
        sequences = last_sequence or index < spec["layers"] - 1
        layer = _LAYERS[spec["cell"]](spec["hidden"], return_sequences=sequences)
        made.append(kl.Bidirectional(layer) if spec["bidirectional"] else layer)
    return made


def _set_weights(spec: dict[str, Any], made: list[Any], weights: dict[str, np.ndarray]) -> None:
    like = Stack(layer_list(spec))
    for layer, own in zip(made, to_keras(like, from_torch(like, weights)), strict=True):
        layer.set_weights(own)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` means nothing here."""
    del variant
    data = layer_data(spec)
    inputs = keras.Input((spec["time"], spec["inputs"]), batch_size=spec["batch"])
    mask = keras.Input((spec["time"],), batch_size=spec["batch"], dtype="bool")
    made = _recurrent(spec, last_sequence=True)
    outputs = inputs
    for layer in made:
        outputs = layer(outputs, mask=mask)
    _set_weights(spec, made, data.weights)
    model = keras.Model([inputs, mask], outputs)
    return (_in_tensorflow if keras.backend.backend() == "tensorflow" else _in_jax)(model, data)


def _kernels(model: keras.Model, gradients: list[Any]) -> list[Any]:
    pairs = zip(model.trainable_variables, gradients, strict=True)
    return [gradient for variable, gradient in pairs if "kernel" in variable.name]


def _in_jax(model: keras.Model, data: LayerData) -> Job:
    from contenders.in_jax import layer_job

    def outputs(params, inputs, mask):
        return model.stateless_call(params, seeds, [inputs, mask])[0]

    params = [np.asarray(variable) for variable in model.trainable_variables]
    seeds = [np.asarray(variable) for variable in model.non_trainable_variables]
    return layer_job(outputs, lambda each: _kernels(model, each), params, data, data.mask)


def _in_tensorflow(model: keras.Model, data: LayerData) -> Job:
    import tensorflow as tf

    given = [tf.constant(data.inputs), tf.constant(data.mask)]
    probe = tf.constant(data.probe)
    # What Keras' own compile(jit_compile="auto") does.
    jit = all(layer.supports_jit for layer in model._flatten_layers())
    weights = [variable.value for variable in model.trainable_variables]
    compiled = tf.function(model, jit_compile=jit)

    @tf.function(jit_compile=jit)
    def gradients(inputs, mask, probe):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(model([inputs, mask]) * probe)
        return loss, tape.gradient(loss, [inputs, *weights])

    def ready(result: Any) -> Any:
        if tf.config.list_physical_devices("GPU"):
            tf.test.experimental.sync_devices()
        return result

    def forward() -> Any:
        return ready(compiled(given))

    def both() -> Any:
        return ready(gradients(*given, probe))

    value, (of_inputs, *of_params) = both()
    found = digest(data, forward(), value, of_inputs, _kernels(model, of_params))
    return Job({"forward": forward, BOTH: both}, {"digest": found})


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` means nothing here."""
    del variant
    data = step_data(spec)
    made = _recurrent(spec, last_sequence=False)
    embed = kl.Embedding(VOCABULARY, spec["inputs"], mask_zero=spec["mask"])
    score = kl.Dense(CLASSES, activation="softmax")
    tokens = keras.Input((spec["time"],), dtype="int32")
    outputs = tokens
    for layer in (embed, *made, score):
        outputs = layer(outputs)
    embed.set_weights([data.embedding])
    _set_weights(spec, made, data.weights)
    score.set_weights([data.score, np.zeros(CLASSES, np.float32)])
    model = keras.Model(tokens, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def run() -> Any:
        return model.train_on_batch(data.tokens, data.labels, return_dict=True)

    return Job({"step": run}, {"digest": digest_of_steps(lambda: float(run()["loss"]))})


def text(spec: dict[str, Any], variant: str) -> Job:
    """Returns the jobs from CSV files to batches; `variant` means nothing here."""
    del variant
    import tensorflow as tf

    def read() -> tuple[list[str], list[str], list[int]]:
        rows: list[list[str]] = []
        for part in ("test", "train"):
            with Path(spec["data"], f"{part}.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        texts = [f"{title} {description}" for _, title, description in rows]
        return [title for _, title, _ in rows], texts, [int(label) - 1 for label, _, _ in rows]

    titles, texts, labels = read()

    def batches() -> int:
        vectorizer = kl.TextVectorization(max_tokens=VOCABULARY)
        vectorizer.adapt(titles[:2_000])
        rows = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(16)
        made = rows.map(lambda text, label: (vectorizer(text), label), tf.data.AUTOTUNE)
        return sum(tokens.numpy().size for tokens, _ in made.prefetch(tf.data.AUTOTUNE))

    return Job({"read": read, "batches": batches}, {"rows": len(texts)})
