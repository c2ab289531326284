"""Trials of damaged caches of prepared corpora: prepared again or refused, never read."""

import shutil
from pathlib import Path
from random import Random
from typing import Any

import mutations
from rnnjax.data import corpora
from verdicts import Outcome, attempt, classify_call
from workspace import Workspace

SHIFTED, SWAPPED, SPECIAL, JSON = (
    "labels shifted",
    "files swapped",
    "no regular file",
    "JSON changed",
)
FAULTS = (*mutations.BYTES, SHIFTED, SWAPPED, SPECIAL, JSON, JSON)


def run_trial(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged cache."""
    pristine, root = workspace.folder / "prepared", workspace.folder / "cache of a trial"
    if not pristine.exists():
        _read(workspace, pristine)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(pristine, root)
    fault = fault or rng.choice(FAULTS)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = rng.choice(files)
    if fault == SHIFTED:
        path = next(file for file in files if file.name == "test.labels.npy")
        content = path.read_bytes()
        head = content.index(b"\n") + 1
        path.write_bytes(content[:head] + content[head + 4 :] + content[head : head + 4])
    elif fault == SWAPPED:
        second = rng.choice(files)
        content, second_content = path.read_bytes(), second.read_bytes()
        path.write_bytes(second_content)
        second.write_bytes(content)
    elif fault == SPECIAL:
        fault = mutations.special(rng, path)
    elif fault == JSON:
        path = next(file for file in files if file.name == "corpus.json")
        path.write_text(mutations.change_json(rng, path.read_text(encoding="utf-8")))
    else:
        path.write_bytes(mutations.BYTES[fault](rng, path.read_bytes()))
    call = attempt(lambda: _read(workspace, root))
    return classify_call(
        f"{path.name}: {fault}", call, _read(workspace, pristine), [path.name, root.name]
    )


def _read(workspace: Workspace, root: Path) -> dict[str, Any]:
    corpus = corpora.load("ag_news_subset", str(workspace.news), "", root)
    columns: dict[str, Any] = {"classes": corpus.classes, "fingerprint": corpus.fingerprint}
    for part, split in corpus.splits.items():
        fields = {name: list(column) for name, column in split.fields.items()}
        columns[part] = {"labels": split.labels.tolist(), **fields}
    return columns
