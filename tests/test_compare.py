"""The command `rnnjax compare`: its table, its plot, and the runs it refuses to compare."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import run_command
from reporting import runs
from scipy import stats

from rnnjax import config as schema
from rnnjax.cli.launcher import call_command
from rnnjax.errors import InputError
from rnnjax.reporting.record_digest import with_digest

ENVIRONMENT = {"commit": "a1", "dirty": False, "packages": {"jax": "0.10.2"}, "started": "now"}
GRU = [0.85, 0.86, 0.84, 0.85, 0.87, 0.83]
BETTER = [0.862, 0.864, 0.85, 0.857, 0.871, 0.843]


def recorded(name, accuracies, first_seed=0, environment=None, **changes):
    """Returns lines of a runs.jsonl; `model__cell="GRUCell"` sets a key of their config."""
    config = schema.defaults()
    del config["seed"]
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = config
        for part in sections:
            section = section[part]
        section[key] = value
    return [
        {
            "name": name,
            "seed": seed,
            "config": config,
            "test": {"loss": 1 - value, "accuracy": value, "macro_f1": value, "rows": 7_600},
            "data": {"name": "news", "fallback": "", "fingerprint": "f00d", "rows": {}},
            "environment": environment or ENVIRONMENT,
        }
        for seed, value in enumerate(accuracies, start=first_seed)
    ]


def write(folder, *lines):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(with_digest(line)) + "\n" for group in lines for line in group)
    (folder / "runs.jsonl").write_text(text)
    return folder


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A recorded experiment, seen from its parent folder."""
    monkeypatch.chdir(tmp_path)
    changed = {**ENVIRONMENT, "commit": "b2", "devices": ["cpu:0"]}
    return write(
        tmp_path / "cells",
        recorded("gru", GRU, model__cell="GRUCell", data__dir="here"),
        recorded("better", BETTER, model__cell="LSTMCell", environment=changed),
        recorded("elsewhere", GRU[:5], first_seed=10),
        recorded("few", GRU[:3]),
    )


@pytest.fixture
def run_compare(capsys):
    """A function that runs the command, and returns its output."""

    def run(*arguments):
        call_command("compare", [*map(str, arguments)])
        return capsys.readouterr().out

    return run


def row(text, name):
    """The cells of a line of the table."""
    (line,) = [line for line in text.splitlines() if re.match(rf"{re.escape(name)}  ", line)]
    return re.split(r"\s{2,}", line)


def test_two_names_of_an_experiment(cells, run_compare):
    text = run_compare("cells:gru", "cells:better")
    assert text.startswith("test.accuracy, higher is better; against gru\n")
    name, count, mean, difference, interval, p, verdict = row(text, "better")
    assert (name, count, difference) == ("better", "6", "+0.0078")
    assert mean == f"{np.mean(BETTER):.4f} ± {np.std(BETTER, ddof=1):.4f}"
    tested = stats.ttest_rel(BETTER, GRU)
    assert interval == "[{:+.4f}, {:+.4f}]".format(*tested.confidence_interval())
    assert p == f"{tested.pvalue:.3g}"
    assert verdict == "better (p below 0.05)"
    linked = np.corrcoef(GRU, BETTER)[0, 1]
    assert f"paired by seeds 0, 1, 2, 3, 4, 5, correlation of the pairs {linked:+.2f}" in text
    assert "permutation p 0.0312\n" in text
    assert "  config: model.cell: 'GRUCell', 'LSTMCell'\n" in text
    assert "environment: commit: a1 | b2; recorded of one group alone: devices\n" in text


def test_differences_within_groups_are_listed(cells, run_compare):
    changed = {**ENVIRONMENT, "dirty": True, "packages": {"jax": "0.11.0"}}
    sides = [
        recorded(name, GRU[:3]) + recorded(name, GRU[3:], 3, environment=changed)
        for name in ("one", "two")
    ]
    write(cells, *sides)
    mixed = "dirty: False and True | False and True; packages.jax: 0.10.2 and 0.11.0 | 0.10.2 and "
    assert f"environment: {mixed}0.11.0\n" in run_compare("cells")


def test_another_processor_is_named_by_what_only_one_of_the_two_has(cells, run_compare):
    reference = {
        "processor_identity": {"model": "17"},
        "instruction_sets": ["avx2", "avx512f", "fma"],
    }
    candidate = {"processor_identity": {"model": "1"}, "instruction_sets": ["avx2", "fma"]}
    sides = (
        recorded(
            "one", GRU, environment={**ENVIRONMENT, **reference, "caches": {"L2 unified": "1M"}}
        ),
        recorded(
            "two", GRU, environment={**ENVIRONMENT, **candidate, "caches": {"L2 unified": "2M"}}
        ),
    )
    write(cells, *sides)
    differing = "processor_identity.model: 17 | 1; instruction_sets: avx512f | none; "
    assert f"environment: {differing}caches.L2 unified: 1M | 2M\n" in run_compare("cells")


