"""A repeated seed has equal scores, or scores inside or outside the prediction interval."""

import pytest

from experiment.conftest import record
from rnnjax.errors import InputError
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, PASS, UNCHECKED
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append
from rnnjax.experiment.repetition import choose_entries, compare_runs, evaluate_repetition


def evaluate(folder, repeated, name="lstm"):
    experiment = Experiment.read(folder)
    entry = next(entry for entry in experiment.plan.entry if entry.name == name)
    recorded = next(run for run in experiment.runs_of(entry) if run["seed"] == repeated["seed"])
    return evaluate_repetition(experiment, entry, recorded, repeated)


def test_equal_scores_pass_despite_additional_scores(recorded):
    again = record("lstm", 1, 0.51)
    again["test"]["unknown"] = 0.2
    assert evaluate(recorded, again).verdict == PASS
    again["test"]["loss"] += 1e-15
    assert "to the last bit" not in evaluate(recorded, again).message


def test_unequal_scores_have_to_lie_in_the_prediction_interval(recorded):
    # Seeds 0.50, 0.51, 0.55: mean 0.52, sd 0.0265, t of 2 degrees 4.3027, times sqrt(1 + 1/3).
    inside, outside = (
        evaluate(recorded, record("lstm", 1, 0.65)),
        evaluate(recorded, record("lstm", 1, 0.66)),
    )
    assert (inside.verdict, outside.verdict) == (PASS, FAIL)
    assert inside.message == (
        "the numbers differ; test accuracy 0.6500 lies within 0.3886 to 0.6514, where a new run is "
        "expected (95 %) from seeds 0, 1, 5"
    )


def test_repetition_is_unchecked_without_spread_and_incomparable_on_other_data(folder):
    append(folder / "runs.jsonl", record("lstm", 0, 0.5))
    result = evaluate(folder, record("lstm", 0, 0.6))
    assert (result.verdict, result.subject) == (UNCHECKED, "lstm, seed 0")
    append(folder / "runs.jsonl", record("lstm", 1, 0.5))
    assert evaluate(folder, record("lstm", 0, 0.6)).verdict == UNCHECKED
    data = {"name": "news", "fingerprint": "e" * 64, "rows": {"train": 1}}
    assert evaluate(folder, record("lstm", 0, 0.5, data=data)).verdict == INCOMPARABLE


def test_scores_and_environments_are_compared(recorded):
    reference = {"cpus": 2, "instruction_sets": ["avx2", "fma"]}
    repeated = {"cpus": 4, "instruction_sets": ["avx512f", "fma"]}
    lines = compare_runs(
        record("lstm", 0, 0.8422, environment=reference),
        record("lstm", 0, 0.8468, environment=repeated),
    )
    assert lines == [
        "test accuracy: recorded 0.842200, repeated 0.846800, +0.004600",
        "test macro_f1: recorded 0.832200, repeated 0.836800, +0.004600",
        "test loss: recorded 0.500000, repeated 0.500000, +0.000000",
        "environment: cpus: 2 | 4; instruction_sets: avx2 | avx512f",
    ]


@pytest.mark.parametrize(
    ("names", "seed", "message"),
    [
        (["gru"], 7, r"has no run of gru, seed 7; recorded are its seeds 0, 1, 5"),
        (["grus"], 0, r"has no run of grus, seed 0; recorded are lstm, gru"),
        ([], 7, r"has no run of seed 7; recorded are seeds 0, 1, 5"),
    ],
)
def test_repeating_an_unrecorded_seed_is_refused(recorded, names, seed, message):
    with pytest.raises(InputError, match=message):
        choose_entries(Experiment.read(recorded), names, seed)


def test_choose_entries_of_a_seed(recorded):
    append(recorded / "runs.jsonl", record("gru", 8, 0.5))
    experiment = Experiment.read(recorded)
    assert [entry.name for entry in choose_entries(experiment, [], 0)] == ["lstm", "gru"]
    assert [entry.name for entry in choose_entries(experiment, [], 8)] == ["gru"]
    assert [entry.name for entry in choose_entries(experiment, ["gru"], 0)] == ["gru"]
