"""Damaged folders of runs: refused, or answered from as if undamaged, or with a warning."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mutations
from mutations import Draw
from rnnjax.reporting.atomic_files import write_json
from rnnjax.reporting.record_digest import with_digest
from verdicts import Outcome, attempt, judge
from workspace import ASKS, WORDS, Workspace, shared_compilations

NOTES, OTHERS = "not of the run", (".notes.2024", ".bash_history.1", ".config.json.swp", "todo.txt")
MARKER = "faults_marker"
"""A module that a damaged config names as its cell; it must not be imported."""
WEIGHTS = {"predict": 10, "evaluate": 4, "result": 2, "report": 2, "resume": 2}


def _step(workdir: Path, draw: Draw | None = None) -> Path:
    steps = [path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    steps.sort(key=lambda path: int(path.name))
    return draw.choice(steps) if draw else steps[-1]


def _swap_steps(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    first, *_, last = sorted(path for path in (workdir / "checkpoints").iterdir() if path.is_dir())
    aside = first.with_name("aside")
    first.rename(aside)
    last.rename(first)
    aside.rename(last)


def _rename_step(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    step = _step(workdir, draw)
    step.rename(step.with_name(draw.choice(["1", "5", "99", "1000000", "0", "007", "x"])))


def _other_checkpoint(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    step = _step(workdir)
    shutil.rmtree(step)
    shutil.copytree(_step(workspace.other), step)


def _other_file(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    names = ["config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"]
    name = draw.choice([name for name in names if (workdir / name).exists()])
    shutil.copyfile(workspace.other / name, workdir / name)


def _other_array(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    """Replaces a part of a checkpoint by that of the other run."""
    part = draw.choice(["arrays", "checksums"])
    shutil.rmtree(_step(workdir) / part)
    shutil.copytree(_step(workspace.other) / part, _step(workdir) / part)


def _no_checkpoints(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    shutil.rmtree(draw.choice([workdir / "checkpoints", _step(workdir)]))


def _junk(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    """Adds files that are none of a run's."""
    folder = draw.choice([workdir, workdir / "checkpoints", _step(workdir)])
    name = draw.choice(
        [".notes.2024", "notes", "17", "-1", "3.orbax-checkpoint-tmp", "\x1b[2J", "é"]
    )
    place = folder / name
    if draw.random() < 0.5:
        place.mkdir()
    else:
        place.write_text(NOTES)


