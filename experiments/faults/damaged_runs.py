"""Trials of damaged run folders: refused, or with the undamaged answer, or with a warning."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import mutations
from rnnjax.reporting.atomic_files import write_json
from rnnjax.reporting.record_digest import with_digest
from verdicts import Outcome, attempt, classify_call
from workspace import QUERIES, WORDS, Workspace

NOTES, FOREIGN_FILES = (
    "not of the run",
    (".notes.2024", ".bash_history.1", ".config.json.swp", "todo.txt"),
)
MARKER = "faults_marker"
"""A module that a damaged config names as its cell; it must not be imported."""
WEIGHTS = {"predict": 10, "evaluate": 4, "result": 2, "report": 2, "resume": 2}


def _step(workdir: Path, rng: Random | None = None) -> Path:
    steps = [path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    steps.sort(key=lambda path: int(path.name))
    return rng.choice(steps) if rng else steps[-1]


def _swap_steps(workdir: Path, workspace: Workspace, rng: Random) -> None:
    first, *_, last = sorted(path for path in (workdir / "checkpoints").iterdir() if path.is_dir())
    aside = first.with_name("aside")
    first.rename(aside)
    last.rename(first)
    aside.rename(last)


def _rename_step(workdir: Path, workspace: Workspace, rng: Random) -> None:
    step = _step(workdir, rng)
    step.rename(step.with_name(rng.choice(["1", "5", "99", "1000000", "0", "007", "x"])))


def _replace_checkpoint(workdir: Path, workspace: Workspace, rng: Random) -> None:
    step = _step(workdir)
    shutil.rmtree(step)
    shutil.copytree(_step(workspace.other_seed), step)


def _replace_file(workdir: Path, workspace: Workspace, rng: Random) -> None:
    names = ["config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"]
    name = rng.choice([name for name in names if (workdir / name).exists()])
    shutil.copyfile(workspace.other_seed / name, workdir / name)


def _replace_checkpoint_part(workdir: Path, workspace: Workspace, rng: Random) -> None:
    """Replaces a part of a checkpoint by that of the other run."""
    part = rng.choice(["arrays", "checksums"])
    shutil.rmtree(_step(workdir) / part)
    shutil.copytree(_step(workspace.other_seed) / part, _step(workdir) / part)


def _no_checkpoints(workdir: Path, workspace: Workspace, rng: Random) -> None:
    shutil.rmtree(rng.choice([workdir / "checkpoints", _step(workdir)]))


def _add_files(workdir: Path, workspace: Workspace, rng: Random) -> None:
    """Adds files that do not belong to a run."""
    folder = rng.choice([workdir, workdir / "checkpoints", _step(workdir)])
    name = rng.choice(
        [".notes.2024", "notes", "17", "-1", "3.orbax-checkpoint-tmp", "\x1b[2J", "é"]
    )
    place = folder / name
    if rng.random() < 0.5:
        place.mkdir()
    else:
        place.write_text(NOTES)


def _change_token_id(workdir: Path, workspace: Workspace, rng: Random) -> None:
    path = workdir / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    numbers = document["model"]["vocab"]
    numbers[rng.choice(list(numbers)[2:])] = rng.choice([10**6, 2**31, 0, 5])
    path.write_text(json.dumps(document), encoding="utf-8")


def _change_token(workdir: Path, workspace: Workspace, rng: Random) -> None:
    path = workdir / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    word = rng.choice([word for word in WORDS if f'"{word}"' in text])
    path.write_text(text.replace(f'"{word}"', f'"{word[:-1]}q"'), encoding="utf-8")


def _name_external_cell(workdir: Path, workspace: Workspace, rng: Random) -> None:
    (workspace.folder / f"{MARKER}.py").write_text("class Cell: pass\n")
    path = workdir / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    names = [f"{MARKER}:Cell", f"{MARKER}.inner:x", f" {MARKER}:Cell", f"rnnjax:Cell:{MARKER}"]
    document["config"]["model"]["cell"] = rng.choice(names)
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    # Whoever fakes a run can also write a valid digest.
    manifest = json.loads((workdir / "environment.json").read_text(encoding="utf-8"))
    manifest["files"]["config.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(workdir / "environment.json", with_digest(manifest))


def _rename_folder(workdir: Path, workspace: Workspace, rng: Random) -> Path:
    names = ["gru[lr=0.001]", "a*b?", "back\\slash", "two words", "é\u2028", "-x", "{a,b}", "%s"]
    return workdir.rename(workdir.with_name(rng.choice(names)))


def _link_lock(workdir: Path, workspace: Workspace, rng: Random) -> None:
    """Replaces the lock by a link to a file that does not belong to the run."""
    target = workdir.with_name("diary")
    target.write_text(NOTES)
    (workdir / ".lock").unlink(missing_ok=True)
    (workdir / ".lock").symlink_to(target)


def _notes_alone(workdir: Path, workspace: Workspace, rng: Random) -> None:
    """Replaces the folder's files by files that do not belong to a run."""
    shutil.rmtree(workdir)
    workdir.mkdir()
    for name in rng.sample(FOREIGN_FILES, 2):
        (workdir / name).write_text(NOTES)


