"""Damaged caches of prepared corpora: prepared again, or refused; never read as they are."""

import shutil
from pathlib import Path
from typing import Any

import mutations
from mutations import Draw
from rnnjax.data import corpora
from verdicts import Outcome, attempt, judge
from workspace import Workspace

SHIFTED, SWAPPED, SPECIAL, JSON = (
    "labels shifted",
    "files swapped",
    "no regular file",
    "JSON changed",
)
FAULTS = (*mutations.BYTES, SHIFTED, SWAPPED, SPECIAL, JSON, JSON)


def trial(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged cache."""
    pristine, root = workspace.folder / "prepared", workspace.folder / "cache of a trial"
    if not pristine.exists():
        _read(workspace, pristine)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(pristine, root)
    fault = fault or draw.choice(FAULTS)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = draw.choice(files)
    if fault == SHIFTED:
        path = next(each for each in files if each.name == "test.labels.npy")
        content = path.read_bytes()
        head = content.index(b"\n") + 1
        path.write_bytes(content[:head] + content[head + 4 :] + content[head : head + 4])
    elif fault == SWAPPED:
        other = draw.choice(files)
        ours, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(ours)
    elif fault == SPECIAL:
        fault = mutations.special(draw, path)
    elif fault == JSON:
        path = next(each for each in files if each.name == "corpus.json")
        path.write_text(mutations.change_json(draw, path.read_text(encoding="utf-8")))
    else:
        path.write_bytes(mutations.BYTES[fault](draw, path.read_bytes()))
    tried = attempt(lambda: _read(workspace, root))
    return judge(f"{path.name}: {fault}", tried, _read(workspace, pristine), [path.name, root.name])


def _read(workspace: Workspace, root: Path) -> dict[str, Any]:
    corpus = corpora.load("ag_news_subset", str(workspace.news), "", root)
    found: dict[str, Any] = {"classes": corpus.classes, "fingerprint": corpus.fingerprint}
    for part, split in corpus.splits.items():
        fields = {name: list(column) for name, column in split.fields.items()}
        found[part] = {"labels": split.labels.tolist(), **fields}
    return found
