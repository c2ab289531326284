"""Tables of README.md, rendered from the results."""

import statistics
from collections.abc import Iterable
from pathlib import Path

import plots
from cases import CONTENDERS, FORWARD_BACKWARD, GROWTH, cases
from rnnjax.reporting import markdown
from runs import Result, Runs, exponent, machine_name, ratio

NOTHING = (
    "Nothing has been measured yet: no layer, no training step, no lesson, no text and no growth; "
    "the command above fills this part."
)

GroupResults = dict[tuple[str, str], Result]
"""The results of one group, by case and contender."""

_TITLES = {
    "layers": "Layers",
    "linear": "Linear recurrences by engine",
    "steps": "Training steps of the lesson's networks",
    "language_models": "Training steps of language models",
    "softmax": "The softmax over a vocabulary: loss and gradient",
    "replicates": "A training step of several seeds side by side",
    "lesson": "The lesson, end to end",
    "text": "From CSV files to padded batches",
    "growth": "Growth",
}


def draw(runs: Runs, folder: Path) -> None:
    """Draws the plots into a folder."""
    for group, results, name in _plots(runs):
        plots.draw(group, results, folder / name)


def describe_plots(runs: Runs) -> dict[str, str]:
    """Returns the values of the plots as text, by their names."""
    return {name: plots.describe(group, results) for group, results, name in _plots(runs)}


def _plots(runs: Runs) -> list[tuple[str, GroupResults, str]]:
    """Returns group, results and name of every plot."""
    drawn = []
    for machine in _measured_machines(runs):
        for group in _TITLES:
            results = _newest_results(runs, machine, group)
            if plots.describe(group, results):
                drawn.append((group, results, _plot_name(machine, group)))
    return drawn


def _measured_machines(runs: Runs) -> list[str]:
    measured = (runs.manifests[key] for key, results in runs.results.items() if results)
    return list(dict.fromkeys(map(machine_name, measured)))


def _newest_results(runs: Runs, machine: str, group: str) -> GroupResults:
    results = runs.results.get(runs.newest(machine, group), {})
    return {key[1:]: result for key, result in results.items() if key[0] == group}


def _plot_name(machine: str, group: str) -> str:
    letters = [letter if letter.isalnum() else " " for letter in machine.lower()]
    return f"{'-'.join(''.join(letters).split()[:4])}-{group}.svg"


def newest_lesson_table(runs: Runs) -> str:
    """Returns the newest wall times of the lesson's commands as a table."""
    machines = dict.fromkeys(map(machine_name, runs.manifests.values()))
    candidates = [key for machine in machines if (key := runs.newest(machine, "lesson"))]
    if not candidates:
        return NOTHING
    newest = max(candidates, key=lambda key: runs.manifests[key]["started"])
    manifest = runs.manifests[newest]
    command, *_ = _lesson("lesson", _newest_results(runs, machine_name(manifest), "lesson"))
    return f"{command}\n\n{_describe_manifest(manifest)}"


def padded_torch_lead(runs: Runs) -> str:
    """Returns by how much PyTorch's LSTM without packing is faster than rnnjax, forward."""
    parts = []
    reference_name = CONTENDERS["layers"][0].name
    for machine in dict.fromkeys(map(machine_name, runs.manifests.values())):
        results = _newest_results(runs, machine, "layers")
        times = []
        for (case, name), result in results.items():
            if name != "PyTorch, padded" or not case.startswith("lstm") or " full" in case:
                continue
            reference = results.get((case, reference_name))
            if reference and reference.rounds and result.rounds:
                times.append(ratio(reference.seconds["forward"], result.seconds["forward"]).median)
        if times:
            faster = sum(time > 1 for time in times)
            parts.append(
                f"On {machine}, PyTorch's LSTM without packing is faster forward in {faster} of "
                f"{len(times)} cases, by up to {max(times):.1f} times."
            )
    return "\n\n".join(parts) or NOTHING


def render(runs: Runs) -> str:
    """Returns a section for each machine with results."""
    sections = [_render_machine(runs, machine) for machine in _measured_machines(runs)]
    return "\n\n".join(sections) or NOTHING


