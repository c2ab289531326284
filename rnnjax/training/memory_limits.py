"""The least memory that a training takes, against that of the machine."""

import os
from pathlib import Path

import jax

from rnnjax.config import Config
from rnnjax.errors import InputError

_COPIES = 4
"""Arrays of the size of the parameters: they, their gradients and the two moments of Adam."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_embedding(config: Config) -> None:
    """Raises InputError if the embedding of a config does not fit into the machine's memory."""
    if config.task != "memory":
        check_parameters(config, config.data.vocabulary.size * config.model.embedding.features)


def check_parameters(config: Config, count: int) -> None:
    """Raises InputError if float32 parameters do not fit into memory with all that trains them.

    Args:
      config: of the run, for the number of replicates and for the message.
      count: parameters of one replicate.
    """
    needed, available = 4 * _COPIES * count * config.replicates, device_memory()
    if needed > available:
        raise InputError(
            f"{count:,} parameters take {needed / 2**30:,.1f} GiB in training, with gradients and "
            f"moments, and the device has {available / 2**30:,.1f} GiB; lower "
            f"config.model.features (now {config.model.features}), config.model.layers (now "
            f"{config.model.layers}), config.model.embedding.features (now "
            f"{config.model.embedding.features}), config.data.vocabulary.size (now "
            f"{config.data.vocabulary.size}) or config.replicates (now {config.replicates})"
        )


def device_memory() -> int:
    """Returns the bytes of memory of the first device: of a CPU, those that the process may use."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUPS):
        try:
            limits.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # of no such group, or 'max'
            continue
    return min(limits)
