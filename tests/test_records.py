"""What the small experiments say in their README is what they have recorded."""

import importlib.util
import json
from pathlib import Path

import pytest

from rnnjax.reporting import markdown

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.mark.parametrize(
    ("script", "record", "part"),
    [
        ("best/baseline.py", "baseline.jsonl", "linear"),
        ("false_alarms/simulate.py", "rates.jsonl", "rates"),
        ("repeats/measure.py", "runs.jsonl", "runs"),
        ("resume/kill.py", "runs.jsonl", "runs"),
    ],
)
def test_a_readme_is_rendered_from_its_record(script, record, part):
    path = EXPERIMENTS / script
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = (path.parent / record).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    readme = path.parent / "README.md"
    assert markdown.filled(readme, {part: module.table(records)}) == readme.read_text("utf-8")
