"""A seed that was trained again is the same, or where a new run is expected, or elsewhere."""

import pytest

from experiment.conftest import record
from rnnjax.errors import InputError
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, PASS, UNCHECKED
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append
from rnnjax.experiment.repetition import choose_entries, evaluate_repetition, compare_runs


def judged(folder, repeated, name="lstm"):
    experiment = Experiment.read(folder)
    entry = next(entry for entry in experiment.plan.entry if entry.name == name)
    recorded = next(run for run in experiment.runs_of(entry) if run["seed"] == repeated["seed"])
    return evaluate_repetition(experiment, entry, recorded, repeated)


def test_the_same_numbers_pass_also_where_more_is_scored_now(recorded):
    again = record("lstm", 1, 0.51)
    again["test"]["unknown"] = 0.2
    assert judged(recorded, again).verdict == PASS
    again["test"]["loss"] += 1e-15
    assert "to the last bit" not in judged(recorded, again).says


def test_other_numbers_have_to_lie_where_one_new_run_is_expected(recorded):
    # Seeds 0.50, 0.51, 0.55: mean 0.52, sd 0.0265, t of 2 degrees 4.3027, times sqrt(1 + 1/3).
    inside, outside = (
        judged(recorded, record("lstm", 1, 0.65)),
        judged(recorded, record("lstm", 1, 0.66)),
    )
    assert (inside.verdict, outside.verdict) == (PASS, FAIL)
    assert inside.says == (
        "the numbers differ; test accuracy 0.6500 lies within 0.3886 to 0.6514, where a new run is "
        "expected (95 %) from seeds 0, 1, 5"
    )


def test_without_a_spread_nothing_is_judged_and_other_data_are_incomparable(folder):
    append(folder / "runs.jsonl", record("lstm", 0, 0.5))
    found = judged(folder, record("lstm", 0, 0.6))
    assert (found.verdict, result.subject) == (UNCHECKED, "lstm, seed 0")
    append(folder / "runs.jsonl", record("lstm", 1, 0.5))
    assert judged(folder, record("lstm", 0, 0.6)).verdict == UNCHECKED
    other = {"name": "news", "fingerprint": "e" * 64, "rows": {"train": 1}}
    assert judged(folder, record("lstm", 0, 0.5, data=other)).verdict == INCOMPARABLE


def test_both_scores_and_the_machines_are_told(recorded):
    ours = {"cpus": 2, "instruction_sets": ["avx2", "fma"]}
    theirs = {"cpus": 4, "instruction_sets": ["avx512f", "fma"]}
    lines = compare_runs(
        record("lstm", 0, 0.8422, environment=ours),
        record("lstm", 0, 0.8468, environment=theirs),
    )
    assert lines == [
        "test accuracy: recorded 0.842200, repeated 0.846800, +0.004600",
        "test macro_f1: recorded 0.832200, repeated 0.836800, +0.004600",
        "test loss: recorded 0.500000, repeated 0.500000, +0.000000",
        "environment: cpus: 2 | 4; instruction_sets: avx2 | avx512f",
    ]


@pytest.mark.parametrize(
    ("names", "seed", "says"),
    [
        (["gru"], 7, r"has no run of gru, seed 7; recorded are its seeds 0, 1, 5"),
        (["grus"], 0, r"has no run of grus, seed 0; recorded are lstm, gru"),
        ([], 7, r"has no run of seed 7; recorded are seeds 0, 1, 5"),
    ],
)
def test_what_is_not_recorded_cannot_be_repeated(recorded, names, seed, says):
    with pytest.raises(InputError, match=says):
        choose_entries(Experiment.read(recorded), names, seed)


def test_the_entries_of_a_seed_are_chosen(recorded):
    append(recorded / "runs.jsonl", record("gru", 8, 0.5))
    experiment = Experiment.read(recorded)
    assert [each.name for each in choose_entries(experiment, [], 0)] == ["lstm", "gru"]
    assert [each.name for each in choose_entries(experiment, [], 8)] == ["gru"]
    assert [each.name for each in choose_entries(experiment, ["gru"], 0)] == ["gru"]