def _token_number(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    path = workdir / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    numbers = document["model"]["vocab"]
    numbers[draw.choice(list(numbers)[2:])] = draw.choice([10**6, 2**31, 0, 5])
    path.write_text(json.dumps(document), encoding="utf-8")


def _token_letter(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    path = workdir / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    word = draw.choice([word for word in WORDS if f'"{word}"' in text])
    path.write_text(text.replace(f'"{word}"', f'"{word[:-1]}q"'), encoding="utf-8")


def _foreign_cell(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    (workspace.folder / f"{MARKER}.py").write_text("class Cell: pass\n")
    path = workdir / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    names = [f"{MARKER}:Cell", f"{MARKER}.inner:x", f" {MARKER}:Cell", f"rnnjax:Cell:{MARKER}"]
    document["config"]["model"]["cell"] = draw.choice(names)
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    # Whoever makes up a run can seal it as well.
    manifest = json.loads((workdir / "environment.json").read_text(encoding="utf-8"))
    manifest["files"]["config.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(workdir / "environment.json", with_digest(manifest))


def _rename_folder(workdir: Path, workspace: Workspace, draw: Draw) -> Path:
    names = ["gru[lr=0.001]", "a*b?", "back\\slash", "two words", "é\u2028", "-x", "{a,b}", "%s"]
    return workdir.rename(workdir.with_name(draw.choice(names)))


def _link_lock(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    """Makes the lock a link to a file that is none of the run's."""
    target = workdir.with_name("diary")
    target.write_text(NOTES)
    (workdir / ".lock").unlink(missing_ok=True)
    (workdir / ".lock").symlink_to(target)


def _notes_alone(workdir: Path, workspace: Workspace, draw: Draw) -> None:
    """Leaves files in the folder that are none of a run's, and nothing else."""
    shutil.rmtree(workdir)
    workdir.mkdir()
    for name in draw.sample(OTHERS, 2):
        (workdir / name).write_text(NOTES)


STRUCTURES: dict[str, Callable[[Path, Workspace, Draw], Path | None]] = {
    "steps swapped": _swap_steps,
    "step renamed": _rename_step,
    "checkpoint of another seed": _other_checkpoint,
    "file of another seed": _other_file,
    "part of another checkpoint": _other_array,
    "no checkpoints": _no_checkpoints,
    "files of others": _junk,
    "folder renamed": _rename_folder,
    "lock is a link": _link_lock,
    "notes alone": _notes_alone,
    "number of a token": _token_number,
    "letter of a token": _token_letter,
    "cell from outside": _foreign_cell,
}
BYTES, JSON, LINES, SPECIAL = "bytes", "JSON changed", "lines", "no regular file"
FAULTS = (*[BYTES] * 6, *[JSON] * 4, LINES, SPECIAL, *STRUCTURES)


def trial(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged folder of a run."""
    asked = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if ":" in fault:
        asked, fault = fault.split(": ")
    fault = fault or draw.choice(FAULTS)
    expected = workspace.answers[asked]
    workdir = workspace.answering(asked)
    workdir, label, names = _damage(workdir, workspace, draw, fault)
    notes = _notes(workdir)
    sys.modules.pop(MARKER, None)
    sys.path.insert(0, str(workspace.folder))
    try:
        with shared_compilations():
            tried = attempt(lambda: ASKS[asked](workdir, workspace), 20.0)
    finally:
        sys.path.remove(str(workspace.folder))
    label = f"{asked}: {label}"
    if _notes(workdir) != notes:
        return Outcome(label, "lost", f"files of others: {notes} before, {_notes(workdir)} after")
    if tried.verdict == "refused" and fault == "folder renamed":
        return Outcome(label, "rejected", tried.message)
    if MARKER in sys.modules:
        return Outcome(label, "executed", f"{MARKER} was imported")
    if fault == "files of others" and asked == "resume" and isinstance(tried.value, dict):
        tried.value["files"] = expected["files"]  # those of others may stay
    if asked == "report" and fault in ("folder renamed", "cell from outside") and tried.value:
        return Outcome(label, "unchanged")  # a page tells of the folder that it is of
    outcome = judge(label, tried, expected, names)
    if fault == "folder renamed" and outcome.verdict == "warned":
        return outcome._replace(verdict="lost")
    return outcome


def _damage(
    workdir: Path, workspace: Workspace, draw: Draw, fault: str
) -> tuple[Path, str, list[str]]:
    """Damages a folder; returns it, the name of the fault, and names of what was damaged."""
    if fault in STRUCTURES:
        workdir = STRUCTURES[fault](workdir, workspace, draw) or workdir
        return workdir, fault, [workdir.name, repr(workdir.name)[1:-1], "config.model.cell"]
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    files = [path for path in files if path.name not in (".lock", "report.html")]
    if fault == JSON:
        files = [path for path in files if path.suffix == ".json" or path.name == "metadata"]
    elif fault == LINES:
        files = [workdir / "metrics.jsonl"]
    path = draw.choice([*files, *(file for file in files if file.parent == workdir)])
    name = path.name if path.parent == workdir else _kind(path.relative_to(workdir))
    names = [name if path.parent == workdir and name != "config.json" else workdir.name]
    content = path.read_bytes()
    if fault == SPECIAL:
        return workdir, f"{name}, {mutations.special(draw, path)}", names
    if fault == JSON:
        path.write_text(mutations.change_json(draw, content.decode()), encoding="utf-8")
        return workdir, f"{name}, {fault}", names
    faults = ["lines swapped", "line deleted", "blank line", "number", "span repeated"]
    how = draw.choice(faults if fault == LINES else list(mutations.BYTES))
    path.write_bytes(mutations.TEXT[how](draw, content))
    return workdir, f"{name}, {how}", names


def _notes(workdir: Path) -> list[str]:
    """Returns the files of a folder, and the one beside it, that are none of a run's."""
    files = [*workdir.rglob("*"), workdir.with_name("diary")]
    return sorted(
        path.name for path in files if path.is_file() and path.read_bytes() == NOTES.encode()
    )


def _kind(path: Path) -> str:
    """Returns what a file of a checkpoint is, without the numbers in its path."""
    parts = path.parts[2:]
    return "checkpoint " + "/".join("*" if len(part) == 32 else part for part in parts)
