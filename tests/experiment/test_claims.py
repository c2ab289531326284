"""Claims about the mean over seeds: inside, outside, incomparable, or about no number."""

import pytest

from experiment.conftest import edit, record
from rnnjax.errors import InputError
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, PASS, evaluate_claims, format_seeds
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append


def results_of(folder):
    experiment = Experiment.read(folder)
    return [
        result for entry in experiment.plan.entry for result in evaluate_claims(experiment, entry)
    ]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([0, 1, 2, 3, 4], "0 to 4"), ([7, 8, 9], "7 to 9"), ([0, 1], "0, 1"), ([0, 1, 3], "0, 1, 3")],
)
def test_format_seeds(seeds, text):
    assert format_seeds(seeds) == text


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [("[0.5, 0.6]", PASS), ("[0.52, 0.53]", PASS), ("[0.521, 1]", FAIL), ("[0.1, 0.519]", FAIL)],
)
def test_mean_inside_the_range_passes_and_outside_fails(recorded, claim, verdict):
    edit(recorded / "experiment.toml", "[0.5, 0.6]", claim)
    (result,) = results_of(recorded)
    assert result.verdict == verdict
    assert result.subject.startswith("lstm, test.accuracy from ")
    assert result.message == (
        "0.5200, interval 0.4543 to 0.5857 of seeds 0, 1, 5; as many new runs: 0.4271 to 0.6129"
    )


def test_every_claim_of_an_entry_has_a_result(recorded):
    claims = '[0.5, 0.6], "parameters" = [1, 2], "test.macro_f1" = [0.5, 0.6]'
    edit(recorded / "experiment.toml", "[0.5, 0.6]", claims)
    assert [result.verdict for result in results_of(recorded)] == [PASS, FAIL, PASS]


def test_additional_seeds_count(recorded):
    append(recorded / "runs.jsonl", record("lstm", 6, 0.9))
    (result,) = results_of(recorded)
    assert (result.verdict, result.message[:6]) == (FAIL, "0.6150")


def test_missing_seed_fails_with_and_without_a_claim(recorded):
    edit(recorded / "experiment.toml", "seeds = [0, 1, 5]", "seeds = [0, 1, 3, 4, 5]")
    message = "lacks runs of seeds 3, 4; run the experiment"
    assert results_of(recorded) == [(FAIL, "lstm", message), (FAIL, "gru", message)]
    (recorded / "runs.jsonl").unlink()
    assert [result.message for result in results_of(recorded)] == [
        message.replace("3, 4", "0, 1, 3, 4, 5")
    ] * 2


def test_runs_on_other_data_are_incomparable(recorded):
    edit(recorded / "experiment.toml", "seeds = [0, 1, 5]", 'seeds = [0, 1, 5]\ndata = "eeee"')
    (result,) = results_of(recorded)
    assert result.verdict == INCOMPARABLE
    assert (
        "fingerprint eeee, and seeds 0, 1, 5 were trained on others, ffffffffffff" in result.message
    )
    edit(recorded / "experiment.toml", "eeee", "f" * 64)
    assert results_of(recorded)[0].verdict == PASS


def test_runs_that_disagree_on_the_data_are_incomparable(recorded):
    data = {"name": "news", "fingerprint": "0" * 64, "rows": {"train": 48_000}}
    append(recorded / "runs.jsonl", record("lstm", 6, 0.52, data=data))
    (result,) = results_of(recorded)
    assert result.verdict == INCOMPARABLE
    assert "ffffffffffff, and seeds 6 were trained on others, 000000000000" in result.message


@pytest.mark.parametrize("metric", ["test.acuracy", "accuracy", "name", "test"])
def test_claim_about_a_missing_number_is_refused(recorded, metric):
    edit(recorded / "experiment.toml", "test.accuracy", metric)
    with pytest.raises(InputError, match=rf"lstm claims {metric}, which is no number of its runs"):
        results_of(recorded)
