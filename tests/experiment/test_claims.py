"""A mean over seeds lies where it was claimed to lie, or it does not, or nobody can say."""

import pytest

from experiment.conftest import edit, record
from rnnjax.errors import InputError
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, PASS, in_words, judge
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append


def verdicts(folder):
    experiment = Experiment.read(folder)
    return [finding for entry in experiment.plan.entry for finding in judge(experiment, entry)]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [([0, 1, 2, 3, 4], "0 to 4"), ([7, 8, 9], "7 to 9"), ([0, 1], "0, 1"), ([0, 1, 3], "0, 1, 3")],
)
def test_seeds_are_told_in_few_words(seeds, words):
    assert in_words(seeds) == words


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [("[0.5, 0.6]", PASS), ("[0.52, 0.53]", PASS), ("[0.521, 1]", FAIL), ("[0.1, 0.519]", FAIL)],
)
def test_a_mean_inside_passes_and_one_outside_fails(recorded, claim, verdict):
    edit(recorded / "experiment.toml", "[0.5, 0.6]", claim)
    (finding,) = verdicts(recorded)
    assert finding.verdict == verdict
    assert finding.of.startswith("lstm, test.accuracy from ")
    assert finding.says == (
        "0.5200, interval 0.4543 to 0.5857 of seeds 0, 1, 5; as many new runs: 0.4271 to 0.6129"
    )


def test_several_claims_of_an_entry_are_judged_each(recorded):
    claims = '[0.5, 0.6], "parameters" = [1, 2], "test.macro_f1" = [0.5, 0.6]'
    edit(recorded / "experiment.toml", "[0.5, 0.6]", claims)
    assert [finding.verdict for finding in verdicts(recorded)] == [PASS, FAIL, PASS]


def test_every_run_counts_also_of_seeds_beyond_those_that_must_be_there(recorded):
    append(recorded / "runs.jsonl", record("lstm", 6, 0.9))
    (finding,) = verdicts(recorded)
    assert (finding.verdict, finding.says[:6]) == (FAIL, "0.6150")


def test_a_seed_without_a_run_fails_with_or_without_a_claim(recorded):
    edit(recorded / "experiment.toml", "seeds = [0, 1, 5]", "seeds = [0, 1, 3, 4, 5]")
    says = "lacks runs of seeds 3, 4; run the experiment"
    assert verdicts(recorded) == [(FAIL, "lstm", says), (FAIL, "gru", says)]
    (recorded / "runs.jsonl").unlink()
    assert [finding.says for finding in verdicts(recorded)] == [
        says.replace("3, 4", "0, 1, 3, 4, 5")
    ] * 2


def test_runs_on_other_data_are_incomparable(recorded):
    edit(recorded / "experiment.toml", "seeds = [0, 1, 5]", 'seeds = [0, 1, 5]\ndata = "eeee"')
    (finding,) = verdicts(recorded)
    assert finding.verdict == INCOMPARABLE
    assert (
        "fingerprint eeee, and seeds 0, 1, 5 were trained on others, ffffffffffff" in finding.says
    )
    edit(recorded / "experiment.toml", "eeee", "f" * 64)
    assert verdicts(recorded)[0].verdict == PASS


def test_runs_that_disagree_on_the_data_are_incomparable(recorded):
    other = {"name": "news", "fingerprint": "0" * 64, "rows": {"train": 48_000}}
    append(recorded / "runs.jsonl", record("lstm", 6, 0.52, data=other))
    (finding,) = verdicts(recorded)
    assert finding.verdict == INCOMPARABLE
    assert "ffffffffffff, and seeds 6 were trained on others, 000000000000" in finding.says


@pytest.mark.parametrize("metric", ["test.acuracy", "accuracy", "name", "test"])
def test_a_claim_about_what_no_run_has_is_refused(recorded, metric):
    edit(recorded / "experiment.toml", "test.accuracy", metric)
    with pytest.raises(InputError, match=rf"lstm claims {metric}, which is no number of its runs"):
        verdicts(recorded)
