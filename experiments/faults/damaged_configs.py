"""Trials of mutated configs: parsed and, if valid, checked as at the start of a training."""

import math
import shutil
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np

import mutations
from rnnjax import config as config_lib
from rnnjax import training
from rnnjax.config.task_schema import task_names
from verdicts import Outcome, attempt, classify_refusal
from workspace import Interruption, Workspace, early_checks

CELLS = [
    *(
        "LSTMCell(",
        "LSTMCell()()",
        "GRUCell(features=3)",
        "os:system",
        "json:JSONDecoder",
        ":",
        "a:b:c",
    ),
    *("rnnjax.cells:Cell", "LSTMCell(peepholes='x')", "LSTMCell(nothing=1)", "(" * 500, "1", "gru"),
    *("LSTMCell(kernel_init=3)", "ZoneoutCell", "ConvLSTMCell", "__import__('os').system('true')"),
    *("MGUCell", "IndRNNCell", "LRUCell", "SLSTMCell", "SimpleCell(activation='sin')", "this:x"),
]
FAULTS = (
    *("strange value", "strange number", "like value", "unknown key", "misspelt key"),
    *(
        "diverging",
        "key that is no text",
        "no section",
        "nested",
        "cell",
        "path",
        "several",
        "undamaged",
    ),
)
TRAINED = 0.02
"""Fraction of the valid configs that are also trained to the end, if that is quick."""


def run_trial(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Returns the verdict on a mutated config."""
    drawn = rng.choice(FAULTS)
    fault = fault or ("strange number" if drawn == "diverging" and rng.random() > 0.1 else drawn)
    task = rng.choice(task_names())
    values = workspace.config(task)
    names = [_mutate(fault, values, rng, task) for _ in range(3 if fault == "several" else 1)]
    parsed = attempt(lambda: config_lib.parse(values))
    key_names = [name.split(".")[-1] if name else "config" for name in names]
    if parsed.verdict == "refused":
        if fault == "undamaged":
            return Outcome(fault, "rejected", parsed.message)
        return classify_refusal(fault, parsed.message, key_names)
    if parsed.verdict:
        return Outcome(fault, parsed.verdict, parsed.message)
    config = parsed.value
    stored = dict(config_lib.flat(config.model_dump()))
    for key, value in config_lib.flat(values):
        # The schema strips the reasons of acknowledged warnings, and expands a leading ~.
        is_expanded = isinstance(value, str) and value.startswith("~")
        if key.startswith("acknowledged.") or value == {} or is_expanded:
            continue
        if key not in stored or stored[key] != value:
            return Outcome(fault, "silent", f"{key}: given {value!r}, stored {stored.get(key)!r}")
    texts = [text[:200] for text in _texts(values)]
    names = ["config", *key_names, *texts, *(repr(text)[1:-1] for text in texts)]
    return _start_run(workspace, config, values, rng, fault, names)


def _start_run(
    workspace: Workspace,
    config: config_lib.Config,
    values: dict[str, Any],
    rng: Random,
    fault: str,
    names: list[str],
) -> Outcome:
    workdir = workspace.folder / "started"
    trained = rng.random() < (1.0 if fault == "diverging" else TRAINED) and _is_quick(config)

    def start() -> dict[str, Any] | None:
        shutil.rmtree(workdir, ignore_errors=True)
        if trained:
            return workspace.train(workdir, values)
        with early_checks():
            try:
                return workspace.train(workdir, values)
            except Interruption:
                return None

    call = attempt(start, 60.0 if trained else 10.0)
    if call.verdict == "refused":
        saved = workdir / "checkpoints"
        if trained and saved.exists() and (step := _saved_nan(workdir)):
            return Outcome(fault, "silent", f"a checkpoint of NaN, of step {step}")
        return classify_refusal(fault, call.message, names)
    if call.verdict:
        return Outcome(fault, call.verdict, call.message)
    if call.value and not math.isfinite(float(call.value["test"]["loss"])):
        return Outcome(fault, "silent", f"a test loss of {call.value['test']['loss']}")
    return Outcome(fault, "valid")


def _saved_nan(workdir: Path) -> int:
    """Returns the newest step of a run if its parameters are not finite, else 0."""
    loaded = attempt(lambda: training.load_run(workdir))
    if loaded.verdict:
        return 0
    leaves = jax.tree.leaves(loaded.value.params)
    return 0 if all(np.isfinite(leaf).all() for leaf in leaves) else loaded.value.step


def _is_quick(config: config_lib.Config) -> bool:
    sizes = (config.model.features, config.model.embedding.features, config.batch_size)
    is_small = max(sizes) <= 64 and config.model.layers * config.replicates <= 3
    return (
        is_small
        and config.epochs <= 4
        and config.data.buckets <= 8
        and config.data.sequence_length <= 64
    )


def _mutate(fault: str, values: dict[str, Any], rng: Random, task: str) -> str:
    """Changes a config in place, and returns the path of the key; '' if no message can name it."""
    paths = [path for path, _ in config_lib.flat(config_lib.defaults(task))]
    path = rng.choice(paths)
    if fault == "several":
        fault = rng.choice(FAULTS[:-2])
    if fault == "strange value":
        _set(values, path, mutations.value(rng))
    elif fault == "strange number":
        defaults = dict(config_lib.flat(config_lib.defaults(task)))
        path = rng.choice([key for key in paths if isinstance(defaults[key], int | float)])
        _set(values, path, rng.choice(mutations.NUMBERS))
    elif fault == "like value":
        default = dict(config_lib.flat(config_lib.defaults(task)))[path]
        _set(values, path, mutations.alike(rng, default))
    elif fault == "unknown key":
        path = f"{path.rpartition('.')[0]}.x{rng.randrange(100)}".lstrip(".")
        _set(values, path, mutations.value(rng))
    elif fault == "misspelt key":
        section, _, key = path.rpartition(".")
        path = f"{section}.{rng.choice([key[1:], key + 's', key.upper()])}".lstrip(".")
        _set(values, path, 1)
    elif fault == "key that is no text":
        key = rng.choice([1, None, True, ("a", "b"), 2.5, "", "a.b", "\x1b[2J", "x" * 10_000])
        sections = [values, values["data"], values["model"]]
        rng.choice([key for key in sections if isinstance(key, dict)])[key] = 1
        return ""
    elif fault == "no section":
        path = rng.choice(["data", "model", "optimizer", "checkpoint", "translation", "averaging"])
        values[path] = rng.choice([None, 1, "x", [], [("a", 1)], 2.5])
    elif fault == "nested":
        _set(values, path, mutations.nested())
    elif fault == "cell":
        path = "model.cell"
        _set(values, path, rng.choice(CELLS))
    elif fault == "diverging":
        path = "learning_rate"
        values[path] = 10.0 ** rng.randrange(20, 38)
        values["checkpoint"], values["optimizer"] = {"every": 1}, {}
        if task == "classification" and rng.random() < 0.8:  # a training of one step
            values["epochs"] = 1
            values["data"] |= {"take": 16, "validation": 0.0}
    elif fault == "path":
        path = rng.choice(["data.dir", "data.file", "model.embedding.path"])
        strange = [
            "/dev/zero",
            "/dev/null",
            "/proc/self/mem",
            "/",
            "x" * 300,
            "a/" * 3_000,
            "[a-z]*",
        ]
        _set(values, path, rng.choice([*mutations.TEXTS, *strange]))
    return path


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for name in sections:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values = values[name]
    values[key] = value


def _texts(values: dict[str, Any]) -> list[str]:
    return [value for _, value in config_lib.flat(values) if isinstance(value, str) and value]
