"""Runs what an experiment lacks, renders what it found, and checks what is claimed of it.

    python -m rnnjax.experiment experiments/lesson
    python -m rnnjax.experiment --check

The first command trains each config of `experiment.toml` with each seed that `runs.jsonl` has not,
appends a line for each run that has ended, and renders the tables. Ctrl-C saves the runs at hand,
and the same command goes on. The second trains nothing and writes nothing: it reads the experiments
given, or all of `experiments/`, and says what holds.

Both end with the verdicts, and with status 0 if all are PASS, 1 if one is FAIL or INCOMPARABLE, and
2 if there is something that cannot be read or run.
"""

import sys
from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.errors import InputError
from rnnjax.experiment import pages
from rnnjax.experiment.check import check, of_records
from rnnjax.experiment.claims import PASS, VERDICTS
from rnnjax.experiment.folder import PLAN, Experiment
from rnnjax.experiment.runner import run_missing, sole
from rnnjax.reporting.progress import say

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


def main(arguments: list[str]) -> None:
    """Runs one experiment, or checks some."""
    if _CHECK.value:
        if flags.FLAGS["seeds"].present or flags.FLAGS["jobs"].present:
            raise InputError("--check trains nothing; leave --seeds and --jobs out")
        found = sorted(path.parent for path in Path("experiments").glob(f"*/{PLAN}"))
        folders = [Path(each) for each in arguments] or found
        if not folders:
            raise InputError(f"there is no experiments/*/{PLAN} here; name the folders to check")
    elif len(arguments) == 1:
        folders = [Path(arguments[0])]
        Experiment.read(folders[0])  # another folder is refused before anything is written
        with sole(folders[0]):
            _run(folders[0])
    else:
        raise InputError(f"given {arguments}, expected one folder, experiments/lesson say")
    findings = []
    for folder in folders:
        experiment = Experiment.read(folder)
        own = check(experiment, experiment.configs())
        print("\n".join([experiment.name, *map(str, own)]), flush=True)
        findings += own
    verdicts = [finding.verdict for finding in findings]
    print(", ".join(f"{verdicts.count(each)} {each}" for each in VERDICTS))
    sys.exit(verdicts.count(PASS) < len(verdicts))


def _run(folder: Path) -> None:
    """Runs what an experiment lacks, and renders it."""
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    wrong = of_records(experiment, configs)
    if wrong:
        said = "\n".join(f"  {finding.of}: {finding.says}" for finding in wrong)
        raise InputError(
            f"{experiment.records} does not fit the experiment:\n{said}\n"
            "Delete these lines to run them again, or bring back what they were made with"
        )
    pages.pages(experiment)  # a page that cannot be rendered is found before the runs
    seeds = list(range(_SEEDS.value)) or experiment.plan.seeds
    try:
        run_missing(experiment, configs, seeds, _JOBS.value)
    finally:
        experiment = Experiment.read(folder)
        pages.write(experiment)
    say(f"{len(experiment.runs)} runs in {experiment.records}, rendered in {folder / pages.README}")


if __name__ == "__main__":
    command.run(main)
