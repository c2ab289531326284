"""A claim is sealed with its config: a range that was moved afterwards shows."""

from pathlib import Path

import pytest

from experiment.conftest import edit, lines_of, record, seal
from rnnjax.errors import InputError
from rnnjax.experiment.claims import FAIL, PASS
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append, read_verified
from rnnjax.experiment.verification import check_folder

CLAIMS = "experiments/lesson/claims.jsonl"


def verdict(folder):
    """Returns the verdict on the sealed claims, and why."""
    (found,) = (each for each in check_folder(folder, {}).findings if each.of.startswith(CLAIMS))
    return found.verdict, found.says


def test_a_claim_is_sealed_once_with_its_config_and_the_seeds_that_were_there(folder):
    assert seal(folder) == ["lstm"]
    assert seal(folder) == []
    (line,) = lines_of(folder / "claims.jsonl")
    assert (line["name"], line["claims"]) == ("lstm", {"test.accuracy": [0.5, 0.6]})
    assert (line["config"]["batch_size"], line["seeds"]) == (16, [])
    for seed in (0, 1, 5):
        append(folder / "runs.jsonl", record("lstm", seed, 0.5))
        append(folder / "runs.jsonl", record("gru", seed, 0.5))
    assert verdict(folder) == (PASS, "the claims are as sealed, before its runs")
    edit(folder / "experiment.toml", "[0.5, 0.6]", "[0.4, 0.6]")
    assert seal(folder) == []  # a moved range is sealed with a reason only
    assert seal(folder, "three seeds more") == ["lstm"]
    assert verdict(folder) == (
        PASS,
        "the claims are as sealed, after seeds 0, 1, 5: three seeds more",
    )
    assert len(lines_of(folder / "claims.jsonl")) == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[0.5, 0.6]", "[0.5, 0.7]", "claims test.accuracy from 0.5 to 0.7, and sealed was "),
        ('"test.accuracy" =', '"test.loss" =', "claims test.loss from 0.5 to 0.6, and sealed was"),
        ('claims = { "test.accuracy" = [0.5, 0.6] }\n', "", "claims nothing, and sealed was"),
        ("seeds =", f'data = "{"f" * 64}"\nseeds =', "the claims were sealed of other data"),
    ],
)
def test_a_claim_that_was_moved_after_the_runs_fails(recorded, old, new, says):
    assert verdict(recorded)[0] == PASS
    edit(recorded / "experiment.toml", old, new)
    assert verdict(recorded)[0] == FAIL
    assert verdict(recorded)[1].startswith(says)
    assert "python -m rnnjax.experiment experiments/lesson --seal=WHY" in verdict(recorded)[1]


def test_a_claim_on_another_config_fails_also_where_the_runs_are_of_it(recorded):
    edit(Path("configs/lstm.py"), '"batch_size": 16', '"batch_size": 8')
    config = {**record("lstm", 0, 0.5)["config"], "batch_size": 8}
    (recorded / "runs.jsonl").unlink()
    for seed in (0, 1, 5):
        append(recorded / "runs.jsonl", record("lstm", seed, 0.55, config=config))
    found, says = verdict(recorded)
    assert found == FAIL
    assert says.startswith(
        "the claims were sealed of another config (now, then): batch_size: 8, 16;"
    )


def test_a_claim_without_a_seal_fails_and_an_edited_seal_is_named(recorded):
    path = recorded / "claims.jsonl"
    text = path.read_text()
    path.unlink()
    assert verdict(recorded)[1].startswith("the claims are not sealed; ")
    edit(recorded / "experiment.toml", "[0.5, 0.6]", "[0.4, 0.6]")
    path.write_text(text.replace("[0.5, 0.6]", "[0.4, 0.6]"))
    (finding,) = check_folder(recorded, {}).findings
    assert (finding.verdict, finding.of) == (FAIL, f"{CLAIMS}, line 1")
    with pytest.raises(InputError, match=r"claims.jsonl, line 1: is not as it was recorded"):
        read_verified(path)


def test_a_claim_may_be_made_before_a_new_key_of_the_config_is_there(recorded):
    (line,) = read_verified(recorded / "claims.jsonl")
    del line["config"]["data"]["take"]
    (recorded / "claims.jsonl").unlink()
    append(recorded / "claims.jsonl", line)
    assert verdict(recorded)[0] == PASS
    assert Experiment.read(recorded).runs
