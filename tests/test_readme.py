"""The README's code runs as it stands there."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[-1] for block in BLOCKS])
def test_a_block_of_python_runs(block):
    rng = np.random.default_rng(0)
    names = {
        "inputs": rng.standard_normal((2, 5, 3)).astype(np.float32),
        "mask": np.array([[True] * 5, [True] * 3 + [False] * 2]),
    }
    exec(compile(block, "README.md", "exec"), names)
    if "outputs" in names:
        assert names["outputs"].shape == (2, 5, 64)


def test_the_new_cell_of_the_readme_runs_under_a_mask():
    from rnnjax.layers import RNN

    (block,) = (block for block in BLOCKS if "class JANETCell" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    layer = RNN(names["JANETCell"](4))
    inputs = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    variables = layer.init(jax.random.key(0), inputs, mask)
    final, outputs = layer.apply(variables, inputs, mask)
    assert (np.asarray(outputs)[1, 3:] == 0).all()
    np.testing.assert_array_equal(final[1], np.asarray(outputs)[1, 2])


def test_every_file_that_the_readme_names_is_there():
    named = set(re.findall(r"(?:configs|rnnjax|experiments|\.ci)/[\w/.]+\w", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
