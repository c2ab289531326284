"""Verifies that records, configs, claims and pages of an experiment agree."""

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.config.catalog import read_docstring
from rnnjax.errors import InputError
from rnnjax.experiment import page_rendering, pages, prose_numbers
from rnnjax.experiment.claims import (
    FAIL,
    PASS,
    UNCHECKED,
    ClaimResult,
    check_seal,
    evaluate_claims,
    format_seeds,
)
from rnnjax.experiment.page_rendering import README, SUMMARY_PAGES
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.records import Run
from rnnjax.reporting import markdown, metrics_log, record_digest


class VerificationResult(NamedTuple):
    """Results for the folder of an experiment.

    Attributes:
      results: verdicts of the checks.
      parts: rendered parts by the names of their marks.
      sentences: those that the docstring of a config may quote, by the config's file.
    """

    results: list[ClaimResult]
    parts: dict[str, str]
    sentences: dict[Path, list[str]]


def check_folder(folder: Path, phrases: Mapping[str, Sequence[str]]) -> VerificationResult:
    """Checks everything in the folder of an experiment.

    With an edited record nothing else is checked, because the rest follows from it.

    Args:
      folder: with an experiment.toml, or with records and a script that renders them.
      phrases: phrases with numbers that no run has measured, by page.

    Raises:
      InputError: a file cannot be read, or a claim is about a number that no run has.
    """
    planned = (folder / PLAN).exists() or not (folder / README).exists()
    experiment = Experiment.read(folder) if planned else None
    if edited := _edited_records(folder):
        return VerificationResult(edited, {}, {})
    results: list[ClaimResult] = []
    parts: dict[str, str] = {}
    sentences: dict[Path, list[str]] = {}
    if experiment:
        results += check_records(experiment, experiment.configs())
        failed = {result.subject for result in results}  # runs of another config prove no claim
        results = results or [
            ClaimResult(PASS, str(experiment.records), f"{len(experiment.runs)} runs")
        ]
        if experiment.plan.sweep:
            results.append(check_search(experiment))
        for entry in experiment.plan.entry:
            if entry.name not in failed:
                results += check_seal(experiment, entry)
                results += evaluate_claims(experiment, entry)
        parts |= pages.parts(experiment)
        sentences = pages.sentences(experiment)
        results += _check_docstrings(experiment, sentences)
    parts |= page_rendering.render_by_script(folder)
    results += check_pages(folder, parts)
    page = folder / README
    text = prose_numbers.blank_parts(markdown.read(page), parts)
    return VerificationResult([*results, check_prose(page, text, phrases)], parts, sentences)


def check_repository(
    folders: Sequence[VerificationResult], phrases: Mapping[str, Sequence[str]]
) -> list[ClaimResult]:
    """Checks the prose of the pages above the experiments and of the docstrings of configs.

    Args:
      folders: results for all experiments.
      phrases: phrases with numbers that no run has measured, by page.
    """
    results = []
    parts = [name for folder in folders for name in folder.parts]
    for page in filter(Path.exists, [*SUMMARY_PAGES, *sorted(Path("rnnjax").glob("*/README.md"))]):
        if not page.parent.is_symlink():
            text = prose_numbers.blank_parts(markdown.read(page), parts)
            results.append(check_prose(page, text, phrases))
    for config in sorted(Path("configs").glob("*.py")):
        sentences = [text for folder in folders for text in folder.sentences.get(config, [])]
        docstring = read_docstring(config)
        text = prose_numbers.blank_sentences(docstring, sentences)
        results.append(check_prose(config, text, phrases))
    return results + [
        ClaimResult(FAIL, str(prose_numbers.TYPED), f"lists {page}, which does not exist")
        for page in phrases
        if not Path(page).exists()
    ]


def check_prose(page: Path, text: str, phrases: Mapping[str, Sequence[str]]) -> ClaimResult:
    """Checks that the numbers in the prose of a page are listed in typed.toml.

    Args:
      page: its file.
      text: the page without its rendered parts.
      phrases: by page; the numbers of a page without any are UNCHECKED.
    """
    listed = phrases.get(page.as_posix())
    problems = prose_numbers.find_problems(text, listed or ())
    if not problems:
        message = f"has {len(listed or ())} numbers in prose, listed in {prose_numbers.TYPED}"
        return ClaimResult(PASS, str(page), message if listed else "has no number in prose")
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    message = (
        f"has numbers in prose that no record has: {'; '.join(problems[:5])}{more}; render it from "
        f"a record, or list the phrase with it in {prose_numbers.TYPED}"
    )
    return ClaimResult(UNCHECKED if listed is None else FAIL, str(page), message)


def check_records(experiment: Experiment, configs: Mapping[str, Config]) -> list[ClaimResult]:
    """Returns failures of the records: edited, duplicate, of no entry, or of another config."""
    if edited := _edited_records(experiment.folder):
        return edited
    keys = [(run["name"], run["seed"]) for run in experiment.runs]
    results = [
        ClaimResult(FAIL, str(experiment.records), f"has {name}, seed {seed}, more than once")
        for name, seed in sorted({key for key in keys if keys.count(key) > 1})
    ]
    stale: dict[tuple[str, str], list[int]] = {}
    for run in experiment.runs:
        if reason := _stale_reason(run, configs):
            stale.setdefault((run["name"], reason), []).append(run["seed"])
    return results + [
        ClaimResult(FAIL, name, f"seeds {format_seeds(sorted(seeds))} {reason}")
        for (name, reason), seeds in stale.items()
    ]


