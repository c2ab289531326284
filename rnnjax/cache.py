"""The cache on the disk: prepared corpora and compiled programs, which may be deleted any time."""

import os
from pathlib import Path

from rnnjax import paths
from rnnjax.errors import InputError


def cache_directory(folder: Path | None = None) -> Path:
    """Returns the folder of the cache: the argument, $RNNJAX_CACHE, or the user's cache folder.

    Raises:
      InputError: $RNNJAX_CACHE is no path, or the user has no home folder.
    """
    if folder is not None:
        return Path(folder)
    variable = os.environ.get("RNNJAX_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(paths.expand(variable or f"{home}/rnnjax"))
    except InputError as error:
        raise InputError(f"the environment variable RNNJAX_CACHE: {error}") from None


def enable_compilation_cache() -> None:
    """Enables JAX's cache of compiled programs, small ones too, so that a second run starts fast.

    A cache folder that the user has set for JAX itself has precedence.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
