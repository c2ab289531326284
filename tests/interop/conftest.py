"""Compiler options for tests that spend most of their time compiling."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def fast_compilation() -> Iterator[None]:
    """Disables most optimizations of the compiler; the programs are run once or twice."""
    initial = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", initial)
