"""A run from a config to a report."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import cache
from rnnjax.cells import make_cell
from rnnjax.config import Config
from rnnjax.data.dataset import Dataset, load_corpus, make_dataset
from rnnjax.data.text import Vocabulary
from rnnjax.errors import InputError
from rnnjax.models import table
from rnnjax.reporting import metrics as metrics_lib
from rnnjax.reporting.files import write_json, write_text
from rnnjax.reporting.metrics import MetricsFile
from rnnjax.reporting.progress import say
from rnnjax.reporting.report import write_report
from rnnjax.tasks import Classification, scores
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.environment import environment
from rnnjax.training.evaluation import answers
from rnnjax.training.folder import RunFolder, read_json
from rnnjax.training.loop import has_stopped, train
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.state import TrainState, init_state, is_found
from rnnjax.training.step import make_evaluate_step, make_train_step


def run(config: Config, name: str, workdir: Path, command: str = "") -> dict[str, Any]:
    """Trains, evaluates and reports, or goes on with what was begun in the folder.

    Args:
      config: what to do.
      name: of the config.
      workdir: the folder of the run, new, empty, or of the same config.
      command: what the user typed, for the record.

    Returns:
      What result.json says.

    Raises:
      InputError: something given cannot be used; the message says what and what to do.
      InterruptedRunError: SIGINT or SIGTERM came while it trained; the state has been saved.
    """
    make_cell(config.model.cell, config.model.features)  # a mistake is told before any work
    cache.keep_compilations()
    folder = RunFolder(workdir)
    folder.check(config)
    if folder.result.exists():
        with folder.claim(config):
            if folder.report.exists():
                say(f"{workdir} holds a finished run; nothing is left to do")
            else:
                say(f"report: {write_report(workdir)}")
        return read_json(folder.result)
    corpus = load_corpus(config)
    vocabulary = Vocabulary.load(folder.tokenizer) if folder.tokenizer.exists() else None
    dataset = make_dataset(config, corpus, vocabulary)
    total = config.epochs * dataset.train.steps_per_epoch
    if config.warmup_steps >= total:
        raise InputError(
            f"config.warmup_steps: given {config.warmup_steps}, and the training has {total} "
            "steps; expected fewer, so that it reaches config.learning_rate"
        )
    with folder.claim(config):
        _record(folder, config, name, dataset, command)
        try:
            result = _train_and_judge(folder, config, name, dataset, command)
        except jax.errors.JaxRuntimeError as error:
            _raise_if_out_of_memory(config, error)
            raise
        say(f"report: {write_report(workdir)}")
    return result


def _record(folder: RunFolder, config: Config, name: str, dataset: Dataset, command: str) -> None:
    """Writes what is known before the first step, unless the run goes on."""
    if folder.environment.exists():
        theirs, ours = folder.read_data()["fingerprint"], dataset.corpus.fingerprint
        if theirs != ours:
            raise InputError(
                f"workdir {folder.path}: was begun on data of the fingerprint {theirs[:12]}, and "
                f"the data is now {ours[:12]}; bring back the data, or give another --workdir"
            )
    else:
        folder.write_config(name, config, _mark(dataset))
        write_json(folder.environment, {**environment(command), "data": dataset.describe()})
    if not folder.tokenizer.exists():
        write_text(folder.tokenizer, dataset.vocabulary.to_json())


def _train_and_judge(
    folder: RunFolder, config: Config, name: str, dataset: Dataset, command: str
) -> dict[str, Any]:
    classes = dataset.corpus.classes
    task = Classification.of(config, len(dataset.vocabulary), len(classes))
    total = config.epochs * dataset.train.steps_per_epoch
    optimizer = make_optimizer(config, total, task.trained)
    state = init_state(task, optimizer, config.seed, bool(config.early_stopping.patience))
    layers = _layers(task, dataset)
    say(_table_text(layers))
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep)
    state = _resume(checkpoints, state, folder, command)
    metrics = MetricsFile(folder.metrics, _mark(dataset))
    train_step, evaluate_step = (
        make_train_step(task, optimizer, config.seed),
        make_evaluate_step(task),
    )
    begun_at = int(state.step)
    parts = {"validation": dataset.validation, "test": dataset.test}
    try:
        if begun_at < total:
            say(
                f"training {total - begun_at} steps of {config.batch_size} texts, padded to "
                f"{', '.join(map(str, dataset.train.boundaries))} tokens; each length is compiled "
                "when it first comes"
            )
            train_step.prepare(state, dataset.train.blank_stacks())
        evaluate_step.prepare(state.params, dataset.test.blank_batches())
        start = time.monotonic()
        state = train(config, dataset, state, train_step, evaluate_step, checkpoints, metrics)
        seconds = time.monotonic() - start
        best = state.best
        params = best.params if best is not None and is_found(best.loss) else state.params
        found = {
            split: answers(evaluate_step, params, part, split)
            for split, part in parts.items()
            if part
        }
    finally:
        train_step.close()
        evaluate_step.close()
    judged = {split: scores.summary(parts[split].labels, each) for split, each in found.items()}
    steps = int(state.step)
    epochs = steps / dataset.train.steps_per_epoch
    if not any(line["split"] == "test" for line in metrics_lib.read(folder.metrics)):
        metrics.write({"step": steps, "epoch": round(epochs, 4), "split": "test", **judged["test"]})
    compilations = {"train": train_step.compilations, "evaluate": evaluate_step.compilations}
    result = {
        "name": name,
        "task": config.task,
        **judged,
        "steps": steps,
        "epochs": epochs,
        "resumed_from": begun_at,
        "train_seconds": round(seconds, 3),
        "examples_per_second": round((steps - begun_at) * config.batch_size / seconds, 1),
        "compilations": compilations,
        "buckets": list(dataset.train.boundaries),
        "stopped_early": has_stopped(config, state),
        "parameters": sum(row["parameters"] for row in layers),
        "model": layers,
        "data": dataset.describe(),
        **_details(dataset, config, found["test"]),
    }
    write_json(folder.result, result)
    test = judged["test"]
    say(
        f"test accuracy {test['accuracy']:.4f}, loss {test['loss']:.4f} on {test['rows']} rows; "
        f"trained {steps - begun_at} steps in {seconds:.1f} s, with {compilations['train']} "
        f"compilations for {len(dataset.train.boundaries)} padded lengths"
    )
    return result


def _mark(dataset: Dataset) -> dict[str, str]:
    """Returns what every file of a run says that read something else than was asked for."""
    fallback = dataset.corpus.fallback
    return {"data": f"{fallback} (fallback)"} if fallback else {}


def _layers(task: Classification, dataset: Dataset) -> list[dict[str, Any]]:
    shape = (dataset.train.batch_size, dataset.train.boundaries[-1])
    tokens, mask = (jax.ShapeDtypeStruct(shape, dtype) for dtype in (jnp.int32, jnp.bool_))
    return [dataclasses.asdict(row) for row in table(task.model, tokens, mask)]


def _table_text(layers: list[dict[str, Any]]) -> str:
    total = sum(row["parameters"] for row in layers)
    cells = [["layer", "type", "output", "parameters"]]
    cells += [[*list(row.values())[:3], f"{row['parameters']:,}"] for row in layers]
    cells += [["total", "", "", f"{total:,}"]]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        f"{layer:<{widths[0]}}  {kind:<{widths[1]}}  {output:<{widths[2]}}  {count:>{widths[3]}}"
        for layer, kind, output, count in cells
    )


def _resume(
    checkpoints: Checkpoints, state: TrainState, folder: RunFolder, command: str
) -> TrainState:
    """Returns the newest state that was saved, or the one given; metrics after it are dropped."""
    restored = checkpoints.restore(state, repair=True)
    if restored is not None:
        step, state = restored
        say(f"going on from step {step}")
        before = read_json(folder.environment)
        resumed = [*before.get("resumed", []), {"step": step, **environment(command)}]
        write_json(folder.environment, {**before, "resumed": resumed})
    metrics_lib.truncate(folder.metrics, int(state.step))
    return state


def _raise_if_out_of_memory(config: Config, error: Exception) -> None:
    if "RESOURCE_EXHAUSTED" not in str(error):
        return
    raise InputError(
        "the device ran out of memory. Lower config.batch_size "
        f"(now {config.batch_size}), config.data.max_tokens (now {config.data.max_tokens}, 0 is no "
        f"limit) or config.model.features (now {config.model.features}), in a new folder; or free "
        f"the device of other programs. It said: {str(error).splitlines()[0][:200]}"
    ) from error


def _details(dataset: Dataset, config: Config, found: Any) -> dict[str, Any]:
    """Returns where the answers on the test part are right and wrong."""
    classes = dataset.corpus.classes
    labels, lengths = dataset.test.labels, dataset.test.sequences.lengths
    counts = scores.confusion(labels, found)
    rows = scores.worst_mistakes(labels, found)
    texts = dataset.corpus.splits["test"].texts(config.data.text, rows)
    return {
        "confusion": counts.tolist(),
        "per_class": scores.per_class(counts, classes),
        "accuracy_by_length": scores.accuracy_by_length(labels, found, lengths),
        "worst_mistakes": [
            {
                "text": text,
                "label": classes[labels[row]],
                "predicted": classes[found[row].argmax()],
                "probability": float(np.exp(found[row].max())),
                "probability_of_label": float(np.exp(found[row, labels[row]])),
            }
            for text, row in zip(texts, rows, strict=True)
        ],
    }
