"""Settings of the tests of the kit."""

import pytest

from rnnjax.testing import violation_search


@pytest.fixture(autouse=True)
def _all_features(monkeypatch):
    """Reports the smallest rows and steps alone: fewer features cost seconds of compiling."""
    monkeypatch.setattr(violation_search, "SMALL_FEATURES", ())
