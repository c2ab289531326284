"""Tests of weight conversion: shared layers, a ragged batch, and the equations of PyTorch."""

import pytest

pytest.register_assert_rewrite("interop.layers")