def check_search(experiment: Experiment) -> ClaimResult:
    """Checks that the recorded trials are those of the sweep, of the present config, and all."""
    sweep, subject = experiment.sweep, str(experiment.search_records)
    if reason := find_stale_trial(experiment):
        return ClaimResult(FAIL, subject, reason)
    if len(experiment.trials) < sweep.budget:
        message = f"has {len(experiment.trials)} of {sweep.budget} trials; run the experiment"
        return ClaimResult(FAIL, subject, message)
    return ClaimResult(PASS, subject, f"{len(experiment.trials)} trials")


def find_stale_trial(experiment: Experiment) -> str:
    """Returns how a recorded trial differs from the sweep or its config, '' if none does."""
    sweep = experiment.sweep
    numbers = [trial["trial"] for trial in experiment.trials]
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(sweep.budget)):
        return f"has the trials {sorted(numbers)} of {sweep.budget}; expected each of them once"
    for trial in experiment.trials:
        setting, name = trial["values"], f"trial {trial['trial']}"
        if differences := sweep.differences(trial["sweep"]):
            return f"{name} is of another [sweep] (now, then): {'; '.join(differences)}"
        if "config" in trial:
            run = {"name": name, "config": trial["config"]}
            if reason := _stale_reason(run, {name: experiment.trial_config(setting)}):
                return f"the values of {name} {reason}"
    return ""


def _edited_records(folder: Path) -> list[ClaimResult]:
    return [
        ClaimResult(FAIL, f"{path}, line {number}", f"{_run_name(line)}{record_digest.BROKEN}")
        for path in sorted(folder.glob("*.jsonl"))
        for number, line in enumerate(metrics_log.read(path), start=1)
        if not record_digest.has_valid_digest(line)
    ]


def _run_name(line: Run) -> str:
    return f"{line['name']}, seed {line['seed']}, " if {"name", "seed"} <= set(line) else ""


def _stale_reason(run: Run, configs: Mapping[str, Config]) -> str:
    """Returns how a run's config differs from that of its entry, '' if it does not.

    Keys that the config had not when the run was recorded have the values of `TaskSchema.recorded`,
    or their defaults.
    """
    if run["name"] not in configs:
        return "are of no entry of experiment.toml"
    current = configs[run["name"]]
    try:
        values = {**copy.deepcopy(run["config"]), "seed": current.seed}
        for key, value in current.task_schema.recorded.items():
            section, _, name = key.rpartition(".")
            functools.reduce(dict.__getitem__, section.split("."), values).setdefault(name, value)
        is_imported = values.get("task") == current.task
        recorded = config_lib.parse_recorded(values, trust=is_imported)
    except InputError as error:
        return f"are of a config that is not valid any more: {error}"
    differences = config_lib.differences(current, recorded)
    return f"are of another config (now, then): {'; '.join(differences)}" if differences else ""


def check_pages(folder: Path, parts: Mapping[str, str]) -> list[ClaimResult]:
    """Checks that pages and plots of a folder show its records."""
    results = []
    for path, expected in page_rendering.fill_pages(folder, parts).items():
        if (actual := path.read_text(encoding="utf-8")) == expected:
            results.append(ClaimResult(PASS, str(path), "shows the records"))
            continue
        lines = zip(actual.splitlines(), expected.splitlines(), strict=False)
        differing = (number for number, (a, b) in enumerate(lines, start=1) if a != b)
        line = next((f"line {number}" for number in differing), "its end")
        message = f"does not show the records at {line}; run the experiment to render it"
        results.append(ClaimResult(FAIL, str(path), message))
    for name in filter(page_rendering.is_plot, parts):
        path = folder / name
        if page_rendering.has_description(path, parts[name]):
            results.append(ClaimResult(PASS, str(path), "shows the records"))
        else:
            message = "shows other runs, or is missing; run the experiment to draw it"
            results.append(ClaimResult(FAIL, str(path), message))
    return results


def _check_docstrings(
    experiment: Experiment, sentences: Mapping[Path, Sequence[str]]
) -> list[ClaimResult]:
    """Checks that each config whose docstring names the experiment quotes its sentences."""
    results = []
    for path in dict.fromkeys(Path(entry.config) for entry in experiment.plan.entry):
        docstring = " ".join(read_docstring(path).split())
        name = rf"{re.escape(experiment.name)}(?![\w-])"
        if not re.search(name, docstring):
            continue
        expected = sentences.get(path, [])
        starts = [match.start() for match in re.finditer(rf"{name}, [^\s:]+:", docstring)]
        quoted = [any(docstring.startswith(text, start) for text in expected) for start in starts]
        if quoted and all(quoted):
            results.append(ClaimResult(PASS, str(path), "shows the records"))
        elif expected:
            listed = "".join(f"\n    {text}" for text in expected)
            message = f"names {experiment.name} and does not quote, or not only:{listed}"
            results.append(ClaimResult(FAIL, str(path), message))
        else:
            message = f"names {experiment.name}, which has no runs of it"
            results.append(ClaimResult(FAIL, str(path), message))
    return results
