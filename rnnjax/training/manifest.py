"""The environment of a run for its manifest: commit, versions, devices, settings, seed streams."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax

import rnnjax
from rnnjax.data.batches import VALIDATION
from rnnjax.training.processor import describe_processor, read_text
from rnnjax.training.state import DROPOUT, INIT

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")
JAX_CONFIG = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)
"""Settings of JAX that change the results of the same program and seed."""
SEED_STREAMS = {
    "parameters": f"jax.random.fold_in(jax.random.key(seed), {INIT})",
    "dropout": f"jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), {DROPOUT}), step)",
    "validation rows": f"permutation(rows, seed, {VALIDATION})",
    "order of batches": "permutation(groups, seed, epoch, 0)",
    "order of rows": "permutation(rows_of_bucket, seed, epoch, 1 + bucket)",
    "place where an epoch of running text begins": "SeedSequence((seed, epoch))",
    "rows of running text that begin anew": "SeedSequence((seed, epoch, step of the epoch))",
    "training examples that are made": "SeedSequence((0, seed))",
}
"""The source of every random draw; the rest follows from config and data.

`permutation` is that of `rnnjax.data.batches`, which reads the raw stream of NumPy's PCG64 from a
`SeedSequence`, as the modules `data` of the tasks do. A task draws those of its kind of data.
"""


def describe_environment(command: str) -> dict[str, Any]:
    """Returns commit, versions, processor, devices, settings and seed streams, ready for JSON.

    Args:
      command: that started or resumed the run.
    """
    commit, dirty = _commit()
    devices = jax.devices()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "rnnjax": rnnjax.__version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **describe_processor(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in devices],
        "driver": _driver(devices[0]),
        "nproc": os.environ.get("NPROC", ""),  # limits the threads of XLA
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_config": {name.removeprefix("jax_"): getattr(jax.config, name) for name in JAX_CONFIG},
        "seed_streams": SEED_STREAMS,
    }


def _commit() -> tuple[str, bool]:
    """Returns the commit of the checkout around the package, and whether it is dirty.

    The commit is '' outside a checkout.
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


def _driver(device: Any) -> str:
    """Returns the version of the runtime; of a GPU, CUDA or ROCm and NVIDIA's driver."""
    runtime = " ".join(device.client.platform_version.split())
    kernel = re.search(r"Kernel Module.*?\s(\d+[\d.]+)\s", read_text("/proc/driver/nvidia/version"))
    return (
        f"{runtime}, NVIDIA driver {kernel[1]}" if kernel and device.platform == "gpu" else runtime
    )