def test_a_whole_experiment_against_one_of_its_names_is_corrected(cells, run_compare):
    text = run_compare("cells:better", "cells")
    assert "p, Holm" in text.splitlines()[2]
    assert row(text, "gru")[-1] == "worse (p below 0.05)"
    assert row(text, "elsewhere")[-1] == "no difference shown"
    assert row(text, "few")[-1] == "no verdict: fewer than 5 seeds"
    alone = run_compare("cells:better", "cells:gru")
    assert float(row(text, "gru")[5]) == pytest.approx(3 * float(row(alone, "gru")[5]), rel=0.02)
    # The first name in the record is the first side where none is given.
    assert "against gru" in run_compare("cells").splitlines()[0]


def test_other_seeds_are_not_paired(cells, run_compare):
    text = run_compare("cells:gru", "cells/runs.jsonl:elsewhere")
    assert "not paired" in text
    assert "seeds 0, 1, 2, 3, 4, 5 and 10, 11, 12, 13, 14" in text
    assert row(text, "elsewhere")[-1] == "no difference shown"
    assert re.search(r"would take (\d+|more than 1,000) seeds of each side", text)


def test_a_lower_loss_is_better_and_json_has_every_number(cells, run_compare):
    asked = ("cells:gru", "cells:better", "cells:few", "--metric=test.loss")
    assert row(run_compare(*asked), "better")[-1] == "better (p below 0.05)"
    result = json.loads(run_compare(*asked, "--json"))
    assert (result["metric"], result["first"]) == ("test.loss", "cells:gru")
    better, few = result["comparisons"]
    assert (better["name"], better["verdict"], better["runs"]) == ("cells:better", "lower", [6, 6])
    assert better["difference"] == pytest.approx(np.mean(GRU) - np.mean(BETTER))
    assert better["p_corrected"] == pytest.approx(2 * better["p"])
    assert better["interval"][0] < better["difference"] < better["interval"][1]
    assert better["minimum_detectable_effect"] > 0
    assert (few["verdict"], few["seeds_needed"]) == ("none", 0)
    assert few["p"] == "nan"
    assert few["environment"] == []


def test_five_pairs_are_told_what_a_permutation_cannot_show(cells, run_compare):
    write(cells, recorded("gru", GRU[:5]), recorded("better", BETTER[:5]))
    text = run_compare("cells")
    assert row(text, "better")[-1] == "better (p below 0.05)"
    assert "permutation p 0.0625 (it cannot be below 0.0625, 6 pairs could show a diff" in text


def test_bootstrap_of_two_seeds_asks_for_more(cells, run_compare):
    write(cells, recorded("gru", GRU[:2]), recorded("better", BETTER[:2]))
    assert "by resampling: 95 % interval needs more seeds, permutation p" in run_compare("cells")
    # Of three and more, an end that ties leave undetermined is infinite.
    write(cells, recorded("gru", GRU), recorded("better", BETTER))
    assert re.search(r"by resampling: 95 % interval \[[+-]\d", run_compare("cells"))


def test_folders_of_runs_and_of_replicates(tmp_path, monkeypatch, run_compare):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        for folder in (Path("runs", f"a-seed{seed}"), Path("runs", "b", f"seed-{seed}")):
            accuracy = 0.8 + seed / 100 + (0.01 + seed / 1000) * (folder.parts[1] == "b")
            scores = {"loss": 0.5, "accuracy": accuracy, "macro_f1": accuracy, "rows": 7_600}
            runs.write(folder, test=scores)
            config = {"name": "gru", "config": {**schema.defaults(), "seed": seed}}
            (folder / "config.json").write_text(json.dumps(config))
            runs.reseal(folder)
    (tmp_path / "runs" / "b" / "config.json").write_text("{}")
    for one in ("runs/a-seed*", tmp_path / "runs" / "a-seed*"):
        text = run_compare(one, "runs/b")
        assert row(text, "b")[1:4] == ["3", "0.8210 ± 0.0110", "+0.0110"]
        assert "paired by seeds 0, 1, 2" in text
        assert "config: the same" in text
        assert "environment: the same" in text
    single = run_compare("runs/a-seed0", "runs/b/seed-0")
    assert row(single, "seed-0")[1:] == ["1", "0.8100", "+0.0100", "no verdict: fewer than 5 seeds"]
    assert "no spread" in single


@pytest.mark.parametrize("name", ["config.json", "environment.json", "result.json"])
def test_an_edited_file_of_a_run_is_refused(cells, run_compare, name):
    path = runs.write(cells.parent / "run") / name
    text = path.read_text()
    edited = text.replace("0.0", "0.1").replace("ag_news_csv", "ag_news")
    assert edited != text
    path.write_text(edited)
    with pytest.raises(InputError, match=rf"{name} is damaged \(its digest"):
        run_compare("cells:gru", "run")


