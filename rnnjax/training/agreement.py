"""Agreement of the processes of a run on config, versions, folder and data before the training."""

import hashlib
import time
from collections.abc import Sequence

from rnnjax.config import PATH_KEYS, Config, flat
from rnnjax.errors import InputError
from rnnjax.training.manifest import describe_environment
from rnnjax.training.processes import check_equal, num_processes, wait_for_all
from rnnjax.training.replicates import Replicate
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.warm_start import WarmStart

_VERSIONS = ("rnnjax", "commit", "python", "packages", "jax_config")
_SECONDS_UNTIL_VISIBLE = 60.0


def check_processes(config: Config, folder: RunFolder) -> None:
    """Raises InputError if processes have other configs, versions or folders than the first."""
    if num_processes() == 1:
        return
    values = dict(flat(config.model_dump(exclude={"acknowledged"})))
    environment = describe_environment("")
    steps = [path.name for path in folder.checkpoints.glob("*") if path.name.isdecimal()]
    check_equal(
        {
            **{f"config.{key}": value for key, value in values.items() if key not in PATH_KEYS},
            **dict(flat({key: environment[key] for key in _VERSIONS})),
            "config.json in the folder of the run": folder.config.exists(),
            "checkpoints in the folder of the run": sorted(steps, key=int),
        },
        "Give all processes the same command and versions, and a --workdir that they share",
    )


def check_data(replicates: Sequence[Replicate], warm_start: WarmStart | None) -> None:
    """Raises InputError if processes have read other data or parameters than the first.

    Args:
      replicates: with their data.
      warm_start: initial parameters of another run, if any.
    """
    values = {"parameters of config.init_from": warm_start.digest} if warm_start else {}
    for replicate in replicates:
        description, vocabulary = replicate.describe(), replicate.dataset.vocabulary
        text = vocabulary.to_json() if vocabulary else ""
        values[f"data of seed {replicate.config.seed}"] = description["fingerprint"]
        values[f"rows of seed {replicate.config.seed}"] = description["rows"]
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        values[f"vocabulary of seed {replicate.config.seed}"] = digest
        if replicate.vectors:
            values["vectors"] = description["vectors"]["fingerprint"]
    check_equal(values, "Give all processes the same data")


def wait_for_folder(folder: RunFolder) -> None:
    """Waits until the first process has written the files of a new run, and they can be seen.

    Raises:
      InputError: they cannot.
    """
    wait_for_all()
    deadline = time.monotonic() + _SECONDS_UNTIL_VISIBLE
    while not folder.manifest.exists():  # a file system of a network may show it late
        if time.monotonic() > deadline:
            raise InputError(
                f"workdir {folder.path}: the first process has written the files of the run, and "
                "this one does not see them; expected a folder that all machines share"
            )
        time.sleep(1.0)
