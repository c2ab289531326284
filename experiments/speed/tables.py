"""The part of README.md that is rendered from what was measured."""

import statistics
from collections.abc import Iterable
from pathlib import Path

import plots
from cases import BOTH, CONTENDERS, GROWTH, cases
from rnnjax.reporting import markdown
from runs import Result, Runs, exponent, machine_of, ratio

NOTHING = (
    "Nothing has been measured yet: no layer, no training step, no lesson, no text and no growth; "
    "the command above fills this part."
)

Of = dict[tuple[str, str], Result]
"""Of one group, by case and contender."""

_TITLES = {
    "layers": "Layers",
    "steps": "Training steps of the lesson's networks",
    "replicates": "A training step of several seeds side by side",
    "lesson": "The lesson, end to end",
    "text": "From CSV files to padded batches",
    "growth": "Growth",
}


def draw(runs: Runs, folder: Path) -> None:
    """Draws the plots into a folder."""
    for group, results, name in _drawings(runs):
        plots.draw(group, results, folder / name)


def descriptions(runs: Runs) -> dict[str, str]:
    """Returns what each plot shows, by its name."""
    return {name: plots.describe(group, results) for group, results, name in _drawings(runs)}


def _drawings(runs: Runs) -> list[tuple[str, Of, str]]:
    """Returns of each plot there is its group, what it shows and its name."""
    measured = [runs.manifests[of] for of, results in runs.results.items() if results]
    found = []
    for machine in dict.fromkeys(map(machine_of, measured)):
        for group in _TITLES:
            if of := runs.newest(machine, group):
                results = _of_group(runs, of, group)
                if plots.describe(group, results):
                    found.append((group, results, _drawing_name(machine, group)))
    return found


def _of_group(runs: Runs, of: str, group: str) -> Of:
    return {key[1:]: each for key, each in runs.results[of].items() if key[0] == group}


def _drawing_name(machine: str, group: str) -> str:
    return f"{_file_name(machine)}-{group}.svg"


def quotation(runs: Runs) -> str:
    """Returns the wall times of the lesson's commands as they were measured last, in a table."""
    machines = dict.fromkeys(machine_of(each) for each in runs.manifests.values())
    found = [of for machine in machines if (of := runs.newest(machine, "lesson"))]
    if not found:
        return NOTHING
    of = max(found, key=lambda each: runs.manifests[each]["started"])
    command, *_ = _lesson("lesson", _of_group(runs, of, "lesson"))
    return f"{command}\n\n{_made_with(runs.manifests[of])}"


def ahead(runs: Runs) -> str:
    """Returns how far PyTorch's LSTM without packing is ahead, forward."""
    parts = []
    for machine in dict.fromkeys(map(machine_of, runs.manifests.values())):
        of = runs.newest(machine, "layers")
        results = _of_group(runs, of, "layers") if of else {}
        times = []
        for (case, name), theirs in results.items():
            ours = results.get((case, CONTENDERS["layers"][0].name))
            if name != "PyTorch, padded" or not case.startswith("lstm") or " full" in case:
                continue
            if ours and ours.rounds and theirs.rounds:
                times.append(ratio(ours.seconds["forward"], theirs.seconds["forward"]).median)
        if times:
            faster = sum(each > 1 for each in times)
            parts.append(
                f"On {machine}, PyTorch's LSTM without packing is faster forward in {faster} of "
                f"{len(times)} cases, by up to {max(times):.1f} times."
            )
    return "\n\n".join(parts) or NOTHING


def render(runs: Runs) -> str:
    """Returns a section for each machine that something was measured on."""
    measured = [runs.manifests[of] for of, results in runs.results.items() if results]
    machines = list(dict.fromkeys(map(machine_of, measured)))
    return "\n\n".join(_machine(runs, each) for each in machines) or NOTHING


def _machine(runs: Runs, machine: str) -> str:
    parts, absent = [f"## {machine}"], []
    for group, title in _TITLES.items():
        of = runs.newest(machine, group)
        if not of:
            absent.append(group)
            continue
        results = _of_group(runs, of, group)
        parts += [f"### {title}", _made_with(runs.manifests[of])]
        parts += {"growth": _growth, "lesson": _lesson, "text": _text}.get(group, _ratios)(
            group, results
        )
        parts += _notes(results)
        drawn = bool(plots.describe(group, results))
        parts += [f"![{title}]({_drawing_name(machine, group)})"] if drawn else []
    if absent:
        parts.append(f"Not measured on this machine: {', '.join(absent)}.")
    return "\n\n".join(parts)


def _file_name(machine: str) -> str:
    kept = [letter if letter.isalnum() else " " for letter in machine.lower()]
    return "-".join("".join(kept).split()[:4])


def _made_with(manifest: dict) -> str:
    versions = manifest["packages"] | manifest["peers"]
    shown = ("jax", "flax", "keras", "tensorflow", "tensorflow-cpu", "torch")
    packages = ", ".join(f"{name} {versions[name]}" for name in shown if name in versions)
    dirty = ", with changes not committed" if manifest["dirty"] else ""
    return (
        f"Commit {manifest['commit'][:10] or 'unknown'}{dirty}; {manifest['started'][:10]}; "
        f"{packages}; Python {manifest['python']}; {manifest['cpus']} CPU cores, "
        f"{manifest['processor']}; load before the start {manifest['load']}."
    )


