"""Compiling is what these tests spend their time on: they do without most of it."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def compiled_in_haste() -> Iterator[None]:
    """Leaves out the optimisations of the compiler; the programs are run once or twice."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
