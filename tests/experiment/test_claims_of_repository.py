"""What this repository says of its own experiments is what their runs say."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANS = {
    path.parent.relative_to(ROOT).as_posix(): tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("experiments/*/experiment.toml"))
}


def check(root):
    return subprocess.run(
        [sys.executable, "-m", "rnnjax.experiment", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def clone(tmp_path):
    """A copy of what the check reads."""
    for name in ("configs", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path / "README.md")
    return tmp_path


def test_what_is_claimed_holds(clone):
    ended = check(clone)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.findall("^experiments/.*", ended.stdout, re.MULTILINE) == list(PLANS)


def test_every_number_of_a_config_is_that_of_an_experiment():
    for path in sorted(ROOT.glob("configs/*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if not re.search(r"\d?\.\d\d", docstring):
            continue
        named = set(re.findall(r"experiments/\w+", docstring)) & set(PLANS)
        configs = {entry["config"] for name in named for entry in PLANS[name]["entry"]}
        assert f"configs/{path.name}" in configs, path.name


@pytest.mark.parametrize("page", ["README.md", "experiments/lesson/README.md"])
def test_no_score_stands_outside_the_parts_that_are_rendered(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"<!-- (\S+): begin -->.*?<!-- \1: end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "", text)  # what is typed
    assert re.findall(r"(?<![\d.\w])0?\.\d{2,4}(?!\.?\d)", text) == []
