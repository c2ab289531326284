"""The numbers and commands beside the score of a report."""

import html
import json
import re

import pytest

from rnnjax.reporting.report import write_report

from . import runs


def test_the_share_of_unknown_tokens_stands_beside_the_scores(tmp_path):
    runs.write(tmp_path)
    path = tmp_path / "result.json"
    values = json.loads(path.read_text())
    values["test"]["unknown_share"] = 0.375
    path.write_text(json.dumps(values))
    source = write_report(runs.reseal(tmp_path)).read_text()
    assert re.search(r"<dt>unknown test tokens</dt><dd>37\.5\s%</dd>", source)


@pytest.mark.parametrize(
    ("cell", "flag"),
    [
        ("LSTMCell(peepholes=True)", ""),
        ("flax.linen:GRUCell", ""),
        ("my.cells:Cell(gates=2)", " --trust"),
    ],
)
def test_the_commands_trust_a_cell_from_outside(tmp_path, cell, flag):
    runs.write(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["config"]["model"]["cell"] = cell
    path.write_text(json.dumps(values))
    text = html.unescape(write_report(runs.reseal(tmp_path)).read_text())
    assert f'rnnjax.predict --workdir {tmp_path}{flag} "text"' in text
    assert f"rnnjax.evaluate --workdir {tmp_path}{flag} --data" in text
