"""Runs the missing runs of an experiment, renders its pages, and checks its claims.

    python -m rnnjax.experiment experiments/lesson
    python -m rnnjax.experiment --check
    python -m rnnjax.experiment experiments/lesson --repeat=0 --entry=lstm
    python -m rnnjax.experiment experiments/lesson --seal='from the runs of seeds 0 to 4'

The first command trains the configs of `experiment.toml` with all seeds that `runs.jsonl` lacks,
appends a line with the claims for each finished run, and renders the tables. Ctrl-C saves the
current runs, and the same command resumes them. The second trains and writes nothing: it checks the
named experiments, or all of `experiments/` with README.md and the configs. The third trains a
recorded seed again, in a new folder, and compares it with its record. The fourth records changes of
claims after the runs, with the reason.

They end with the verdicts, and with status 0 if none is FAIL or INCOMPARABLE, 1 if one is, and 2 if
a file cannot be read or a training fails. UNCHECKED pages are named.
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
from rnnjax.experiment.claims import (
    FAIL,
    INCOMPARABLE,
    VERDICTS,
    ClaimResult,
    seal_claims,
)
from rnnjax.experiment.page_rendering import README, experiment_name
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.repetition import choose_entries, repeat
from rnnjax.experiment.runner import lock_experiment, run_missing
from rnnjax.experiment.verification import check_folder, check_records, check_repository
from rnnjax.reporting.progress import write_message

_CHECK = flags.DEFINE_bool("check", False, "Train and write nothing; print the verdicts.")
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
_SEAL = flags.DEFINE_string("seal", None, "Record claims that were changed, with the reason.")


def main(arguments: list[str]) -> None:
    """Runs one experiment, repeats a seed of it, seals its claims, or checks some."""
    _check_flags(arguments)
    if _CHECK.value:
        folders = [Path(paths.expand(argument)) for argument in arguments] or _all_folders()
        _end(_check(folders, complete=not arguments))
    (folder,) = (Path(paths.expand(argument)) for argument in arguments)
    experiment = Experiment.read(folder)  # another folder is refused before anything is written
    if _REPEAT.value is not None:
        entries = choose_entries(experiment, _ENTRY.value, _REPEAT.value)
        configs = experiment.configs()
        _refuse_stale(experiment, configs)
        with lock_experiment(folder):
            _end(repeat(experiment, configs, entries, _REPEAT.value))
    with lock_experiment(folder):
        if _SEAL.value is not None:
            names = seal_claims(experiment, _SEAL.value)
            pages.write(experiment)  # the plot shows the claims
            write_message(f"sealed: {', '.join(names) or 'nothing, all claims are as recorded'}")
        else:
            _run(folder)
    _end(_check([folder], complete=False))


def _check_flags(arguments: list[str]) -> None:
    """Raises InputError if flags do not go together."""
    modes = {"check": _CHECK.value, "repeat": _REPEAT.value is not None}
    modes["seal"] = _SEAL.value is not None
    chosen = [f"--{name}" for name, is_set in modes.items() if is_set]
    if len(chosen) > 1:
        raise InputError(f"given {' and '.join(chosen)}, expected one of them")
    runs = [f"--{name}" for name in ("seeds", "jobs") if flags.FLAGS[name].present]
    if chosen and runs:
        raise InputError(f"{chosen[0]} runs no missing runs; leave {runs[0]} out")
    if _ENTRY.value and _REPEAT.value is None:
        raise InputError("--entry is of --repeat: --repeat=0 --entry=lstm")
    if _SEAL.value is not None and not _SEAL.value.strip():
        raise InputError("--seal is empty; say why the claims were changed: --seal='...'")
    if not _CHECK.value and len(arguments) != 1:
        raise InputError(f"given {arguments}, expected one folder, experiments/lesson say")


def _all_folders() -> list[Path]:
    """Returns the folders of all experiments: those with a plan, or with a page."""
    files = (path for name in (PLAN, README) for path in Path("experiments").glob(f"*/{name}"))
    if not (folders := sorted({path.parent for path in files})):
        raise InputError(f"there is no experiments/*/{PLAN} here; name the folders to check")
    return folders


def _check(folders: Iterable[Path], complete: bool) -> list[ClaimResult]:
    """Prints the verdicts on folders, and on README.md and configs if the folders are complete."""
    phrases, checked, results = prose_numbers.read_phrases(), [], []
    for folder in folders:
        checked.append(check_folder(folder, phrases))
        write_output("\n".join([experiment_name(folder), *map(str, checked[-1].results)]))
        results += checked[-1].results
    if complete:
        shared = check_repository(checked, phrases)
        write_output("\n".join(["pages and configs", *map(str, shared)]))
        results += shared
    return results


def _end(results: list[ClaimResult]) -> None:
    """Prints the number of verdicts of each kind, and exits with their status."""
    if _REPEAT.value is not None:
        write_output("\n".join(map(str, results)))
    verdicts = [result.verdict for result in results]
    write_output(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS))
    sys.exit(bool({FAIL, INCOMPARABLE} & {*verdicts}))


def _refuse_stale(experiment: Experiment, configs: Mapping[str, Config]) -> None:
    """Raises InputError if records were edited, or are of another config than the present one."""
    if failures := check_records(experiment, configs):
        lines = "\n".join(f"  {failure.subject}: {failure.message}" for failure in failures)
        raise InputError(
            f"{experiment.records} does not fit the experiment:\n{lines}\n"
            "Delete these lines to run them again, or bring back the config they were recorded with"
        )


def _run(folder: Path) -> None:
    """Runs the missing runs of an experiment, and renders it."""
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    _refuse_stale(experiment, configs)
    pages.fill(experiment)  # a page that cannot be rendered is found before the runs
    seeds = list(range(_SEEDS.value)) or experiment.plan.seeds
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
