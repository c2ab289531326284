"""Claims are recorded with the runs: a range that was moved afterwards fails."""

import pytest

from experiment.conftest import edit, lines_of, record
from rnnjax.experiment.claims import FAIL, PASS, check_seal, seal_claims
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append, read_verified, write_records
from rnnjax.experiment.verification import check_folder

RUNS = "experiments/lesson/runs.jsonl"


def check_lstm(folder):
    """Returns verdict and message of the check of the recorded claims."""
    experiment = Experiment.read(folder)
    (result,) = check_seal(experiment, experiment.plan.entry[0])
    assert result.subject == f"{RUNS}, lstm"
    return result.verdict, result.message


def test_unchanged_claims_pass_and_entries_without_claims_have_no_result(recorded):
    assert check_lstm(recorded) == (PASS, "the claims are as recorded with the runs")
    experiment = Experiment.read(recorded)
    assert check_seal(experiment, experiment.plan.entry[1]) == []
    text = (recorded / "runs.jsonl").read_text()
    assert seal_claims(experiment, "no change") == []
    assert (recorded / "runs.jsonl").read_text() == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0.5, 0.6]", "[0.5, 0.7]", "claims test.accuracy from 0.5 to 0.7, and recorded is "),
        ('"test.accuracy" =', '"test.loss" =', "claims test.loss from 0.5 to 0.6, and recorded is"),
        ('claims = { "test.accuracy" = [0.5, 0.6] }\n', "", "claims nothing, and recorded is"),
    ],
)
def test_claim_moved_after_the_runs_fails(recorded, old, new, message):
    edit(recorded / "experiment.toml", old, new)
    verdict, actual = check_lstm(recorded)
    assert verdict == FAIL
    assert actual.startswith(message)
    assert "test.accuracy from 0.5 to 0.6 of seeds 0, 1, 5; " in actual
    assert "python -m rnnjax.experiment experiments/lesson --seal=REASON" in actual
    assert (FAIL, f"{RUNS}, lstm", actual) in check_folder(recorded, {}).results


def test_changed_claim_is_recorded_with_its_reason(recorded):
    edit(recorded / "experiment.toml", "[0.5, 0.6]", "[0.4, 0.6]")
    append(recorded / "runs.jsonl", record("lstm", 6, 0.5, claims={"test.accuracy": [0.4, 0.6]}))
    assert "test.accuracy from 0.5 to 0.6 of seeds 0, 1, 5; " in check_lstm(recorded)[1]
    runs = lines_of(recorded / "runs.jsonl")
    assert seal_claims(Experiment.read(recorded), "one more seed") == ["lstm"]
    assert check_lstm(recorded) == (
        PASS,
        "the claims are as recorded with the runs: one more seed",
    )
    for previous, run in zip(runs, read_verified(recorded / "runs.jsonl"), strict=True):
        if run["name"] == "lstm":
            assert run.pop("claims_reason") == "one more seed"
            assert run["claims"] == {"test.accuracy": [0.4, 0.6]}
        assert {**run, "claims": 0, "digest": 0} == {**previous, "claims": 0, "digest": 0}


def test_claim_without_a_record_of_it_fails(recorded):
    runs = read_verified(recorded / "runs.jsonl")
    for run in runs:
        run.pop("claims")
    write_records(recorded / "runs.jsonl", runs)
    assert check_lstm(recorded)[0] == FAIL
    assert "and recorded is nothing of seeds 0, 1, 5; " in check_lstm(recorded)[1]


def test_edited_claim_of_a_record_is_found(recorded):
    edit(recorded / "experiment.toml", "[0.5, 0.6]", "[0.4, 0.6]")
    path = recorded / "runs.jsonl"
    path.write_text(path.read_text().replace("[0.5, 0.6]", "[0.4, 0.6]"))
    assert check_lstm(recorded)[0] == PASS
    results = check_folder(recorded, {}).results
    assert [(result.verdict, result.subject) for result in results] == [
        (FAIL, f"{RUNS}, line {line}") for line in (1, 2, 3)
    ]
