"""The memory that training needs against the memory of the device, and errors where it ran out."""

import os
from pathlib import Path

import jax

from rnnjax.config import Config
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
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUPS):
        try:
            limits.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such group, or 'max'
            continue
    return min(limits)


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error reports that the device or the machine ran out of memory."""
    # XLA has a status code for it on a GPU, and none on a CPU.
    messages = "RESOURCE_EXHAUSTED", "Out of memory"
    return isinstance(error, MemoryError) or any(text in str(error) for text in messages)


def out_of_memory_error(config: Config, error: Exception) -> InputError:
    """Returns the error of a run that ran out of memory, which names the keys to lower.

    Args:
      config: of the run.
      error: of JAX or Python.
    """
    data = config.data
    length = {
        "classification": f"config.data.max_tokens (now {data.max_tokens}, 0 is no limit)",
        "language_modeling": f"config.data.sequence_length (now {data.sequence_length})",
        "memory": f"config.data.memory.length (now {data.memory.length})",
        "translation": f"config.data.vocabulary.size (now {data.vocabulary.size})",
    }[config.task]
    message, *_ = [*str(error).splitlines(), type(error).__name__]
    return InputError(
        f"the device ran out of memory. Lower config.batch_size (now {config.batch_size}), "
        f"{length} or config.model.features (now {config.model.features}), in a new folder; or "
        f"free the device of other programs. The message: {message[:200]}"
    )
