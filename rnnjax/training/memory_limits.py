"""The memory that training needs against the memory of the device, and errors where it ran out."""

import os
from pathlib import Path

import jax

from rnnjax.config import Config, flat
from rnnjax.errors import InputError

_COPIES = 4
"""Arrays of the size of the parameters: parameters, gradients and the two moments of Adam."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_parameters(count: int, config: Config) -> None:
    """Raises InputError if float32 parameters do not fit into memory with their optimizer state.

    Args:
      count: parameters of one replicate.
      config: of the run; the message names the keys to lower.
    """
    model, vocabulary = config.model, config.data.vocabulary
    needed, available = 4 * _COPIES * count * config.replicates, device_memory()
    if needed > available:
        raise InputError(
            f"{count:,} parameters take {needed / 2**30:,.1f} GiB in training, with gradients and "
            f"moments, and the device has {available / 2**30:,.1f} GiB; lower "
            f"config.model.features (now {model.features}), config.model.layers (now "
            f"{model.layers}), config.model.embedding.features (now {model.embedding.features}), "
            f"config.data.vocabulary.size (now {vocabulary.size}) or config.replicates (now "
            f"{config.replicates})"
        )


def device_memory() -> int:
    """Returns the memory of the first device in bytes; of a CPU, the limit of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUPS):
        try:
            limits.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such group, or 'max'
            continue
    return min(limits)


def out_of_memory_error(config: Config, length_key: str, error: Exception) -> InputError:
    """Returns the error of a run that ran out of memory, which names the keys to lower.

    Args:
      config: of the run.
      length_key: as for `Task`.
      error: of JAX or Python.
    """
    values = dict(flat(config.model_dump()))
    keys = [key for key in ("batch_size", length_key, "model.features") if key in values]
    *first, last = [f"config.{key} (now {values[key]})" for key in keys]
    message, *_ = [*str(error).splitlines(), type(error).__name__]
    return InputError(
        f"the device ran out of memory. Lower {', '.join(first)} or {last}, in a new folder; or "
        f"free the device of other programs. The message: {message[:200]}"
    )
