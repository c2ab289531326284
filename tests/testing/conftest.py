"""Settings of the tests of the kit."""

import pytest

from rnnjax.testing import violation_search


@pytest.fixture(autouse=True)
def _small_sizes_alone(monkeypatch):
    """Tries small batches alone: other sizes and fewer features cost seconds of compiling."""
    monkeypatch.setattr(violation_search, "MAX_REDUCTIONS", 0)
    monkeypatch.setattr(violation_search, "SMALL_FEATURES", ())
