"""Damages inputs and disturbs trainings, and records how each of them is treated.

    python experiments/faults/run.py --kind configs --count 1000
    python experiments/faults/run.py --all
    python experiments/faults/run.py --controls
    python experiments/faults/run.py --kind files --again 17

The first brings the inputs of a kind up to so many, the second those of all kinds up to the counts
of the campaign. Input number N of a kind is a pure function of its name and N. Records go to
`runs.jsonl`, a line for each chunk of inputs, and are rendered in `README.md`; the same command
continues the records that are there, of any commit. The third injects faults, and records the
number of inputs until the campaign detects each. The last runs one input and records nothing.
"""

import argparse
import importlib
import json
import os
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import controls
import records
from records import KINDS
from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress, write_message
from verdicts import Outcome
from workspace import Workspace

GRACE = 300.0
"""Seconds without a verdict after which the process of a chunk is killed."""


IMPORTED = (
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "scipy.optimize", "scipy.stats"),
    *("ml_collections", "rnnjax.cli.launcher", "rnnjax.training", "jinja2", "tqdm"),
)
"""Before anything is forked, so that no child has to import it."""


def run_trial(kind: str, workspace: Workspace, number: int, fault: str = "") -> Outcome:
    """Returns the verdict on an input of a kind."""
    module, name = KINDS[kind].trial.split(":")
    function = getattr(importlib.import_module(module), name)
    return function(workspace, Random(f"{kind} {number}"), fault)


def run_chunk(kind: str, workspace: Workspace, numbers: range) -> Iterator[Outcome]:
    """Yields the verdicts on some inputs of a kind.

    Those of a kind that is tried inside a process have one together, which starts a device; where
    it dies or hangs, another one goes on after the input that it was at.
    """
    if KINDS[kind].forks:
        yield from (run_trial(kind, workspace, number) for number in numbers)
        return
    while numbers:
        verdicts, last = _run_in_child(
            lambda numbers=numbers: (list(run_trial(kind, workspace, number)) for number in numbers)
        )
        yield from (Outcome(*verdict) for verdict in verdicts)
        numbers = numbers[len(verdicts) :]
        if numbers:
            yield Outcome("", *last)
            numbers = numbers[1:]


