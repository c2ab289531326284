"""Verification of records, configs, claims and pages: agreement passes, differences are named."""

import json
from pathlib import Path

import pytest

from experiment.conftest import edit, record
from rnnjax.errors import InputError
from rnnjax.experiment import pages
from rnnjax.experiment.claims import FAIL, PASS
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append
from rnnjax.experiment.verification import check_folder
from rnnjax.reporting import record_digest

ABOVE = "# All\n<!-- experiments/lesson: begin -->\n<!-- experiments/lesson: end -->\nmore\n"
SENTENCE = (
    "experiments/lesson, {}: 1,281,348 parameters, 48,000 training rows, test accuracy "
    "0.5200 ± 0.0265 (mean ± sd of seeds 0, 1, 5), trained in 10 s on 2 CPU cores."
)


def check(folder):
    return check_folder(folder, {}).results


def failures(folder):
    """Returns subjects and messages of the failures."""
    results = check(folder)
    assert {result.verdict for result in results} <= {PASS, FAIL}
    return [f"{result.subject}: {result.message}" for result in results if result.verdict == FAIL]


@pytest.fixture
def rendered(recorded):
    Path("README.md").write_text(ABOVE)
    pages.write(Experiment.read(recorded))
    return recorded


def document(config, *paragraphs):
    """Inserts paragraphs into a config's docstring."""
    edit(
        Path("configs", f"{config}.py"),
        "A network.",
        "A network.\n\n" + "\n".join(paragraphs) + "\n",
    )


def test_agreement_passes(rendered):
    assert [(result.verdict, result.subject) for result in check(rendered)] == [
        (PASS, "experiments/lesson/runs.jsonl"),
        (PASS, "experiments/lesson/runs.jsonl, lstm"),
        (PASS, "lstm, test.accuracy from 0.5 to 0.6"),
        (PASS, "experiments/lesson/README.md"),
        (PASS, "README.md"),
        (PASS, "experiments/lesson/seeds.svg"),
        (PASS, "experiments/lesson/README.md"),
    ]


@pytest.mark.parametrize("page", ["README.md", "experiments/lesson/README.md"])
def test_edited_number_of_a_page_fails(rendered, page):
    text = Path(page).read_text()
    Path(page).write_text(text.replace("0.5200", "0.5300", 1))
    (failure,) = failures(rendered)
    number = text[: text.index("0.5200")].count("\n") + 1
    assert failure.startswith(f"{page}: does not show the records at line {number};")


def test_outdated_or_missing_plot_fails(rendered):
    append(rendered / "runs.jsonl", record("gru", 7, 0.6))
    assert any("seeds.svg: shows other runs" in failure for failure in failures(rendered))
    pages.write(Experiment.read(rendered))
    (rendered / "seeds.svg").unlink()
    (failure,) = failures(rendered)
    assert failure.startswith("experiments/lesson/seeds.svg: shows other runs, or is missing")


@pytest.mark.parametrize(
    ("old", "new"), [('"loss": 0.5', '"loss": 0.4'), ('"steps": 9', '"steps": 8')]
)
def test_edited_record_that_no_page_shows_fails(rendered, old, new):
    append(rendered / "runs.jsonl", record("gru", 7, 0.6, steps=9))
    pages.write(Experiment.read(rendered))
    assert failures(rendered) == []
    path = rendered / "runs.jsonl"
    *rest, last = path.read_text().splitlines()
    assert old in last
    path.write_text("\n".join([*rest, last.replace(old, new)]) + "\n")
    (failure,) = failures(rendered)
    assert failure.startswith(f"{path}, line 7: gru, seed 7, is not as it was recorded")


def test_record_without_digest_fails(rendered):
    path = rendered / "runs.jsonl"
    first, *rest = path.read_text().splitlines()
    run = json.loads(first)
    del run["digest"]
    path.write_text("\n".join([json.dumps(run), *rest]) + "\n")
    assert [failure[:44] for failure in failures(rendered)] == [
        f"{path}, line 1: lstm, seed 0"[:44]
    ]


@pytest.mark.parametrize("key", ["name", "seed", "config", "test", "data", "environment"])
def test_record_without_a_required_key_is_refused(rendered, key):
    path = rendered / "runs.jsonl"
    first, *rest = path.read_text().splitlines()
    run = json.loads(first)
    del run[key]
    path.write_text("\n".join([json.dumps(run), *rest]) + "\n")
    with pytest.raises(InputError, match=rf"line 1: is no record of a run, it has no '{key}'"):
        Experiment.read(rendered)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("name", ["lstm"]), ("seed", "0"), ("config", "c"), ("test", "t"), ("data", "d")],
        *[("data", {}), ("environment", "e"), ("parameters", "p"), ("test", {"accuracy": "high"})],
    ],
)
def test_edited_record_of_any_content_fails(rendered, key, value):
    path = rendered / "runs.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), key: value}), *rest]) + "\n")
    (failure,) = failures(rendered)
    assert failure.startswith(f"{path}, line 1: ")
    assert failure.endswith(record_digest.BROKEN)


def test_records_of_additional_files_are_verified(rendered):
    run = {"name": "scan", "seed": 0, "test": {"accuracy": 0.5}, "engine": "scan"}
    append(rendered / "rounding.jsonl", run)
    assert failures(rendered) == []
    edit(rendered / "rounding.jsonl", '"engine": "scan"', '"engine": "none"')
    (failure,) = failures(rendered)
    assert failure.startswith("experiments/lesson/rounding.jsonl, line 1: scan, seed 0, is not")


