"""Fixtures and helpers of tests on runs: a small corpus, and a run of a second."""

import csv
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax import config as config_lib
from rnnjax import training
from rnnjax.data.batches import Batches
from rnnjax.data.dataset import TextDataset
from rnnjax.reporting import record_digest
from rnnjax.tasks.classification import data as labelled_text
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.tasks.classification.trained_run import TrainedClassifier
from rnnjax.training import loop
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.schedule import make_plateau, make_schedule
from rnnjax.training.state import TrainState, init_state
from rnnjax.training.step import CompiledFunction, make_evaluate_step, make_train_step

KEYWORDS = {
    1: "minister election border treaty embassy parliament",
    2: "goal striker season coach stadium league",
    3: "profit shares merger market dividend retailer",
    4: "software chip browser rocket telescope browser",
}
FILLERS = ["the", "a", "of", "on", "after", "with", "said", "new", "for", "has", "it", "in", "its"]
SMALL_CONFIG = {
    "seed": 3,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "log_every": 3,
    "data": {"buckets": 3, "vocabulary": {"size": 64}},
    "model": {"cell": "LSTMCell", "features": 8, "embedding": {"features": 6}},
    "checkpoint": {"every": 20},
}


def write_news(path: Path, rows: int, seed: int) -> None:
    """Writes labelled texts of 2 to 24 words, a third of them keywords of the class."""
    generator = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        for row in range(rows):
            label = row % 4 + 1
            keywords = KEYWORDS[label].split()
            words = [
                generator.choice(keywords if generator.random() < 0.35 else FILLERS)
                for _ in range(generator.randint(2, 24))
            ]
            cut = generator.randint(1, len(words))
            writer.writerow([label, " ".join(words[:cut]), " ".join(words[cut:])])


def news_config(news: Path, **overrides: Any) -> config_lib.Config:
    """Returns the small config on a folder of news, with overrides as of `make_config`."""
    return make_config(SMALL_CONFIG, **{"data__dir": str(news), **overrides})


def make_config(values: dict[str, Any], **overrides: Any) -> config_lib.Config:
    """Returns a config of values and overrides; `model__mask=False` sets model.mask."""
    values = json.loads(json.dumps(values))
    for path, value in overrides.items():
        *sections, key = path.split("__")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return config_lib.parse(values)


@contextmanager
def free_compilation() -> Iterator[None]:
    """Chooses padded lengths as if compilation were free; a small corpus would have only one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnjax.data.batches._COMPILE_COST", 0.0)
        yield


def train(config: config_lib.Config, workdir: Path, name: str = "small") -> dict[str, Any]:
    """Trains a run, and returns its result."""
    return training.train(config, name, workdir, "python -m rnnjax.main")


def train_until_signal(
    config: config_lib.Config, workdir: Path, step: int, number: int = signal.SIGINT
) -> None:
    """Trains a run until this process gets a signal during a step, which ends the run."""

    class Interrupting(loop.Progress):
        def update(self, step_reached: int, *args: Any, **metrics: Any) -> None:
            super().update(step_reached, *args, **metrics)
            if step_reached >= step:
                os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Progress", Interrupting)
        with pytest.raises(training.InterruptedRunError, match=f"after step {step} of"):
            train(config, workdir)


def train_until_killed(config: config_lib.Config, workdir: Path, step: int) -> None:
    """Trains a run until a call of the training step, which is killed without a checkpoint."""
    batch_group_at = loop.batch_group_at

    def interrupting(replicates: Any, step_reached: int, limit: int) -> Any:
        if step_reached >= step:
            raise ZeroDivisionError
        return batch_group_at(replicates, step_reached, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "batch_group_at", interrupting)
        with pytest.raises(ZeroDivisionError):
            train(config, workdir)


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the metrics of a run."""
    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def make_dataset_and_task(
    config: config_lib.Config,
) -> tuple[TextDataset[Batches], ClassificationTask]:
    """Returns the data of a config, and the task with its network."""
    dataset = labelled_text.make_dataset(config, labelled_text.load_corpus(config.data))
    vocab_size = len(dataset.vocabulary)
    return dataset, ClassificationTask.from_config(config, vocab_size, dataset.describe())


