"""The allocator of the C library: told to keep what one training step frees for the next."""

import ctypes

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of glibc's <malloc.h>
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Lets the process keep the memory that it frees, from now on, instead of giving it back.

    XLA takes all that a step needs on a CPU from malloc and frees it after the step. Blocks of that
    size glibc asks the system for and returns each time, which has to clear every page again. To be
    called before anything starts threads: those that have got a pool of memory of their own keep to
    it. Elsewhere than with glibc, or where the user has set `MALLOC_ARENA_MAX` and the like, which
    glibc reads by itself, nothing is lost: this sets the same things.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # One pool, which alone grows in place; no block outside it; and never shrink it.
    for name, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST)):
        mallopt(name, value)
