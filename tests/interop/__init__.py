"""Tests of the weights that travel, and what they share: layers, a ragged batch, PyTorch's sums."""

import pytest

pytest.register_assert_rewrite("interop.layers")
