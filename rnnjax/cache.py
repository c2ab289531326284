"""What is kept on the disk from one run to the next, and may be deleted at any time."""

import os
from pathlib import Path


def folder(given: Path | None = None) -> Path:
    """Returns the cache's folder: as given, $RNNJAX_CACHE, or the user's cache folder."""
    if given is not None:
        return Path(given)
    if named := os.environ.get("RNNJAX_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "rnnjax"


def keep_compilations() -> None:
    """Lets JAX keep what it compiles, however quick that was, so that a second run starts at once.

    A cache folder that the user has set for JAX itself goes before.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