def test_it_is_drawn(cells, run_compare):
    run_compare("cells:gru", "cells:better", "cells:elsewhere", "--plot=cells/difference.svg")
    drawing = (cells / "difference.svg").read_text()
    assert {"better", "elsewhere", "minus gru"} <= set(re.findall(r"<text[^>]*>([^<]*)", drawing))
    joined = re.findall(r"stroke: var\(--line\); stroke-width: 1.2", drawing)
    assert len(joined) == 6  # the pairs; those that share no seeds are not joined
    dots = [
        len(re.findall(f"<use [^>]*fill: var\\(--{name}\\)", drawing))
        for name in ("quiet", "train")
    ]
    assert dots == [6 + 6 + 6, 6 + 5]
    assert not re.search("#00000[1-7]", drawing)
    assert "prefers-color-scheme: dark" in drawing


def changed_runs(**changes):
    """Lines of a name like the first but for the changes."""
    return [{**line, **changes} for line in recorded("b", GRU)]


SCORES = {"loss": 0.1, "accuracy": 0.9, "macro_f1": 0.9, "rows": 7_600}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (recorded("b", GRU) + recorded("b", [0.8]), "line 7 and .*line 13 both have seed 0"),
        (recorded("b", [0.8]) + recorded("b", GRU, 1, epochs=2), "configs .epochs: 1, 2"),
        (changed_runs(data={"fingerprint": "cafe"}), "fingerprint of the data: f00d, cafe"),
        (changed_runs(test={**SCORES, "rows": 100}), "test rows: 7600, 100"),
        (
            changed_runs(data={"fingerprint": "f00d", "fallback": "docstrings"}),
            "fallback data: , docstrings",
        ),
        (changed_runs(test={**SCORES, "accuracy": "nan"}), "line 7: test.accuracy is not finite"),
        ([{"name": "b", "seed": 0}], "line 7: config: .*expected a run as rnnjax.experiment"),
        (changed_runs(config={"epoch": 1}), "line 7: config.epoch: .*did you mean"),
    ],
)
def test_incomparable_runs_are_refused(cells, run_compare, lines, message):
    write(cells, recorded("gru", GRU), lines)
    with pytest.raises(InputError, match=message):
        run_compare("cells")


def test_an_edited_line_is_refused(cells, run_compare):
    path = cells / "runs.jsonl"
    path.write_text(path.read_text().replace("0.862", "0.872"))
    with pytest.raises(InputError, match=r"line 7: is not as it was recorded \(its digest"):
        run_compare("cells:gru", "cells:few")


@pytest.mark.parametrize("task", ["language_modeling", "translation"])
def test_scores_of_other_tokens_are_refused_and_those_of_texts_are_not(cells, run_compare, task):
    many, few = (
        recorded(name, GRU, task=task, data__vocabulary__size=size)
        for name, size in (("many", 20_000), ("few", 100))
    )
    for line in [*many, *few]:
        line["test"] |= {"perplexity": 9.0, "bleu": 30.0 + line["seed"]}
    write(cells, many, few)
    for metric in ("loss", "accuracy", "perplexity"):
        with pytest.raises(InputError, match=r"words of all rows, at most 20000, words of .* 100"):
            run_compare("cells", f"--metric=test.{metric}")
    if task == "translation":
        assert row(run_compare("cells", "--metric=test.bleu"), "few")[3] == "+0.0000"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"given \[\]; expected two or more different groups"),
        (["cells:gru"], r"given \['cells:gru'\]; expected two or more different groups"),
        (
            ["cells:gru", "cells/:gru", "cells/runs.jsonl:gru"],
            "which are the same runs; expected",
        ),
        (["cells:gru", ""], "config.json is missing"),
        (["cells:gru", "runs/*"], r"runs/\*: there are no such runs; expected the folder"),
        (["cells:gru", "cells:gruu"], "no run is recorded as 'gruu'; there are gru, better"),
        (["cells:gru", "empty"], "no run is recorded yet"),
        (["cells:gru", "."], "config.json is missing"),
        (["cells", "--metric=test.speed"], "has no test.speed; .* test.loss, test.accuracy"),
        (["cells", "--metric=validation.loss"], "has no validation.loss"),
        (["cells", "--metric=test.rows"], "has no test.rows"),
        (["cells", "--plot=a.png"], "ends in .svg"),
        (["cells", "--plot=no/such/a.svg"], "in a folder that is"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(cells, run_compare, arguments, message):
    write(cells.parent / "empty")
    files = sorted(cells.parent.rglob("*"))
    with pytest.raises(InputError, match=message):
        run_compare(*arguments)
    assert sorted(cells.parent.rglob("*")) == files


def test_it_is_typed(cells):
    ended = run_command("compare", "cells:gru", "cells:better", "--json", folder=cells.parent)
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out)["comparisons"][0]["verdict"] == "higher"
    assert run_command("compare", "cells:gru", folder=cells.parent).status == 2