def _render_machine(runs: Runs, machine: str) -> str:
    parts, missing = [f"## {machine}"], []
    for group, title in _TITLES.items():
        results = _newest_results(runs, machine, group)
        if not results:
            missing.append(group)
            continue
        manifest = runs.manifests[runs.newest(machine, group)]
        parts += [f"### {title}", _describe_manifest(manifest)]
        parts += _RENDERERS.get(group, _ratios)(group, results)
        parts += _notes(results)
        if plots.describe(group, results):
            parts.append(f"![{title}]({_plot_name(machine, group)})")
    if missing:
        parts.append(f"Not measured on this machine: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _describe_manifest(manifest: dict) -> str:
    versions = manifest["packages"] | manifest["peers"]
    names = ("jax", "flax", "keras", "tensorflow", "tensorflow-cpu", "torch")
    packages = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    dirty = ", with changes not committed" if manifest["dirty"] else ""
    return (
        f"Commit {manifest['commit'][:10] or 'unknown'}{dirty}; {manifest['started'][:10]}; "
        f"{packages}; Python {manifest['python']}; {manifest['cpus']} CPU cores, "
        f"{manifest['processor']}; load before the start {manifest['load']}."
    )


def _ratios(group: str, results: GroupResults) -> list[str]:
    """Returns a table for each operation: milliseconds of the reference, ratios of the rest."""
    names = _offering_contenders(group, results)
    reference_name = CONTENDERS[group][0].name
    columns = [name for name in names if name != reference_name]
    operations = dict.fromkeys(name for result in results.values() for name in result.seconds)
    parts = []
    for operation in operations:
        rows = []
        for case in (case.name for case in cases(group) if not case.spec.get("full")):
            reference = results.get((case, reference_name))
            if not reference or not reference.rounds:
                continue
            milliseconds = 1e3 * statistics.median(reference.seconds[operation])
            row = [case, f"{milliseconds:.3g} ms", f"{reference.rounds}"]
            row += [_ratio(results.get((case, name)), reference, operation) for name in columns]
            rows.append(row)
        ratio_heads = (f"{name} / {reference_name}" for name in columns)
        parts.append(markdown.table([operation, reference_name, "rounds", *ratio_heads], rows))
    return parts


def _ratios_and_memory(group: str, results: GroupResults) -> list[str]:
    """Returns the tables of ratios, and one of the memory of forward and backward."""
    names = _offering_contenders(group, results)
    rows = []
    for case in cases(group):
        sizes = [
            result.facts.get("temp_bytes") if (result := results.get((case.name, name))) else None
            for name in names
        ]
        if any(sizes):
            rows.append(
                [case.name, *("" if size is None else f"{size / 2**20:.0f}" for size in sizes)]
            )
    return [*_ratios(group, results), markdown.table([f"{FORWARD_BACKWARD}, MiB", *names], rows)]


def _offering_contenders(group: str, results: GroupResults) -> list[str]:
    """Returns the contenders with any result except 'not_offered'."""
    offering = {name for (_, name), result in results.items() if result.failure != "not_offered"}
    return [contender.name for contender in CONTENDERS[group] if contender.name in offering]


def _ratio(result: Result | None, reference: Result, operation: str) -> str:
    if result is None:
        return ""
    if result.failure:
        return {"missing": "missing", "error": "failed", "not_offered": "none"}[result.failure]
    return str(ratio(result.seconds[operation], reference.seconds[operation]))


def _notes(results: GroupResults) -> list[str]:
    """Returns a list of missing contenders, failures and disturbances."""
    notes: dict[str, list[str]] = {}
    for (case, name), result in results.items():
        if result.failure == "missing":
            notes.setdefault(f"{name} is missing: {result.message}.", [])
        elif result.failure == "error":
            message = " ".join(result.message.split())
            notes.setdefault(f"{name} failed: {message}", []).append(case)
    lines = [
        f"- {note}" + (f" ({'; '.join(note_cases)})" if note_cases else "")
        for note, note_cases in notes.items()
    ]
    idle = max((result.facts.get("idle_cpu", 0.0) for result in results.values()), default=0.0)
    if idle > 0.05:
        lines.append(f"- Processes that should have been idle took up to {idle:.2f} cores.")
    return ["\n".join(lines)] if lines else []


def _lesson(group: str, results: GroupResults) -> list[str]:
    cold, warm, keras = (contender.name for contender in CONTENDERS[group])
    networks = [case.name for case in cases(group)]
    parts = []
    for operation in ("command", "training"):
        rows, medians = [], []
        for network in networks:
            row = [_median(results.get((network, name)), operation) for name in (keras, cold, warm)]
            medians.append(row)
            rows.append([network, *_seconds_and_ratios(row)])
        sums = [None if None in column else sum(column) for column in zip(*medians, strict=True)]
        rows.append(["all", *_seconds_and_ratios(sums)])
        heads = [f"seconds, {operation}", keras, cold, warm, "Keras / cold", "Keras / warm"]
        parts.append(markdown.table(heads, rows))
    rows = []
    for network in networks:
        rnnjax_facts, keras_facts = (
            result.facts if (result := results.get((network, name))) else {}
            for name in (cold, keras)
        )
        compilations = rnnjax_facts.get("compilations", {}).get("train", "")
        buckets = len(rnnjax_facts.get("buckets", ())) or ""
        accuracies = (str(facts.get("test_accuracy", "")) for facts in (rnnjax_facts, keras_facts))
        rows.append([network, f"{compilations}", f"{buckets}", *accuracies])
    heads = [
        "",
        "compilations of the step",
        "padded lengths",
        "accuracy, rnnjax",
        "accuracy, Keras",
    ]
    return [*parts, markdown.table(heads, rows)]


def _median(result: Result | None, operation: str) -> float | None:
    return statistics.median(result.seconds[operation]) if result and result.rounds else None


def _seconds_and_ratios(seconds: Iterable[float | None]) -> list[str]:
    keras, *rnnjax = (seconds := list(seconds))
    cells = ["" if value is None else f"{value:.1f}" for value in seconds]
    ratios = ["" if keras is None or value is None else f"{keras / value:.1f}" for value in rnnjax]
    return [*cells, *ratios]


def _text(group: str, results: GroupResults) -> list[str]:
    rows = []
    for contender in CONTENDERS[group]:
        for (_, name), result in results.items():
            if name != contender.name:
                continue
            if not result.rounds:
                rows.append([name, result.failure, *[""] * 6])
                continue
            seconds = _text_seconds(result)
            count = result.facts["rows"]
            sums = (seconds[2], seconds[0] + seconds[2], seconds[1] + seconds[2])
            rates = (f"{count / total:,.0f}" for total in sums)
            rows.append([name, f"{count:,}", *(f"{value:.2f} s" for value in seconds), *rates])
    heads = ["", "rows", "read the files", "again", "vocabulary, tokens, batches"]
    rates = ["rows a second, of these", "with reading", "reading again"]
    return [markdown.table([*heads, *rates], rows)]


def _text_seconds(result: Result) -> tuple[float, float, float]:
    """Returns the seconds of reading the files, of reading them again, and of their batches.

    Who prepares nothing reads them again in the same time.
    """
    read, batches = (_median(result, key) or 0.0 for key in ("read", "batches"))
    is_prepared = "read again" in result.seconds
    return read, (_median(result, "read again") or 0.0) if is_prepared else read, batches


def text_lead(runs: Runs) -> str:
    """Returns by how much peers turn files into batches faster than rnnjax, first time or again."""
    parts = []
    reference_name, *peers = (contender.name for contender in CONTENDERS["text"])
    for machine in dict.fromkeys(map(machine_name, runs.manifests.values())):
        results = _newest_results(runs, machine, "text")
        for (case, name), result in results.items():
            reference = results.get((case, reference_name))
            if name not in peers or not (reference and reference.rounds and result.rounds):
                continue
            seconds, peer_seconds = _text_seconds(reference), _text_seconds(result)
            for index, label in enumerate(("the first time", "again")):
                lead = (seconds[index] + seconds[2]) / (peer_seconds[index] + peer_seconds[2])
                if lead > 1:
                    parts.append(
                        f"On {machine}, {name} turns CSV files into batches {lead:.1f} times as "
                        f"fast {label}, reading included."
                    )
    return "\n\n".join(parts)


def _growth(group: str, results: GroupResults) -> list[str]:
    names = _offering_contenders(group, results)
    columns = {
        "ms": lambda result: 1e3 * statistics.median(result.seconds[FORWARD_BACKWARD]),
        "MiB": lambda result: result.facts.get("temp_bytes", float("nan")) / 2**20,
        "compiling, s": lambda result: result.facts["compile_seconds"],
    }
    heads = [f"{name}, {column}" for name in names for column in columns]
    rows, powers = [], []
    for axis, sizes in GROWTH.items():
        curves: dict[str, list[tuple[float, float]]] = {head: [] for head in heads}
        for size in sizes:
            row = [f"{axis}={size}"]
            for name in names:
                result = results.get((row[0], name))
                for column, compute in columns.items():
                    value = compute(result) if result and result.rounds else None
                    row.append("" if value is None else f"{value:.3g}")
                    if value:
                        curves[f"{name}, {column}"].append((size, value))
            rows += [row] if any(row[1:]) else []
        powers.append([axis, *map(_exponent, curves.values())])
    return [markdown.table(["", *heads], rows), markdown.table(["exponent of", *heads], powers)]


def _exponent(curve: list[tuple[float, float]]) -> str:
    return f"{exponent(*zip(*curve, strict=True)):.2f}" if len(curve) > 1 else ""


_RENDERERS = {
    "growth": _growth,
    "lesson": _lesson,
    "linear": _ratios_and_memory,
    "softmax": _ratios_and_memory,
    "text": _text,
}
"""By group, unless `_ratios` renders it."""
