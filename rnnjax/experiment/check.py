"""Whether the records, the configs, the claims and the pages of an experiment agree."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import pages, plot
from rnnjax.experiment.claims import FAIL, PASS, Finding, in_words, judge
from rnnjax.experiment.folder import Experiment
from rnnjax.experiment.records import Run
from rnnjax.reporting import seal


def check(experiment: Experiment, configs: Mapping[str, Config]) -> list[Finding]:
    """Returns the verdict on everything that the experiment says.

    Of one with an edited line nothing else is judged: whatever follows from the line is not known.

    Args:
      experiment: what is recorded.
      configs: what its entries ask for now, by name.

    Raises:
      InputError: something cannot be read, or a claim is about what no run has.
    """
    if edited := _edited(experiment):
        return edited
    found = of_records(experiment, configs)
    others = {finding.of for finding in found}  # runs of another config say nothing of a claim
    found = found or [Finding(PASS, str(experiment.records), f"{len(experiment.runs)} runs")]
    for entry in experiment.plan.entry:
        found += judge(experiment, entry) if entry.name not in others else []
    return [*found, *_of_pages(experiment), *_of_docstrings(experiment)]


def of_records(experiment: Experiment, configs: Mapping[str, Config]) -> list[Finding]:
    """Returns what is wrong with the runs: edited, there twice, of no entry, of another config."""
    if edited := _edited(experiment):
        return edited
    pairs = [(run["name"], run["seed"]) for run in experiment.runs]
    found = [
        Finding(FAIL, str(experiment.records), f"has {name}, seed {seed}, more than once")
        for name, seed in sorted({pair for pair in pairs if pairs.count(pair) > 1})
    ]
    stale: dict[tuple[str, str], list[int]] = {}
    for run in experiment.runs:
        why = _other_than_asked(run, configs)
        if why:
            stale.setdefault((run["name"], why), []).append(run["seed"])
    return found + [
        Finding(FAIL, name, f"seeds {in_words(sorted(seeds))} {why}")
        for (name, why), seeds in stale.items()
    ]


def _edited(experiment: Experiment) -> list[Finding]:
    files = {"runs": experiment.runs, **pages.others(experiment)}
    return [
        Finding(
            FAIL,
            f"{experiment.folder / name}.jsonl, line {number}",
            f"{run['name']}, seed {run['seed']}, {seal.BROKEN}",
        )
        for name, runs in files.items()
        for number, run in enumerate(runs, start=1)
        if not seal.is_whole(run)
    ]


def _other_than_asked(run: Run, configs: Mapping[str, Config]) -> str:
    """Returns in what a run differs from what is asked for now, '' if in nothing.

    A record from before a key was there is of its default.
    """
    if run["name"] not in configs:
        return "are of no entry of experiment.toml"
    now = configs[run["name"]]
    try:
        theirs = config_lib.parse({**run["config"], "seed": now.seed})
    except InputError as error:
        return f"are of a config that is none now: {error}"
    differing = config_lib.differences(now, theirs)
    return f"are of another config (now, then): {'; '.join(differing)}" if differing else ""


def _of_pages(experiment: Experiment) -> list[Finding]:
    found = []
    for path, expected in pages.pages(experiment).items():
        given = path.read_text(encoding="utf-8")
        lines = zip(given.splitlines(), expected.splitlines(), strict=False)
        differing = [number for number, (a, b) in enumerate(lines, start=1) if a != b]
        where = f"line {differing[0]}" if differing else "its end"
        says = f"is not what the runs say at {where}; run the experiment to render it"
        ours = Finding(PASS, str(path), "says what the runs say")
        found.append(ours if given == expected else Finding(FAIL, str(path), says))
    path = experiment.folder / pages.PLOT
    if experiment.runs:
        drawn = path.exists() and plot.shows(
            path.read_text(encoding="utf-8", errors="replace"), experiment
        )
        says = "shows other runs, or is missing; run the experiment to draw it"
        ours = Finding(PASS, str(path), "shows the runs")
        found.append(ours if drawn else Finding(FAIL, str(path), says))
    return found


def _of_docstrings(experiment: Experiment) -> list[Finding]:
    """Returns whether each config that names the experiment says of it what its runs say."""
    found = []
    for config in dict.fromkeys(entry.config for entry in experiment.plan.entry):
        tree = ast.parse(Path(config).read_text(encoding="utf-8"))
        said = " ".join((ast.get_docstring(tree) or "").split())
        named = rf"{re.escape(experiment.name)}(?![\w-])"
        if not re.search(named, said):
            continue
        sentences = [
            pages.sentence(experiment, entry)
            for entry in experiment.plan.entry
            if entry.config == config and experiment.runs_of(entry)
        ]
        starts = [match.start() for match in re.finditer(rf"{named}, [^\s:]+:", said)]
        right = [any(said.startswith(each, start) for each in sentences) for start in starts]
        if right and all(right):
            found.append(Finding(PASS, config, "says what the runs say"))
        elif sentences:
            listed = "".join(f"\n    {each}" for each in sentences)
            says = f"names {experiment.name} and does not say of it, or not only:{listed}"
            found.append(Finding(FAIL, config, says))
        else:
            found.append(Finding(FAIL, config, f"names {experiment.name}, which has no runs of it"))
    return found
