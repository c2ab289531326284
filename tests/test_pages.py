"""The pages: their code runs, their commands are accepted, their links and files exist."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnjax
from rnnjax.cli.commands import COMMANDS
from rnnjax.cli.config_flags import config_overrides
from rnnjax.cli.launcher import make_parser
from rnnjax.config import load_config
from rnnjax.testing import check_cell

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        ".github/CONTRIBUTING.md",
        "configs/README.md",
        "experiments/README.md",
        "rnnjax/cells/README.md",
        "rnnjax/tasks/README.md",
        "rnnjax/training/README.md",
    )
]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    block
    for text in TEXTS.values()
    for block in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
]
COMMAND_LINES = sorted(
    {
        line.split("  #")[0].strip()
        for language, text in BLOCKS
        if language == "sh"
        for line in text.replace("\\\n", "").splitlines()
        if line.strip()
    }
)
MODULES = {module.removesuffix(".__main__"): name for name, module in COMMANDS.items()}


def block(language: str, part: str) -> str:
    """Returns the first block of a language that contains a text."""
    return next(text for kind, text in BLOCKS if kind == language and part in text)


def rnnjax_command(line: str) -> tuple[str, list[str]] | None:
    """Returns the name and the arguments of a command of rnnjax; None of any other command."""
    words = shlex.split(line.rpartition("| ")[2])
    if words[:2] == ["python", "-m"] and words[2] in MODULES:
        return MODULES[words[2]], words[3:]
    return (words[1], words[2:]) if words[0] == "rnnjax" and len(words) > 1 else None


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if rnnjax_command(line)])
def test_commands_are_accepted_by_their_parsers(line):
    command = rnnjax_command(line)
    assert command
    name, arguments = command
    args = make_parser(name).parse(arguments)
    if name == "train":
        load_config(args.config, config_overrides(args))


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if not rnnjax_command(line)])
def test_other_commands_name_programs_and_scripts_of_the_repository(line):
    words = shlex.split(line)
    if words[:2] == ["python", "-m"]:
        assert words[2] in ("pytest", "rnnjax")
    elif words[0] == "python":
        exported = ROOT / "rnnjax" / "exporting" / Path(words[1]).name
        assert (ROOT / words[1]).exists() or exported.exists()
    else:
        assert words[0] in ("pip", "export", "pre-commit", "rnnjax") or (ROOT / words[0]).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_exist(page):
    text = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#]*)(?:#([\w-]+))?\)", text)
    for target, anchor in targets:
        if target.startswith("https://"):
            continue
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    named = re.findall(r"`((?:configs|rnnjax|experiments|tests|\.ci|\.github)/[\w/.]+\w)`", text)
    placeholders = ("experiments/my", "tests/cells/test_")
    for name in named:
        assert (ROOT / name).exists() or name.startswith(placeholders), name


@pytest.fixture
def repository(tmp_path):
    """A stand-in for the repository, so that no run is left in it; beside it, the new cell."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_cell.py").write_text(block("python", "class MyCell"))
    (tmp_path / "rnnjax").mkdir()
    (tmp_path / "rnnjax" / "configs").symlink_to(ROOT / "configs")
    return tmp_path / "rnnjax"


def run_in_shell(command: str, folder: Path) -> str:
    """Returns the output of a command, run in a folder after the `export` of the page on cells."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    (export,) = block("sh", "PYTHONPATH").splitlines()
    # The package itself may be installed or on the path.
    command = f'{export}:"$PYTHONPATH"; {command}'
    process = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_layer_example_runs():
    names: dict[str, Any] = {}
    exec(block("python", "layer.apply"), names)
    assert names["outputs"].shape == (2, 5, 64)


def test_fit_and_stream_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"data.corpus": "docstrings", "data.take": 64}
    fit, stream = block("python", "rnnjax.fit"), block("python", ".stream()")
    code = fit.replace('{"model.cell"', f'{{**{small}, "model.cell"').replace(
        "epochs=2", "epochs=1"
    )
    assert code.count("64") == 1
    exec(code, {})
    assert (tmp_path / "runs" / "mine" / "result.json").exists()
    rnnjax.fit("gru", small).save("runs/gru")
    names: dict[str, Any] = {}
    exec(stream.replace("runs/mine", "runs/gru"), names)
    assert names["probabilities"].sum() == pytest.approx(1)


def test_dynamics_example_runs():
    names: dict[str, Any] = {}
    exec(block("python", "trace_module"), names)
    assert names["sentence"].startswith("layer 1: vanishing: half is left after")


def test_weights_of_pytorch_are_converted():
    shapes = {"weight_ih_l0": (256, 8), "weight_hh_l0": (256, 64)}
    shapes |= {"bias_ih_l0": (256,), "bias_hh_l0": (256,)}
    names: dict[str, Any] = {
        "state_dict": {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    }
    exec(block("python", "from_torch"), names)
    assert names["params"]["cell"]["input"]["kernel"].shape == (8, 256)


def test_new_cell_is_checked_trained_and_used(repository):
    (check,) = (line for line in block("sh", "rnnjax.testing").splitlines() if line)
    assert "passed" in run_in_shell(check, repository)
    train, predict, _ = block("sh", "my_cell:MyCell --workdir").splitlines()
    run_in_shell(f"{train} --config.data.corpus=docstrings --config.data.take=64", repository)
    result = json.loads((repository / "runs" / "my" / "result.json").read_text())
    assert "RNN(MyCell(16))" in [row["type"] for row in result["model"]]
    assert "Oil prices" in run_in_shell(predict, repository)


def test_new_cell_is_compared(repository):
    folder = repository / "experiments" / "my"
    folder.mkdir(parents=True)
    toml = block("toml", "my_cell").replace("seeds = [0, 1, 2, 3, 4]", "seeds = [0]")
    news = '"--config.data.dir=../shared/data/ag_news_csv"'
    assert news in toml
    quick = '"--config.data.corpus=docstrings", "--config.data.take=64"'
    (folder / "experiment.toml").write_text(toml.replace(news, quick))
    (folder / "README.md").write_text(block("html", "runs: begin"))
    command = block("sh", "my_cell:MyCell --workdir").splitlines()[-1]
    run_in_shell(command, repository)
    rendered = (folder / "README.md").read_text()
    assert "| `gru` | 1,284,004 |" in rendered
    assert "| `my_cell` | 1,282,660 |" in rendered


def test_test_of_the_new_cell_passes(repository):
    (repository.parent / "mine" / "test_my_cell.py").write_text(block("python", "cell_checks"))
    # The command of the kit runs all of them in the test above.
    run_in_shell(
        "python -m pytest -q -p no:cacheprovider ../mine/test_my_cell.py -k row_independence",
        repository,
    )


def test_cell_with_a_broadcast_passes_the_kit():
    names: dict[str, Any] = {}
    exec(block("python", "class WeightNormCell"), names)
    cell = names["WeightNormCell"](features=4)
    statuses = {result.check: result.status for result in check_cell(cell, quick=True).results}
    assert statuses["projection"] == statuses["parameter_count"] == "passed"


def test_new_cell_is_short():
    code = block("python", "class MyCell")
    assert len([line for line in code.splitlines() if line.strip()]) <= 25


def test_first_page_is_short():
    assert len(TEXTS[ROOT / "README.md"].splitlines()) <= 210
