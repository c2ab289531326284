"""State of a process that a cell must not read: generators, the clock, and the hash of a string."""

import builtins
import contextlib
import random
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

_CLOCKS = ("time", "monotonic", "perf_counter", "process_time")
_LIBRARIES = ("jax", "flax", "numpy", "rnnjax.testing")


@contextlib.contextmanager
def altered_globals() -> Iterator[None]:
    """Seeds the global generators of NumPy and `random`, and moves the clock and hashes of text."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with contextlib.ExitStack() as patches:
        for name in _CLOCKS:
            for suffix, offset in (("", 86_461.5), ("_ns", 86_461_500_000_003)):
                clock = getattr(time, name + suffix)
                patches.enter_context(
                    mock.patch.object(
                        time,
                        name + suffix,
                        lambda clock=clock, offset=offset: clock() + offset,
                    )
                )
        patches.enter_context(mock.patch.object(builtins, "hash", _hash_otherwise))
        np.random.seed(271_828)
        random.seed(271_828)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextlib.contextmanager
def altered_seeds() -> Iterator[None]:
    """Seeds every generator of NumPy and `random` that is made within the context otherwise."""
    with contextlib.ExitStack() as patches:
        for module, name in (
            (np.random, "default_rng"),
            (np.random, "seed"),
            (random, "seed"),
            (np.random, "RandomState"),
            (random, "Random"),
        ):
            make = getattr(module, name)
            patched = _reseeded_class(make) if isinstance(make, type) else _reseeded(make)
            patches.enter_context(mock.patch.object(module, name, patched))
        yield


def _reseeded(make: Any) -> Any:
    def make_otherwise(seed: Any = None, *arguments: Any, **options: Any) -> Any:
        return make(_other_seed(seed), *arguments, **options)

    return make_otherwise


class _ClassOfInstances(type):
    """Metaclass of a class whose instances are those of its base."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[1])


def _reseeded_class(base: Any) -> Any:
    def construct(cls, seed=None, *arguments, **options):
        return base(_other_seed(seed), *arguments, **options)

    return _ClassOfInstances(base.__name__, (base,), {"__new__": construct})


def _other_seed(seed: Any) -> Any:
    return seed + 314_159 if isinstance(seed, int) else seed


_HASH = hash


def _hash_otherwise(value: Any) -> int:
    """Hashes text as another process would, for callers outside of the libraries."""
    code, module = sys._getframe(1).f_code, sys._getframe(1).f_globals.get("__name__", "")
    is_cell = code.co_name != "__hash__" and not module.startswith(_LIBRARIES)
    if is_cell and _contains_text(value):
        return _HASH(value) ^ 0x5BD1E995
    return _HASH(value)


def _contains_text(value: Any) -> bool:
    return isinstance(value, str | bytes) or (
        isinstance(value, tuple) and any(map(_contains_text, value))
    )