def _ratios(group: str, results: Of) -> list[str]:
    """Returns a table for each thing that is done: ours in milliseconds, the others as ratios."""
    names = [each.name for each in CONTENDERS[group]]
    shown = [name for name in names if _any(results, name, "not_offered")]
    whats = list(dict.fromkeys(what for each in results.values() for what in each.seconds))
    parts = []
    for what in whats:
        rows = []
        for case in (each.name for each in cases(group) if not each.spec.get("full")):
            ours = results.get((case, names[0]))
            if not ours or not ours.rounds:
                continue
            row = [case, f"{1e3 * statistics.median(ours.seconds[what]):.3g} ms", f"{ours.rounds}"]
            row += [_cell(results.get((case, name)), ours, what) for name in shown[1:]]
            rows.append(row)
        heads = [what, names[0], "rounds", *(f"{name} / {names[0]}" for name in shown[1:])]
        parts.append(markdown.table(heads, rows))
    return parts


def _any(results: Of, name: str, but: str) -> bool:
    """Returns whether a contender has results other than of that reason."""
    return any(each.reason != but for (_, other), each in results.items() if other == name)


def _cell(theirs: Result | None, ours: Result, what: str) -> str:
    if theirs is None:
        return ""
    if theirs.reason:
        return {"missing": "missing", "error": "failed", "not_offered": "none"}[theirs.reason]
    return str(ratio(theirs.seconds[what], ours.seconds[what]))


def _notes(results: Of) -> list[str]:
    """Returns a list of those that are missing or failed, and of disturbances."""
    notes: dict[str, list[str]] = {}
    for (case, name), each in results.items():
        if each.reason == "missing":
            notes.setdefault(f"{name} is missing: {each.why}.", [])
        elif each.reason == "error":
            notes.setdefault(f"{name} failed: {' '.join(each.why.split())}", []).append(case)
    lines = [f"- {note}" + (f" ({'; '.join(of)})" if of else "") for note, of in notes.items()]
    idle = max((each.facts.get("idle_cpu", 0.0) for each in results.values()), default=0.0)
    if idle > 0.05:
        lines.append(f"- Processes that should have been idle took up to {idle:.2f} cores.")
    return ["\n".join(lines)] if lines else []


def _lesson(group: str, results: Of) -> list[str]:
    cold, warm, keras = (each.name for each in CONTENDERS[group])
    networks = [each.name for each in cases(group)]
    parts = []
    for what in ("command", "training"):
        rows, whole = [], []
        for network in networks:
            found = [results.get((network, name)) for name in (keras, cold, warm)]
            medians = [_median(each, what) for each in found]
            whole.append(medians)
            rows.append([network, *_seconds_and_ratios(medians)])
        sums = [None if None in column else sum(column) for column in zip(*whole, strict=True)]
        rows.append(["all", *_seconds_and_ratios(sums)])
        heads = [f"seconds, {what}", keras, cold, warm, "Keras / cold", "Keras / warm"]
        parts.append(markdown.table(heads, rows))
    rows = []
    for network in networks:
        facts = [each.facts if (each := results.get((network, n))) else {} for n in (cold, keras)]
        compilations = facts[0].get("compilations", {}).get("train", "")
        buckets = len(facts[0].get("buckets", ())) or ""
        accuracies = [str(each.get("test_accuracy", "")) for each in facts]
        rows.append([network, f"{compilations}", f"{buckets}", *accuracies])
    heads = [
        "",
        "compilations of the step",
        "padded lengths",
        "accuracy, rnnjax",
        "accuracy, Keras",
    ]
    return [*parts, markdown.table(heads, rows)]


def _median(result: Result | None, what: str) -> float | None:
    return statistics.median(result.seconds[what]) if result and result.rounds else None


def _seconds_and_ratios(seconds: Iterable[float | None]) -> list[str]:
    keras, *ours = (seconds := list(seconds))
    shown = ["" if each is None else f"{each:.1f}" for each in seconds]
    ratios = ["" if keras is None or each is None else f"{keras / each:.1f}" for each in ours]
    return [*shown, *ratios]


def _text(group: str, results: Of) -> list[str]:
    rows = []
    for name in (each.name for each in CONTENDERS[group]):
        for (_, other), result in results.items():
            if other == name and result.rounds:
                read, batches = (_median(result, what) or 0.0 for what in ("read", "batches"))
                count = result.facts["rows"]
                per_second = (f"{count / each:,.0f}" for each in (batches, read + batches))
                rows.append([name, f"{count:,}", f"{read:.2f} s", f"{batches:.2f} s", *per_second])
            elif other == name:
                rows.append([name, result.reason, "", "", "", ""])
    heads = ["", "rows", "read the files", "vocabulary, tokens, batches"]
    return [markdown.table([*heads, "rows a second, of these", "with reading"], rows)]


def _growth(group: str, results: Of) -> list[str]:
    names = [each.name for each in CONTENDERS[group]]
    shown = [name for name in names if _any(results, name, "not_offered")]
    columns = {
        "ms": lambda each: 1e3 * statistics.median(each.seconds[BOTH]),
        "MiB": lambda each: each.facts.get("temp_bytes", float("nan")) / 2**20,
        "compiling, s": lambda each: each.facts["compile_seconds"],
    }
    heads = [f"{name}, {column}" for name in shown for column in columns]
    rows, powers = [], []
    for axis, values in GROWTH.items():
        curves: dict[str, list[tuple[float, float]]] = {head: [] for head in heads}
        for value in values:
            row = [f"{axis}={value}"]
            for name in shown:
                result = results.get((row[0], name))
                for column, figure in columns.items():
                    found = figure(result) if result and result.rounds else None
                    row.append("" if found is None else f"{found:.3g}")
                    if found:
                        curves[f"{name}, {column}"].append((value, found))
            rows += [row] if any(row[1:]) else []
        powers.append([axis, *(_power(curve) for curve in curves.values())])
    return [markdown.table(["", *heads], rows), markdown.table(["exponent of", *heads], powers)]


def _power(curve: list[tuple[float, float]]) -> str:
    return f"{exponent(*zip(*curve, strict=True)):.2f}" if len(curve) > 1 else ""
