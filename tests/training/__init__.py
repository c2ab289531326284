"""Tests of training, and what the tests of the command lines share with them."""

import pytest

pytest.register_assert_rewrite("training.small")
