"""What a result was made with."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import rnnjax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")


def environment(command: str) -> dict[str, Any]:
    """Returns commit, versions, devices and flags, ready for JSON.

    Args:
      command: what the user typed.
    """
    commit, dirty = _commit()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "rnnjax": rnnjax.__version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [f"{each.platform}:{each.id} {each.device_kind}" for each in jax.devices()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _commit() -> tuple[str, bool]:
    """Returns the commit of the checkout around the package, and whether code was changed since.

    The commit is '' where there is no checkout.
    """
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "", False

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "rnnjax", "configs"))
    except (OSError, subprocess.CalledProcessError):
        return "", False
