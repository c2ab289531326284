"""Whether the records, the configs, the claims and the pages of an experiment agree."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import page_rendering, pages, prose_numbers
from rnnjax.experiment.claim_digests import check_seal
from rnnjax.experiment.claims import FAIL, PASS, UNCHECKED, ClaimResult, in_words, judge
from rnnjax.experiment.page_rendering import README
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.records import Run
from rnnjax.reporting import markdown, metrics_log, record_digest


class VerificationResult(NamedTuple):
    """The folder of an experiment, checked.

    Attributes:
      findings: the verdicts.
      parts: what is rendered from its records, by the names of the marks.
      sentences: what the docstring of a config may say of it, by the config's file.
    """

    findings: list[ClaimResult]
    parts: dict[str, str]
    sentences: dict[Path, list[str]]


def check_folder(folder: Path, typed: Mapping[str, Sequence[str]]) -> VerificationResult:
    """Returns the verdict on everything that the folder of an experiment says.

    Of one with an edited line nothing else is judged: whatever follows from the line is not known.

    Args:
      folder: with an experiment.toml, or with records and a script that renders them.
      typed: the phrases with numbers that no run has measured, by page.

    Raises:
      InputError: something cannot be read, or a claim is about what no run has.
    """
    planned = (folder / PLAN).exists() or not (folder / README).exists()
    experiment = Experiment.read(folder) if planned else None
    if edited := _edited(folder):
        return VerificationResult(edited, {}, {})
    found: list[ClaimResult] = []
    parts: dict[str, str] = {}
    sentences: dict[Path, list[str]] = {}
    if experiment:
        configs = experiment.configs()
        found += of_records(experiment, configs)
        others = {finding.of for finding in found}  # runs of another config say nothing of a claim
        found = found or [
            ClaimResult(PASS, str(experiment.records), f"{len(experiment.runs)} runs")
        ]
        for entry in experiment.plan.entry:
            if entry.name not in others:
                found += check_seal(experiment, entry, configs[entry.name])
                found += judge(experiment, entry)
        parts |= pages.parts(experiment)
        sentences = pages.sentences(experiment)
        found += _of_docstrings(experiment, sentences)
    parts |= page_rendering.rendered_by_script(folder)
    found += of_pages(folder, parts)
    page = folder / README
    text = prose_numbers.without_parts(markdown.read(page), parts)
    return VerificationResult([*found, of_prose(page, text, typed)], parts, sentences)


def check_repository(
    checked: Iterable[VerificationResult], typed: Mapping[str, Sequence[str]]
) -> list[ClaimResult]:
    """Returns the verdict on the prose of README.md and of the docstrings of configs.

    Args:
      checked: all experiments there are.
      typed: the phrases with numbers that no run has measured, by page.
    """
    checked = list(checked)
    found = []
    if Path(README).exists():
        parts = [name for each in checked for name in each.parts]
        text = prose_numbers.without_parts(markdown.read(Path(README)), parts)
        found.append(of_prose(Path(README), text, typed))
    for config in sorted(Path("configs").glob("*.py")):
        said = [sentence for each in checked for sentence in each.sentences.get(config, [])]
        found.append(of_prose(config, prose_numbers.without_sentences(config, said), typed))
    return found + [
        ClaimResult(FAIL, str(prose_numbers.TYPED), f"lists {page}, which is not there")
        for page in typed
        if not Path(page).exists()
    ]


def of_prose(page: Path, text: str, typed: Mapping[str, Sequence[str]]) -> ClaimResult:
    """Returns whether a page has numbers that neither a record nor typed.toml has.

    Args:
      page: where it stands.
      text: of it, without what is rendered.
      typed: phrases by page; a page that is not among them is not checked.
    """
    listed = typed.get(page.as_posix())
    wrong = prose_numbers.check_prose(text, listed or ())
    if not wrong:
        says = f"has {len(listed or ())} numbers in prose, listed in {prose_numbers.TYPED}"
        return ClaimResult(PASS, str(page), says if listed else "has no number in prose")
    numbers = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    cure = f"render it from a record, or list the phrase with it in {prose_numbers.TYPED}"
    verdict = FAIL if listed is not None else UNCHECKED
    return ClaimResult(
        verdict, str(page), f"has numbers in prose that no record has: {numbers}; {cure}"
    )


def of_records(experiment: Experiment, configs: Mapping[str, Config]) -> list[ClaimResult]:
    """Returns what is wrong with the runs: edited, there twice, of no entry, of another config."""
    if edited := _edited(experiment.folder):
        return edited
    pairs = [(run["name"], run["seed"]) for run in experiment.runs]
    found = [
        ClaimResult(FAIL, str(experiment.records), f"has {name}, seed {seed}, more than once")
        for name, seed in sorted({pair for pair in pairs if pairs.count(pair) > 1})
    ]
    stale: dict[tuple[str, str], list[int]] = {}
    for run in experiment.runs:
        why = _other_than_asked(run, configs)
        if why:
            stale.setdefault((run["name"], why), []).append(run["seed"])
    return found + [
        ClaimResult(FAIL, name, f"seeds {in_words(sorted(seeds))} {why}")
        for (name, why), seeds in stale.items()
    ]


def _edited(folder: Path) -> list[ClaimResult]:
    return [
        ClaimResult(FAIL, f"{path}, line {number}", f"{_name_of(line)}{record_digest.BROKEN}")
        for path in sorted(folder.glob("*.jsonl"))
        for number, line in enumerate(metrics_log.read(path), start=1)
        if not record_digest.has_valid_digest(line)
    ]


def _name_of(line: Run) -> str:
    return f"{line['name']}, seed {line['seed']}, " if {"name", "seed"} <= set(line) else ""


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


def of_pages(folder: Path, parts: Mapping[str, str]) -> list[ClaimResult]:
    """Returns whether the pages and drawings of a folder are what its records say."""
    found = []
    for path, expected in page_rendering.fill_pages(folder, parts).items():
        given = path.read_text(encoding="utf-8")
        lines = zip(given.splitlines(), expected.splitlines(), strict=False)
        differing = [number for number, (a, b) in enumerate(lines, start=1) if a != b]
        where = f"line {differing[0]}" if differing else "its end"
        says = f"is not what the runs say at {where}; run the experiment to render it"
        ours = ClaimResult(PASS, str(path), "says what the runs say")
        found.append(ours if given == expected else ClaimResult(FAIL, str(path), says))
    for name, description in parts.items():
        if page_rendering.is_drawing(name):
            path = folder / name
            says = "shows other runs, or is missing; run the experiment to draw it"
            ours = ClaimResult(PASS, str(path), "shows the runs")
            drawn = page_rendering.shows(path, description)
            found.append(ours if drawn else ClaimResult(FAIL, str(path), says))
    return found


def _of_docstrings(
    experiment: Experiment, sentences: Mapping[Path, Sequence[str]]
) -> list[ClaimResult]:
    """Returns whether each config that names the experiment says of it what its runs say."""
    found = []
    for path in dict.fromkeys(Path(entry.config) for entry in experiment.plan.entry):
        config = str(path)
        said = " ".join(prose_numbers.docstring(path).split())
        named = rf"{re.escape(experiment.name)}(?![\w-])"
        if not re.search(named, said):
            continue
        expected = sentences.get(path, [])
        starts = [match.start() for match in re.finditer(rf"{named}, [^\s:]+:", said)]
        right = [any(said.startswith(each, start) for each in expected) for start in starts]
        if right and all(right):
            found.append(ClaimResult(PASS, config, "says what the runs say"))
        elif expected:
            listed = "".join(f"\n    {each}" for each in expected)
            says = f"names {experiment.name} and does not say of it, or not only:{listed}"
            found.append(ClaimResult(FAIL, config, says))
        else:
            found.append(
                ClaimResult(FAIL, config, f"names {experiment.name}, which has no runs of it")
            )
    return found
