"""The numbers beside the score of a report."""

import json
import re

from rnnjax.reporting.run_report import write_report

from . import runs


def test_the_share_of_unknown_tokens_stands_beside_the_scores(tmp_path):
    runs.write(tmp_path)
    path = tmp_path / "result.json"
    values = json.loads(path.read_text())
    values["test"]["unknown_share"] = 0.375
    path.write_text(json.dumps(values))
    source = write_report(runs.reseal(tmp_path)).read_text()
    assert re.search(r"<dt>unknown test tokens</dt><dd>37\.5\s%</dd>", source)