def _run_in_child(function: Callable[[], Iterator[Any]]) -> tuple[list[Any], tuple[str, str]]:
    """Returns the values that a function yields in a child, and the failure that ended it."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            for value in function():
                os.write(writer, json.dumps(value).encode() + b"\n")
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    content, ending = b"", ("crash", "")
    while True:
        if not select.select([reader], [], [], GRACE)[0]:
            os.kill(pid, signal.SIGKILL)
            ending = ("hang", f"no verdict in {GRACE:g} seconds")
            break
        piece = os.read(reader, 2**16)
        if not piece:
            break
        content += piece
    os.close(reader)
    _, raw = os.waitpid(pid, 0)
    if ending[0] == "crash":
        ending = ("crash", f"its process ended with status {os.waitstatus_to_exitcode(raw)}")
    return [json.loads(line) for line in content.splitlines()], ending


def run_campaign(workspace: Workspace, wanted: dict[str, int], folder: Path, command: str) -> int:
    """Runs the inputs that are missing, and returns the number of failures among them."""
    lines = records.read(folder)
    missing = [
        (kind, range(first, min(first + KINDS[kind].chunk, count)))
        for kind, count in wanted.items()
        for first in range(0, count, KINDS[kind].chunk)
        if not records.is_recorded(lines, kind, first, min(first + KINDS[kind].chunk, count))
    ]
    if not missing:
        return 0
    failures, done = 0, 0
    records.add(folder, {"manifest": _manifest(command)})
    with Progress("inputs", sum(len(numbers) for _, numbers in missing)) as progress:
        for kind, numbers in missing:
            outcomes, start = [], time.monotonic()
            for number, outcome in zip(numbers, run_chunk(kind, workspace, numbers), strict=True):
                outcomes.append(outcome)
                done += 1
                progress.update(done)
                if outcome.failed:
                    message = f"{outcome.fault}: {outcome.verdict}: {outcome.message[:300]}"
                    write_message(f"{kind} {number}: {message}")
            failures += sum(outcome.failed for outcome in outcomes)
            records.add(
                folder, records.make_chunk_record(kind, numbers, outcomes, time.monotonic() - start)
            )
    return failures


def search_control(workspace: Workspace, name: str, most: int) -> dict[str, Any]:
    """Injects a fault, and returns the record of the input at which the campaign detects it.

    Args:
      workspace: of the inputs.
      name: a key of `controls.CONTROLS`.
      most: inputs that are run.
    """
    control = controls.CONTROLS[name]

    def search() -> Iterator[Any]:
        with control.inject():
            for number in range(most):
                outcome = run_trial(control.kind, workspace, number, control.fault)
                yield [*outcome]
                if outcome.verdict in control.verdicts:
                    return

    if KINDS[control.kind].forks:
        importlib.import_module("disturbed_processes").shared_baseline(
            workspace
        )  # without the fault
        verdicts = list(search())
    else:
        verdicts, _ = _run_in_child(search)
    last = Outcome(*verdicts[-1])
    is_found = last.verdict in control.verdicts
    return {
        "control": name,
        "kind": control.kind,
        "found": is_found,
        "inputs": len(verdicts),
        "fault": last.fault if is_found else "",
        "verdict": last.verdict if is_found else "",
    }


def _manifest(command: str) -> dict[str, Any]:
    from rnnjax.training.manifest import describe_environment

    (environment,), _ = _run_in_child(lambda: iter([describe_environment(command)]))
    return environment


def main(arguments: Sequence[str]) -> int:
    """Runs a campaign; returns 1 if an input failed or a control was not found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", choices=[*KINDS], help="of the inputs")
    parser.add_argument(
        "--count", type=int, help="inputs of the kind; that of the campaign without"
    )
    parser.add_argument("--all", action="store_true", help="all kinds, as many as the campaign has")
    parser.add_argument("--controls", action="store_true", help="put each fault back")
    parser.add_argument("--again", type=int, metavar="NUMBER", help="one input, not recorded")
    parser.add_argument("--folder", type=Path, default=records.HERE, help="of the records")
    flags = parser.parse_args(arguments)
    if not (flags.kind or flags.all or flags.controls):
        parser.error("give --kind, --all or --controls")
    if flags.again is not None and not flags.kind:
        parser.error("--again needs --kind")
    command = shlex.join(["python", "experiments/faults/run.py", *arguments])
    for name in IMPORTED:
        importlib.import_module(name)
    base = Path(tempfile.mkdtemp(prefix="rnnjax-faults-"))
    os.environ["RNNJAX_CACHE"] = str(base / "cache")
    try:
        workspace = Workspace(base / "workspace")
        if flags.again is not None:
            (outcome,) = run_chunk(flags.kind, workspace, range(flags.again, flags.again + 1))
            print(f"{outcome.fault}: {outcome.verdict}\n{outcome.message}")
            return int(outcome.failed)
        if flags.controls:
            return _run_controls(workspace, flags.folder, command)
        chosen = [*KINDS] if flags.all else [flags.kind]
        wanted = {kind: flags.count or KINDS[kind].count for kind in chosen}
        failures = run_campaign(workspace, wanted, flags.folder, command)
        print(f"{failures} failures among the inputs of {', '.join(wanted)}")
        return int(failures > 0)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _run_controls(workspace: Workspace, folder: Path, command: str) -> int:
    done = {line["control"] for line in records.read(folder) if "control" in line}
    names = [name for name in controls.CONTROLS if name not in done]
    if names:
        records.add(folder, {"manifest": _manifest(command)})
    for name in names:
        record = search_control(workspace, name, KINDS[controls.CONTROLS[name].kind].count)
        write_message(f"{name}: {record}")
        records.add(folder, record)
    lines = [line for line in records.read(folder) if "control" in line]
    missed = [line["control"] for line in lines if not line["found"]]
    print(f"{len(lines) - len(missed)} of {len(lines)} faults found; not found: {missed}")
    return int(bool(missed))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
