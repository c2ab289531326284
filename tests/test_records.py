"""What the small experiments say in their README is what they have recorded."""

import importlib.util
import json
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.mark.parametrize(
    ("script", "record"),
    [("false_alarms/simulate.py", "rates.jsonl"), ("repeats/measure.py", "runs.jsonl")],
)
def test_a_readme_is_rendered_from_its_record(script, record):
    path = EXPERIMENTS / script
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = (path.parent / record).read_text(encoding="utf-8").splitlines()
    readme = (path.parent / "README.md").read_text(encoding="utf-8")
    rendered = readme.split(module.BEGIN)[1].split(module.END)[0]
    assert rendered == f"\n{module.table([json.loads(line) for line in lines])}\n"
