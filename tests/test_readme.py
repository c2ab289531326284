"""The code of the README runs; its new cell is checked, trained and used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def code_block(language: str, part: str) -> str:
    """Returns the only code block of a language that contains a part."""
    (match,) = (text for kind, text in BLOCKS if kind == language and part in text)
    return match


@pytest.fixture
def repository(tmp_path):
    """A folder with the configs of the repository, and the new cell in a folder beside it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_cell.py").write_text(code_block("python", "class MyCell"))
    (tmp_path / "rnnjax").mkdir()
    (tmp_path / "rnnjax" / "configs").symlink_to(ROOT / "configs")
    return tmp_path / "rnnjax"


def run_shell(command: str, folder: Path) -> str:
    """Runs a command of the README in a folder, after its export, and returns the output."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    (export,) = code_block("sh", "PYTHONPATH").splitlines()
    # The package itself may be installed or on the path.
    command = f'{export}:"$PYTHONPATH"; {command}'
    process = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_layer_example():
    names: dict[str, Any] = {}
    exec(code_block("python", "layer.apply"), names)
    assert names["outputs"].shape == (2, 5, 64)


def test_pytorch_weights_example():
    shapes = {"weight_ih_l0": (256, 8), "weight_hh_l0": (256, 64)}
    shapes |= {"bias_ih_l0": (256,), "bias_hh_l0": (256,)}
    names: dict[str, Any] = {
        "state_dict": {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    }
    exec(code_block("python", "from_torch"), names)
    assert names["params"]["cell"]["input"]["kernel"].shape == (8, 256)


def test_new_cell_is_checked_trained_and_used(repository):
    (check,) = (line for line in code_block("sh", "rnnjax.testing").splitlines() if line)
    assert "passed" in run_shell(check, repository)
    train, predict, _ = code_block("sh", "my_cell:MyCell --workdir").splitlines()
    run_shell(f"{train} --config.data.corpus=docstrings --config.data.take=64", repository)
    result = json.loads((repository / "runs" / "my" / "result.json").read_text())
    assert "RNN(MyCell(16))" in [row["type"] for row in result["model"]]
    assert "Oil prices" in run_shell(predict, repository)


def test_new_cell_is_compared(repository):
    folder = repository / "experiments" / "my"
    folder.mkdir(parents=True)
    toml = code_block("toml", "my_cell").replace("seeds = [0, 1, 2, 3, 4]", "seeds = [0]")
    news = '"--config.data.dir=../shared/data/ag_news_csv"'
    assert news in toml
    quick = '"--config.data.corpus=docstrings", "--config.data.take=64"'
    (folder / "experiment.toml").write_text(toml.replace(news, quick))
    (folder / "README.md").write_text(code_block("html", "runs: begin"))
    run_shell(code_block("sh", "rnnjax.experiment experiments/my").splitlines()[-1], repository)
    rendered = (folder / "README.md").read_text()
    assert "| `gru` | 1,284,004 |" in rendered
    assert "| `my_cell` | 1,282,660 |" in rendered


def test_unit_test_of_the_new_cell(repository):
    (repository.parent / "mine" / "test_my_cell.py").write_text(code_block("python", "cell_checks"))
    # The command of the kit runs all of them in the test above.
    run_shell(
        "python -m pytest -q -p no:cacheprovider ../mine/test_my_cell.py -k row_independence",
        repository,
    )


def test_new_cell_is_short():
    code = code_block("python", "class MyCell")
    assert len([line for line in code.splitlines() if line.strip()]) <= 25


def test_files_named_by_the_readme_exist():
    named = set(re.findall(r"(?:configs|rnnjax|experiments/lesson|\.ci)/[\w/.]+\w", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
