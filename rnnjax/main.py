"""Trains the network of a config: flags -> config -> run.

    python -m rnnjax.main --config configs/bilstm.py
    python -m rnnjax.main --config configs/bilstm.py --workdir runs/mine --config.epochs=2

Every key of the config can be set on the command line. The same command with the same --workdir
goes on with what was begun there.
"""

import datetime
import json
import os
import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from rnnjax import allocator, command
from rnnjax import config as config_lib
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.reporting.progress import write_message

_CONFIG = config_flags.DEFINE_config_file("config", help_string="A file such as configs/bilstm.py.")
_WORKDIR = command.define_path(
    "workdir", "", "The folder of the run, new or to go on with; '' makes one under runs/."
)
_PRINT = flags.DEFINE_bool("print_config", False, "Print the whole config as JSON, and end.")


def main(arguments: list[str]) -> None:
    """Runs the config that the flags name."""
    if arguments:
        raise InputError(f"given {arguments[0]!r}, expected flags alone (--config, --workdir)")
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    try:
        values = _CONFIG.value.to_dict()
    except (OSError, AttributeError) as error:
        raise InputError(
            f"--config={path}: expected a Python file with a get_config() that returns a "
            f"ConfigDict, configs/bilstm.py say. {command.in_short(error)}"
        ) from error
    config = config_lib.parse(values)
    if _PRINT.value:
        write_output(json.dumps(config.model_dump(), indent=2))
        return
    name = Path(path).stem
    workdir = _WORKDIR.value or f"runs/{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    # Read when the first device is used; what the user has set goes before.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", str(config.preallocate).lower())

    allocator.retain_freed_memory()

    from rnnjax import training

    typed = shlex.join(["python", "-m", "rnnjax.main", *sys.argv[1:]])
    try:
        training.train(config, name, Path(workdir), typed)
    except (InterruptedRunError, KeyboardInterrupt) as interruption:
        given = [] if _WORKDIR.value else [f"--workdir={workdir}"]
        again = shlex.join(["python", "-m", "rnnjax.main", *sys.argv[1:], *given])
        said = str(interruption) or "interrupted; what had been saved is kept"
        usage = training.usage_commands(config, Path(workdir))
        if usage and config.replicates == 1 and isinstance(interruption, InterruptedRunError):
            lines = "\n  ".join(usage)
            said += f", without scores. The network as it is can be used with:\n  {lines}\n"
        else:
            said += ". "
        write_message(f"{said}Go on with:\n  {again}")
        sys.exit(command.status(interruption))


def _check(flag: str) -> None:
    """Raises InputError if a flag is to set a key that no config has."""
    section, _, key = flag.partition(".")
    if section in ("config", "noconfig") and key:
        config_lib.check_key(key)
        inside = [leaf for leaf in config_lib.key_paths() if leaf.startswith(f"{key}.")]
        if inside:
            raise InputError(
                f"config.{key}: is a section, which has no value; set one of its keys: "
                f"{', '.join(f'config.{leaf}' for leaf in inside)}"
            )


if __name__ == "__main__":
    command.run(main, required=["config"], check=_check)
