"""The recorded campaign of the kit: its cells, its records, and its page."""

import importlib.util
from pathlib import Path

import pytest

from rnnjax.cells import CELLS
from rnnjax.experiment.records import read_verified

from . import (  # noqa: F401  registers their mutants
    draw_mutants,
    matrix_mutants,
    number_mutants,
    size_mutants,
    training_mutants,
    zoneout_mutants,
)
from .mutants import MUTANTS, PLANTED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def campaign():
    """The script of the experiment as a module."""
    path = ROOT / "experiments" / "kit" / "run.py"
    spec = importlib.util.spec_from_file_location("kit_campaign", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mistake_and_cell_is_a_subject(campaign):
    by_kind = {}
    for subject in campaign.subjects():
        by_kind.setdefault(subject.kind, set()).add(subject.name)
    assert by_kind["mistake"] == {*MUTANTS, *PLANTED}
    assert by_kind["package"] == {*CELLS}
    assert "SpikingCell" in by_kind["correct"]


def test_subject_is_recorded_once(campaign, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- runs: begin -->\n<!-- runs: end -->\n")
    for name in ("mistakes", "cells"):
        with (tmp_path / "README.md").open("a") as page:
            page.write(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n")
    (tmp_path / "render.py").write_text((campaign.HERE / "render.py").read_text())
    subject = next(s for s in campaign.subjects() if s.name == "PlainTuple")
    assert campaign.run([subject], tmp_path, "a command") == 0
    monkeypatch.setattr(campaign, "check", None)
    assert campaign.run([subject], tmp_path, "again") == 0
    (record,) = [line for line in read_verified(tmp_path / "runs.jsonl") if "name" in line]
    assert record["failed"] == record["expected"] == "state_structure"
    assert "| state_structure | 1 | 1 | 1 |" in (tmp_path / "README.md").read_text()