def initial_state(config: config_lib.Config) -> TrainState:
    """Returns the initial state of a run of the config."""
    _, task = make_dataset_and_task(config)
    return init_state(
        task,
        make_optimizer(config.optimizer, make_schedule("constant", 0.0, 0, 1), task.trainable_mask),
        [config.seed],
        batch_size=config.batch_size,
        track_average=bool(config.averaging.decay),
        track_best=bool(config.early_stopping.patience),
        plateau=make_plateau(config),
    ).create()


def train_step(
    config: config_lib.Config, task: ClassificationTask, num_steps: int, seed: int = 3
) -> CompiledFunction:
    """Returns the training step of a config for a training of `num_steps`."""
    schedule = make_schedule(config.schedule, config.learning_rate, config.warmup_steps, num_steps)
    optimizer = make_optimizer(config.optimizer, schedule, task.trainable_mask)
    return make_train_step(task, optimizer, [seed], config.averaging.decay)


def untrained_classifier(config: config_lib.Config) -> TrainedClassifier:
    """Returns a network of random parameters, biases included, as if loaded from a run."""
    dataset, task = make_dataset_and_task(config)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    generator = np.random.default_rng(config.seed)
    return TrainedClassifier(
        config=config,
        task=task,
        data=dataset.describe(),
        vocabulary=dataset.vocabulary,
        boundaries=(),
        params=jax.tree.map(
            lambda leaf: 0.7 * generator.standard_normal(leaf.shape).astype(leaf.dtype), shapes
        ),
        step=0,
        evaluate_step=make_evaluate_step(task),
        folder=Path(),
    )


def restore_state(config: config_lib.Config, workdir: Path) -> TrainState:
    """Returns the state in the newest checkpoint of a run."""
    restored = RunFolder(workdir).open_checkpoints().restore(initial_state(config))
    assert restored is not None
    return restored[1]


def read_files(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file in a folder, to compare with a later state."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_trees_equal(actual: Any, expected: Any) -> None:
    """Fails unless two pytrees have the same arrays, bit for bit."""
    leaves, expected_leaves = map(jax.tree_util.tree_leaves_with_path, (actual, expected))
    assert [path for path, _ in leaves] == [path for path, _ in expected_leaves]
    differing = [
        jax.tree_util.keystr(path)
        for (path, leaf), (_, expected_leaf) in zip(leaves, expected_leaves, strict=True)
        if np.asarray(leaf).tobytes() != np.asarray(expected_leaf).tobytes()
    ]
    assert differing == []


@pytest.fixture(scope="session")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of AG News: 240 training rows, 61 test rows."""
    folder = tmp_path_factory.mktemp("news")
    write_news(folder / "train.csv", 240, 1)
    write_news(folder / "test.csv", 61, 2)
    return folder


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of two voices, 80 lines."""
    generator = random.Random(1)
    words = ["the", "king", "is", "here", "and", "so", "art", "thou", "my", "lord"]
    path = tmp_path_factory.mktemp("texts") / "play.txt"
    speeches = (
        f"{generator.choice(['ANN', 'BOB'])}:\n{' '.join(generator.choices(words, k=5))}\n"
        for _ in range(40)
    )
    path.write_text("".join(speeches), encoding="utf-8")
    return path


@pytest.fixture
def several_lengths() -> Iterator[None]:
    """Lets a small corpus have several padded lengths."""
    with free_compilation():
        yield


@pytest.fixture(scope="session")
def finished(news: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, masked, with several padded lengths; read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    with free_compilation():
        train(news_config(news), workdir)
    return workdir


DAMAGES = ("truncated", "bit-flipped", "emptied", "deleted")


def damage_file(generator: random.Random, path: Path, kind: str) -> None:
    """Damages a file in one of the ways of `DAMAGES`."""
    content = bytearray(path.read_bytes())
    if kind == "deleted":
        path.unlink()
    elif kind == "bit-flipped" and content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "truncated" else b"")


def damage_checkpoint(checkpoint: Path, kind: str) -> None:
    """Damages a checkpoint: 'cut', 'flipped' or 'missing' arrays, or a wrong 'checksum'."""
    if kind == "checksum":
        path = checkpoint / "checksums" / "metadata"
        saved = json.loads(path.read_text())
        sums = {key: [*rest, crc ^ 1] for key, (*rest, crc) in saved["arrays"].items()}
        path.write_text(json.dumps(record_digest.with_digest({**saved, "arrays": sums})))
        return
    path = max((checkpoint / "arrays" / "d").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