STRUCTURES: dict[str, Callable[[Path, Workspace, Random], Path | None]] = {
    "steps swapped": _swap_steps,
    "step renamed": _rename_step,
    "checkpoint of another seed": _replace_checkpoint,
    "file of another seed": _replace_file,
    "part of another checkpoint": _replace_checkpoint_part,
    "no checkpoints": _no_checkpoints,
    "files of others": _add_files,
    "folder renamed": _rename_folder,
    "lock is a link": _link_lock,
    "notes alone": _notes_alone,
    "number of a token": _change_token_id,
    "letter of a token": _change_token,
    "cell from outside": _name_external_cell,
}
BYTES, JSON, LINES, SPECIAL = "bytes", "JSON changed", "lines", "no regular file"
FAULTS = (*[BYTES] * 6, *[JSON] * 4, LINES, SPECIAL, *STRUCTURES)


def run_trial(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged folder of a run."""
    query = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if ":" in fault:
        query, fault = fault.split(": ")
    fault = fault or rng.choice(FAULTS)
    expected = workspace.answers[query]
    workdir = workspace.copy_run(query)
    workdir, label, names = _damage(workdir, workspace, rng, fault)
    notes = _foreign_files(workdir)
    sys.modules.pop(MARKER, None)
    sys.path.insert(0, str(workspace.folder))
    try:
        call = attempt(lambda: QUERIES[query](workdir, workspace), 20.0)
    finally:
        sys.path.remove(str(workspace.folder))
    label = f"{query}: {label}"
    if (remaining := _foreign_files(workdir)) != notes:
        return Outcome(label, "lost", f"files of others: {notes} before, {remaining} after")
    if call.verdict == "refused" and fault == "folder renamed":
        return Outcome(label, "rejected", call.message)
    if MARKER in sys.modules:
        return Outcome(label, "executed", f"{MARKER} was imported")
    if fault == "files of others" and query == "resume" and isinstance(call.value, dict):
        call.value["files"] = expected["files"]  # foreign files may remain
    if query == "report" and fault in ("folder renamed", "cell from outside") and call.value:
        return Outcome(label, "unchanged")  # a page names its folder
    outcome = classify_call(label, call, expected, names)
    if fault == "folder renamed" and outcome.verdict == "warned":
        return outcome._replace(verdict="lost")
    return outcome


def _damage(
    workdir: Path, workspace: Workspace, rng: Random, fault: str
) -> tuple[Path, str, list[str]]:
    """Damages a folder; returns it, the name of the fault, and the names of damaged files."""
    if fault in STRUCTURES:
        workdir = STRUCTURES[fault](workdir, workspace, rng) or workdir
        return workdir, fault, [workdir.name, repr(workdir.name)[1:-1], "config.model.cell"]
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    files = [path for path in files if path.name not in (".lock", "report.html")]
    if fault == JSON:
        files = [path for path in files if path.suffix == ".json" or path.name == "metadata"]
    elif fault == LINES:
        files = [workdir / "metrics.jsonl"]
    path = rng.choice([*files, *(file for file in files if file.parent == workdir)])
    name = path.name if path.parent == workdir else _kind(path.relative_to(workdir))
    names = [name if path.parent == workdir and name != "config.json" else workdir.name]
    content = path.read_bytes()
    if fault == SPECIAL:
        return workdir, f"{name}, {mutations.special(rng, path)}", names
    if fault == JSON:
        path.write_text(mutations.change_json(rng, content.decode()), encoding="utf-8")
        return workdir, f"{name}, {fault}", names
    faults = ["lines swapped", "line deleted", "blank line", "number", "span repeated"]
    mutation = rng.choice(faults if fault == LINES else list(mutations.BYTES))
    path.write_bytes(mutations.TEXT[mutation](rng, content))
    return workdir, f"{name}, {mutation}", names


def _foreign_files(workdir: Path) -> list[str]:
    """Returns the foreign files in a folder and beside it."""
    files = [*workdir.rglob("*"), workdir.with_name("diary")]
    return sorted(
        path.name for path in files if path.is_file() and path.read_bytes() == NOTES.encode()
    )


def _kind(path: Path) -> str:
    """Returns the kind of a checkpoint's file: its path without numbers."""
    parts = path.parts[2:]
    return "checkpoint " + "/".join("*" if len(part) == 32 else part for part in parts)
