"""A corpus and a network so small that a run takes a second: what the tests of runs stand on."""

import csv
import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax import config as schema
from rnnjax import training
from rnnjax.data import labelled
from rnnjax.reporting import seal
from rnnjax.tasks import Classification
from rnnjax.training.folder import RunFolder
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.state import TrainState, init_state
from rnnjax.training.step import make_evaluate_step

WORDS = {
    1: "minister election border treaty embassy parliament",
    2: "goal striker season coach stadium league",
    3: "profit shares merger market dividend retailer",
    4: "software chip browser rocket telescope browser",
}
BETWEEN = ["the", "a", "of", "on", "after", "with", "said", "new", "for", "has", "it", "in", "its"]
SMALL = {
    "seed": 3,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "log_every": 3,
    "data": {"buckets": 3, "vocabulary": {"size": 64}},
    "model": {"cell": "LSTMCell", "features": 8, "embedding": {"features": 6}},
    "checkpoint": {"every": 4},
}


def write_csv(path: Path, rows: int, seed: int) -> None:
    """Writes sentences of 2 to 24 words, of which a third tell the class."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        for row in range(rows):
            label = row % 4 + 1
            telling = WORDS[label].split()
            words = [
                draw.choice(telling if draw.random() < 0.35 else BETWEEN)
                for _ in range(draw.randint(2, 24))
            ]
            cut = draw.randint(1, len(words))
            writer.writerow([label, " ".join(words[:cut]), " ".join(words[cut:])])


def parse(news: Path, **changes: Any) -> schema.Config:
    """Returns the small config on a folder of news, changed as `changed` does."""
    return changed(SMALL, **{"data__dir": str(news), **changes})


def changed(values: dict[str, Any], **changes: Any) -> schema.Config:
    """Returns the config of some values but for changes; `model__mask=False` sets model.mask."""
    values = json.loads(json.dumps(values))
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return schema.parse(values)


def lines(workdir: Path) -> list[dict[str, Any]]:
    """Returns the metrics of a run."""
    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def state_of(config: schema.Config) -> TrainState:
    """Returns the state in which a run of the config begins."""
    made = labelled.make_dataset(config, labelled.load_corpus(config))
    task = Classification.of(config, len(made.vocabulary), made.describe())
    optimizer = make_optimizer(config, config.epochs * made.train.steps_per_epoch, task.trained)
    return init_state(task, optimizer, [config.seed], config).make()


def unlearned(config: schema.Config) -> training.TrainedClassifier:
    """Returns a network of random parameters, biases included, as if a run had trained it."""
    made = labelled.make_dataset(config, labelled.load_corpus(config))
    task = Classification.of(config, len(made.vocabulary), made.describe())
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    draw = np.random.default_rng(config.seed)
    return training.TrainedClassifier(
        config=config,
        task=task,
        data=made.describe(),
        vocabulary=made.vocabulary,
        boundaries=(),
        params=jax.tree.map(
            lambda leaf: 0.7 * draw.standard_normal(leaf.shape).astype(leaf.dtype), shapes
        ),
        step=0,
        evaluate_step=make_evaluate_step(task),
    )


def saved(config: schema.Config, workdir: Path) -> TrainState:
    """Returns the newest state that a run has saved."""
    restored = RunFolder(workdir).open_checkpoints().restore(state_of(config))
    assert restored is not None
    return restored[1]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns every file of a folder, so that a change would show."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


DAMAGES = ("truncated", "bit-flipped", "emptied", "deleted")


def damage_file(draw: random.Random, path: Path, how: str) -> None:
    """Damages a file in one of the ways of `DAMAGES`."""
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "bit-flipped" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if how == "truncated" else b"")


def assert_same(ours: Any, theirs: Any) -> None:
    """Fails unless two pytrees have the same arrays, bit for bit."""
    a, b = jax.tree_util.tree_leaves_with_path(ours), jax.tree_util.tree_leaves_with_path(theirs)
    assert [path for path, _ in a] == [path for path, _ in b]
    differing = [
        jax.tree_util.keystr(path)
        for (path, one), (_, other) in zip(a, b, strict=True)
        if np.asarray(one).tobytes() != np.asarray(other).tobytes()
    ]
    assert differing == []


@pytest.fixture(scope="session")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the original layout: 240 rows to train on, 61 to test."""
    folder = tmp_path_factory.mktemp("news")
    write_csv(folder / "train.csv", 240, 1)
    write_csv(folder / "test.csv", 61, 2)
    return folder


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of two voices, 80 lines."""
    draw = random.Random(1)
    words = ["the", "king", "is", "here", "and", "so", "art", "thou", "my", "lord"]
    path = tmp_path_factory.mktemp("texts") / "play.txt"
    speeches = (
        f"{draw.choice(['ANN', 'BOB'])}:\n{' '.join(draw.choices(words, k=5))}\n" for _ in range(40)
    )
    path.write_text("".join(speeches), encoding="utf-8")
    return path


@pytest.fixture
def several_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded lengths as if compiling took no time, or a small corpus would have but one."""
    monkeypatch.setattr(labelled, "_COMPILING", 0.0)


@pytest.fixture(scope="session")
def finished(news: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, masked, with buckets of several lengths; only to be read."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "_COMPILING", 0.0)
        training.run(parse(news), "small", workdir, "python -m rnnjax.main --config=small.py")
    return workdir


def damage(checkpoint: Path, how: str) -> None:
    """Spoils a checkpoint: 'cut', 'flipped' or 'missing' arrays, or a wrong 'checksum'."""
    if how == "checksum":
        path = checkpoint / "checksums" / "metadata"
        saved = json.loads(path.read_text())
        sums = {key: [*rest, crc ^ 1] for key, (*rest, crc) in saved["arrays"].items()}
        path.write_text(json.dumps(seal.sealed({**saved, "arrays": sums})))
        return
    path = max((checkpoint / "arrays" / "d").iterdir(), key=lambda each: each.stat().st_size)
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@dataclasses.dataclass
class Ended:
    """What a command line left."""

    status: int
    out: str
    err: str


def started(module: str, *arguments: str, folder: Path, **options: Any) -> subprocess.Popen:
    """Starts `python -m rnnjax.<module>` in a folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": folder, **options}
    return subprocess.Popen([sys.executable, "-m", f"rnnjax.{module}", *arguments], **pipes)


def typed(module: str, *arguments: str, folder: Path, stdin: bytes = b"") -> Ended:
    """Runs `python -m rnnjax.<module>` in a folder to its end, which is never a traceback."""
    process = started(module, *arguments, folder=folder, stdin=subprocess.PIPE)
    out, err = process.communicate(stdin, timeout=120)
    ended = Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    return ended
