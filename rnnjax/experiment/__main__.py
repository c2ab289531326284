"""Runs what an experiment lacks, renders what it found, and checks what is claimed of it.

    python -m rnnjax.experiment experiments/lesson
    python -m rnnjax.experiment --check
    python -m rnnjax.experiment experiments/lesson --repeat=0 --entry=lstm
    python -m rnnjax.experiment experiments/lesson --seal='from the runs of seeds 0 to 4'

The first command trains each config of `experiment.toml` with each seed that `runs.jsonl` has not,
appends a line for each run that has ended, and renders the tables. Ctrl-C saves the runs at hand,
and the same command goes on. The second trains nothing and writes nothing: it reads the experiments
given, or all of `experiments/` with README.md and the configs, and says what holds. The third
trains a recorded seed again, in a new folder, and holds it against its record. The fourth seals
claims that were changed, with the reason.

They end with the verdicts, and with status 0 if none is FAIL or INCOMPARABLE, 1 if one is, and 2 if
there is something that cannot be read or run. What is UNCHECKED is named.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import flags

from rnnjax import command, paths
from rnnjax.config import Config
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment import pages, prose_numbers
from rnnjax.experiment.claim_digests import seal_claims
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, VERDICTS, ClaimResult
from rnnjax.experiment.page_rendering import README, name_of
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.repetition import choose_entries, repeat
from rnnjax.experiment.runner import run_missing, sole
from rnnjax.experiment.verification import check_folder, check_repository, of_records
from rnnjax.reporting.progress import write_message

_CHECK = flags.DEFINE_bool("check", False, "Train and write nothing; say what holds.")
_SEEDS = flags.DEFINE_integer(
    "seeds",
    0,
    "Run the seeds from 0 to one less than this; 0 for those of the toml.",
    lower_bound=0,
)
_JOBS = flags.DEFINE_integer(
    "jobs", 1, "Runs side by side. The table has the seconds of runs alone only.", lower_bound=1
)
_REPEAT = flags.DEFINE_integer(
    "repeat", None, "Train this recorded seed again; change no record.", lower_bound=0
)
_ENTRY = flags.DEFINE_multi_string("entry", [], "With --repeat: of this entry alone.")
_SEAL = flags.DEFINE_string("seal", None, "Seal claims that were changed, and why they were.")


def main(arguments: list[str]) -> None:
    """Runs one experiment, repeats a seed of it, seals its claims, or checks some."""
    _check_flags(arguments)
    if _CHECK.value:
        folders = [Path(paths.expand(each)) for each in arguments] or _all_folders()
        _end(_check(folders, whole=not arguments))
    (folder,) = (Path(paths.expand(argument)) for argument in arguments)
    experiment = Experiment.read(folder)  # another folder is refused before anything is written
    if _REPEAT.value is not None:
        entries = choose_entries(experiment, _ENTRY.value, _REPEAT.value)
        configs = experiment.configs()
        _refuse_stale(experiment, configs)
        with sole(folder):
            _end(repeat(experiment, configs, entries, _REPEAT.value))
    with sole(folder):
        if _SEAL.value is not None:
            names = seal_claims(experiment, experiment.configs(), _SEAL.value)
            pages.write(experiment)  # the plot shows what is claimed
            write_message(
                f"sealed: {', '.join(names) or 'nothing, all claims are as they were sealed'}"
            )
        else:
            _run(folder)
    _end(_check([folder], whole=False))


def _check_flags(arguments: list[str]) -> None:
    """Raises InputError if flags do not go together."""
    modes = {"check": _CHECK.value, "repeat": _REPEAT.value is not None}
    modes["seal"] = _SEAL.value is not None
    chosen = [f"--{name}" for name, on in modes.items() if on]
    if len(chosen) > 1:
        raise InputError(f"given {' and '.join(chosen)}, expected one of them")
    runs = [f"--{name}" for name in ("seeds", "jobs") if flags.FLAGS[name].present]
    if chosen and runs:
        raise InputError(f"{chosen[0]} does not run what is lacking; leave {runs[0]} out")
    if _ENTRY.value and _REPEAT.value is None:
        raise InputError("--entry is of --repeat: --repeat=0 --entry=lstm")
    if _SEAL.value is not None and not _SEAL.value.strip():
        raise InputError("--seal is empty; say why the claims were changed: --seal='...'")
    if not _CHECK.value and len(arguments) != 1:
        raise InputError(f"given {arguments}, expected one folder, experiments/lesson say")


def _all_folders() -> list[Path]:
    """Returns the folders of all experiments: those with a plan, or with a page."""
    files = (path for name in (PLAN, README) for path in Path("experiments").glob(f"*/{name}"))
    if not (found := sorted({path.parent for path in files})):
        raise InputError(f"there is no experiments/*/{PLAN} here; name the folders to check")
    return found


def _check(folders: Iterable[Path], whole: bool) -> list[ClaimResult]:
    """Prints the verdicts on folders, and on the pages above all if it is all folders."""
    typed, checked, findings = prose_numbers.read_typed(), [], []
    for folder in folders:
        checked.append(check_folder(folder, typed))
        write_output("\n".join([name_of(folder), *map(str, checked[-1].findings)]))
        findings += checked[-1].findings
    if whole:
        above = check_repository(checked, typed)
        write_output("\n".join(["pages and configs", *map(str, above)]))
        findings += above
    return findings


def _end(findings: list[ClaimResult]) -> None:
    """Prints how many verdicts of each kind there are, and exits with the status they mean."""
    if _REPEAT.value is not None:
        write_output("\n".join(map(str, findings)))
    verdicts = [finding.verdict for finding in findings]
    write_output(", ".join(f"{verdicts.count(each)} {each}" for each in VERDICTS))
    sys.exit(bool({FAIL, INCOMPARABLE} & {*verdicts}))


def _refuse_stale(experiment: Experiment, configs: Mapping[str, Config]) -> None:
    """Raises InputError if records were edited, or are of another config than is asked for now."""
    wrong = of_records(experiment, configs)
    if wrong:
        said = "\n".join(f"  {finding.of}: {finding.says}" for finding in wrong)
        raise InputError(
            f"{experiment.records} does not fit the experiment:\n{said}\n"
            "Delete these lines to run them again, or bring back what they were made with"
        )


def _run(folder: Path) -> None:
    """Runs what an experiment lacks, and renders it."""
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    _refuse_stale(experiment, configs)
    pages.fill(experiment)  # a page that cannot be rendered is found before the runs
    seeds = list(range(_SEEDS.value)) or experiment.plan.seeds
    seal_claims(experiment, configs)  # of those that have never been sealed
    try:
        run_missing(experiment, configs, seeds, _JOBS.value)
    finally:
        experiment = Experiment.read(folder)
        pages.write(experiment)
    write_message(
        f"{len(experiment.runs)} runs in {experiment.records}, rendered in {folder / README}"
    )


if __name__ == "__main__":
    command.run(main)
