"""What is kept on the disk from one run to the next, and may be deleted at any time."""

import os
from pathlib import Path

from rnnjax import paths
from rnnjax.errors import InputError


def cache_directory(given: Path | None = None) -> Path:
    """Returns the cache's folder: as given, $RNNJAX_CACHE, or the user's cache folder.

    Raises:
      InputError: $RNNJAX_CACHE is no path, or the user has no home folder.
    """
    if given is not None:
        return Path(given)
    named = os.environ.get("RNNJAX_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(paths.expand(named or f"{home}/rnnjax"))
    except InputError as error:
        raise InputError(f"the environment variable RNNJAX_CACHE: {error}") from None


def enable_compilation_cache() -> None:
    """Lets JAX keep what it compiles, however quick that was, so that a second run starts at once.

    A cache folder that the user has set for JAX itself goes before.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
