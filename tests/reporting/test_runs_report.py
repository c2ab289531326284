"""Pages over several runs: their curves, scores, seeds and differing keys; and the index."""

import json
import re

import numpy as np
import pytest

from rnnjax.cli.launcher import call_command
from rnnjax.errors import InputError
from rnnjax.reporting import plots
from rnnjax.tasks.report_page import write_comparison, write_index

from . import runs


def write_run(folder, seed=0, features=64, **changes):
    """Writes a synthetic run whose config has a seed and a size of the state."""
    runs.write(folder, lines=runs.metrics(steps=600, every=100), **changes)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["config"] |= {"seed": seed, "model": {**values["config"]["model"], "features": features}}
    path.write_text(json.dumps(values))
    return runs.reseal(folder)


def interrupt(folder):
    """Makes a finished run an unfinished one."""
    (folder / "result.json").unlink()
    return folder


@pytest.fixture
def three(tmp_path):
    """Two seeds of one config, and a run of another size."""
    folders = [tmp_path / "runs" / name for name in ("a", "b", "c")]
    for folder, (seed, features) in zip(folders, [(0, 64), (1, 64), (0, 32)], strict=True):
        write_run(folder, seed, features)
    return folders


def test_comparison_has_scores_seeds_keys_and_curves(three, tmp_path):
    page = write_comparison(three, tmp_path / "page.html").read_text()
    assert re.findall(r'<th scope="row">([abc])</th>', page) == ["a", "b", "c"]
    assert page.count("0.9072 to 0.9198") == 3  # Wilson's intervals of 6,939 of 7,600
    assert "over seeds of accuracy of a, b;" in page
    keys = re.findall(r'<th scope="row"><code>([\w.]+)</code></th>', page)
    assert sorted(keys) == ["model.features", "seed"]
    for colour in range(3):
        assert f"var(--outcome-{colour})" in page
    assert page.count("<svg role=") == 2
    titles = re.findall(r"<title>(step 100: [^<]*)</title>", page)
    assert len(titles) == 2
    assert "a, training" in titles[0]


def test_index_links_to_reports_and_marks_unfinished_runs(three, tmp_path):
    interrupt(three[1])
    runs.write_report(three[0])
    (three[2] / "metrics.jsonl").write_text("{}\n")
    page = write_index(tmp_path / "runs", tmp_path / "runs" / "index.html").read_text()
    assert '<a href="a/report.html">a</a>' in page
    assert page.count("not finished") == 1
    assert "metrics.jsonl is damaged" in page
    with pytest.raises(InputError, match="holds no runs"):
        write_index(three[0], tmp_path / "index.html")


def test_command_writes_the_page_that_suits_its_folders(three, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interrupt(three[1])
    for arguments, path in (
        (["runs/b"], "runs/b/report.html"),
        (["runs/a", "runs/c"], "comparison.html"),
        (["runs"], "runs/index.html"),
        (["runs/a", "--output", "other.html"], "other.html"),
    ):
        call_command("report", arguments)
        assert capsys.readouterr().out.strip() == path
        assert (tmp_path / path).read_text().startswith("<!doctype html>")
    assert "last logged step is 600" in (tmp_path / "runs" / "b" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run is given"),
        (["nowhere"], "there is no such folder"),
        (["runs/a", "runs/../runs/a"], "is given twice"),
        (["runs", "--output", "no/page.html"], "there is no folder no"),
    ],
)
def test_mistakes(three, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        call_command("report", arguments)


def test_replicates_are_the_runs_of_a_folder(tmp_path, monkeypatch, capsys):
    for seed in (0, 1):
        write_run(tmp_path / "five" / f"seed-{seed}", seed)
    write_run(tmp_path / "five")
    monkeypatch.chdir(tmp_path)
    call_command("report", ["five"])
    assert capsys.readouterr().out.strip() == "five/report.html"
    page = (tmp_path / "five" / "report.html").read_text()
    assert "mean ± standard deviation over seeds of accuracy of seed-0, seed-1" in page


@pytest.mark.parametrize(("steps", "marks"), [(1, 1), (3, 0)])
def test_training_curve_of_one_point_has_a_mark(steps, marks):
    train = plots.Series(np.arange(1.0, steps + 1), np.ones(steps))
    svg = plots.overlay("loss", {"run": [train, plots.Series(np.zeros(0), np.zeros(0))]})
    uses = re.findall(r"<use [^>]*>", svg)
    assert sum("var(--outcome-0)" in use for use in uses) == marks
