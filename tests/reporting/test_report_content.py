"""Size of the report with very many classes, the facts in its header, and its commands."""

import html
import json
import re

import pytest

from . import runs
from .test_run_report import Page, page


def test_report_of_ten_thousand_classes_is_small(tmp_path):
    names = [f"class {number}" for number in range(10_000)]
    per_class = [
        {"name": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 1 + number % 997}
        for number, name in enumerate(names)
    ]
    pairs = [{"label": names[3], "predicted": names[7], "rows": 12, "share": 0.25}]
    folder = runs.write(tmp_path, confusion=[], per_class=per_class, most_confused_pairs=pairs)
    environment = json.loads((folder / "environment.json").read_text())
    environment["data"]["classes"] = names
    (folder / "environment.json").write_text(json.dumps(environment))
    report = Page(runs.write_report(runs.reseal(folder)))
    assert len(report.source) < 200_000
    assert "class 3 predicted as class 7 12, 25.0 % of its rows" in report.text("confusion")
    assert "The 50 with the most rows, of 10,000" in report.text("classes")
    rows = [row for row in report.rows if row and row[0].startswith("class ")]
    assert len(rows) == 50
    assert {row[1] for row in rows} <= {"997", "996", "995", "994", "993", "992"}
    assert "class 99 and 9,900 more" in report.text("environment")


def test_header_has_evaluated_step_and_timed_steps(tmp_path):
    stopped = {"stopped_early": True, "steps": 791, "best_step": 565, "timed_steps": 791}
    header = page(tmp_path, **stopped).text("header")
    assert "steps 791 stopped early evaluated step 565 minimum validation loss" in header
    assert "training time 3 min 11 s" in header
    assert "of the last" not in header
    assert "rows per second 255" in header
    tokens = {"timed_steps": 100, "rows_per_second": None, "tokens_per_second": 9_000.0}
    header = page(tmp_path, **{**stopped, **tokens}).text("header")
    assert "training time 3 min 11 s of the last 100 steps" in header
    assert "tokens per second 9,000" in header
    untimed = {"timed_steps": 0, "train_seconds": 0.0, "rows_per_second": None}
    assert "training time" not in page(tmp_path, **{**stopped, **untimed}).text("header")


def test_header_has_the_share_of_unknown_tokens(tmp_path):
    runs.write(tmp_path)
    path = tmp_path / "result.json"
    values = json.loads(path.read_text())
    values["test"]["unknown_share"] = 0.375
    path.write_text(json.dumps(values))
    source = runs.write_report(runs.reseal(tmp_path)).read_text()
    assert re.search(r"<dt>unknown test tokens</dt><dd>37\.5\s%</dd>", source)


@pytest.mark.parametrize(
    ("cell", "flag"),
    [
        ("LSTMCell(peepholes=True)", ""),
        ("flax.linen:GRUCell", ""),
        ("my.cells:Cell(gates=2)", " --trust"),
    ],
)
def test_commands_trust_an_external_cell(tmp_path, cell, flag):
    runs.write(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["config"]["model"]["cell"] = cell
    path.write_text(json.dumps(values))
    text = html.unescape(runs.write_report(runs.reseal(tmp_path)).read_text())
    assert f'rnnjax.predict --workdir={tmp_path}{flag} "text"' in text
    assert f"rnnjax.evaluate --workdir={tmp_path}{flag} --data" in text
