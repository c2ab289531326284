"""Settings of malloc by which a training step reuses the memory that the previous one freed."""

import ctypes
import os

_SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # no block outside of the pools
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # which never shrink
}
"""By the variable with which a user says it: the number that <malloc.h> has for it, and a value."""


def retain_freed_memory() -> None:
    """Lets the process keep the memory that it frees, from now on, instead of giving it back.

    XLA takes all that a step needs on a CPU from malloc and frees it after the step. Blocks of that
    size glibc asks the system for and returns each time, which has to clear every page again.

    Each thread has a pool of its own, which holds blocks up to 64 MiB; larger ones are kept by the
    pool of the first thread alone. `MALLOC_ARENA_MAX=1` in the environment gives all threads that
    one: large networks train faster then, and compiling, which takes many small blocks in several
    threads, is slower.

    With another C library than glibc it does nothing. A variable of glibc that the user has set has
    precedence.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (number, value) in _SETTINGS.items():
        if variable not in os.environ:
            mallopt(number, value)