def test_changed_config_is_named_by_its_keys_without_evaluating_claims(rendered):
    edit(Path("configs/lstm.py"), '"batch_size": 16', '"batch_size": 8, "log_every": 5')
    results = check(rendered)
    (failure,) = [result for result in results if result.verdict == FAIL]
    assert failure.subject == "lstm"
    assert failure.message == (
        "seeds 0, 1, 5 are of another config (now, then): batch_size: 8, 16; log_every: 5, 100"
    )
    assert not any("test.accuracy" in result.subject for result in results)


def test_changed_flags_change_the_config(rendered):
    edit(rendered / "experiment.toml", "epochs=2", "epochs=9")
    assert [failure.split(":")[0] for failure in failures(rendered)] == ["lstm", "gru"]


def test_config_key_that_a_record_lacks_has_its_default(rendered):
    path = rendered / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    del runs[0]["config"]["data"]["take"]
    path.write_text("".join(json.dumps(record_digest.with_digest(run)) + "\n" for run in runs))
    assert failures(rendered) == []
    runs[0]["config"]["data"]["take"] = 5
    path.write_text("".join(json.dumps(record_digest.with_digest(run)) + "\n" for run in runs))
    assert failures(rendered) == [
        "lstm: seeds 0 are of another config (now, then): data.take: 0, 5"
    ]
    runs[0]["config"]["data"]["tike"] = 5
    path.write_text("".join(json.dumps(record_digest.with_digest(run)) + "\n" for run in runs))
    (failure,) = failures(rendered)
    assert (
        "seeds 0 are of a config that is not valid any more: config.data.tike: there is no"
        in failure
    )


def test_a_recorded_task_that_the_config_does_not_name_is_not_imported(
    rendered, tmp_path, monkeypatch
):
    (tmp_path / "foreign_task.py").write_text("raise RuntimeError('it runs')\nclass Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = rendered / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    runs[0]["config"]["task"] = "foreign_task:Mine"
    path.write_text("".join(json.dumps(record_digest.with_digest(run)) + "\n" for run in runs))
    assert failures(rendered) == [
        "lstm: seeds 0 are of another config (now, then): "
        "task: 'classification', 'foreign_task:Mine'"
    ]


def test_acknowledged_keys_do_not_change_the_config(rendered):
    path = rendered / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    runs[0]["config"]["acknowledged"]["padding_read"] = "to see it"
    path.write_text("".join(json.dumps(record_digest.with_digest(run)) + "\n" for run in runs))
    assert failures(rendered) == []


def test_runs_of_no_entry_and_duplicate_runs_fail(rendered):
    append(rendered / "runs.jsonl", record("lost", 0, 0.5))
    append(rendered / "runs.jsonl", record("gru", 1, 0.51))
    assert failures(rendered)[:2] == [
        "experiments/lesson/runs.jsonl: has gru, seed 1, more than once",
        "lost: seeds 0 are of no entry of experiment.toml",
    ]


def test_docstring_quotes_the_sentence_of_the_experiment(rendered):
    wrapped = SENTENCE.format("lstm").replace(" training rows,", "\ntraining rows,")
    document("lstm", "Adam.", wrapped, "See experiments/lesson/runs.jsonl.")
    assert failures(rendered) == []
    assert (PASS, "configs/lstm.py") in [
        (result.verdict, result.subject) for result in check(rendered)
    ]
    edit(Path("configs/lstm.py"), "0.5200", "0.5300")
    assert failures(rendered) == [
        "configs/lstm.py: names experiments/lesson and does not quote, or not only:\n    "
        + SENTENCE.format("lstm")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Test accuracy 0.9. Evidence: experiments/lesson/runs.jsonl.",
        f"{SENTENCE.format('lstm')} experiments/lesson, lstm: test accuracy 0.9",
        f"{SENTENCE.format('lstm')} {SENTENCE.format('gru')}",
    ],
)
def test_docstring_with_additional_or_without_quoted_numbers_fails(rendered, text):
    document("lstm", text)
    (failure,) = failures(rendered)
    assert failure.startswith("configs/lstm.py: names experiments/lesson and does not quote")


def test_longer_experiment_name_does_not_match(rendered):
    document("lstm", "As experiments/lesson_two and experiments/lesson-3 have it: 0.9.")
    assert failures(rendered) == []


def test_docstring_may_quote_any_entry_of_its_config(rendered):
    more = '\n[[entry]]\nname = "mine"\nconfig = "configs/gru.py"\n'
    (rendered / "experiment.toml").write_text((rendered / "experiment.toml").read_text() + more)
    for seed in (0, 1, 5):
        append(rendered / "runs.jsonl", record("mine", seed, 0.5 + seed / 100))
    pages.write(Experiment.read(rendered))
    document("gru", SENTENCE.format("mine"))
    assert failures(rendered) == []


def test_docstring_of_an_entry_without_runs_fails(rendered):
    document("gru", SENTENCE.format("gru"))
    (rendered / "runs.jsonl").unlink()
    pages.write(Experiment.read(rendered))
    assert "configs/gru.py: names experiments/lesson, which has no runs of it" in failures(rendered)
