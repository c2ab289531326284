"""Sweeps: settings, trials and their records, resuming, the chosen values, pages, refusals."""

import json
import math
import os
import signal
import statistics
from pathlib import Path

import pytest

from experiment.conftest import TRAINER, edit, lines_of, starts
from experiment.test_runner import when
from rnnjax import lint
from rnnjax.cli.signals import Terminated
from rnnjax.errors import InputError
from rnnjax.experiment import pages, sweep, sweep_page
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.runner import run_missing
from rnnjax.experiment.search import is_worse, propose, read_trials
from rnnjax.experiment.sweep import run_search
from rnnjax.experiment.sweep_plan import Sweep
from rnnjax.experiment.verification import check_search
from rnnjax.experiment.workers import LocalWorkers
from rnnjax.reporting import record_digest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = """
[sweep]
entry = "gru"
search = "grid"
flags = ["--config.data.validation=0.1"]
keys.learning_rate = [0.1, 0.001, 0.01]
keys."model.features" = [8, 16]
"""
RANGES = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "batch_size": [8, 16, 32]}

# The loss is least at a learning rate of 0.01 and 16 features. A rate of 0.1 fails once it has
# begun, configs/unseen.py before it has.
_LINE = '(workdir / "metrics.jsonl").write_text(\'{'
SWEPT_TRAINER = (
    TRAINER.replace(
        next(line for line in TRAINER.splitlines() if line.startswith(_LINE)),
        """
loss = abs(config.get("learning_rate", 1) - 0.01) + 1 / config.get("model.features", 1)
lines = [
    {"step": s, "epoch": s / 9, "split": "validation", "loss": loss + 9 - s, "accuracy": 0.5}
    for s in (5, 9)
]
(workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + chr(10) for line in lines))
""",
    )
    .replace(
        'write("result.json"',
        """
result["validation"] = {"loss": loss, "accuracy": 0.5, "rows": 9}
if config.get("learning_rate") == 0.1:
    sys.exit("the loss is not finite")
write("result.json\"""",
    )
    .replace(
        'write("config.json"',
        """
for key in [key for key in config if "." in key]:
    section, name = key.split(".")
    config.setdefault(section, {})[name] = config.pop(key)
write("config.json\"""",
    )
)


@pytest.fixture
def swept(folder):
    """The small experiment with a sweep of six settings, of which two fail."""
    path = folder / PLAN
    path.write_text(path.read_text().replace("[[entry]]", f"{SWEEP}\n[[entry]]", 1))
    page = folder / "README.md"
    page.write_text(page.read_text() + "<!-- sweep: begin -->\n<!-- sweep: end -->\n")
    Path("trainer.py").write_text(SWEPT_TRAINER)
    return folder


def search(folder, jobs=1):
    run_search(Experiment.read(folder), LocalWorkers(jobs))


def make_sweep(**values):
    return Sweep.model_validate({"entry": "gru", "keys": RANGES, **values})


def test_trials_are_recorded_without_test_scores(swept):
    search(swept, jobs=2)
    lines = lines_of(swept / "search.jsonl")
    assert sorted(line["trial"] for line in lines) == list(range(6))
    assert all(record_digest.has_valid_digest(line) for line in lines)
    assert "test" not in {key for line in lines for key in line}
    by_trial = {line["trial"]: line for line in lines}
    assert by_trial[3]["values"] == {"learning_rate": 0.001, "model.features": 16}
    assert by_trial[3]["what"] == "learning_rate=0.001, model.features=16"
    assert "--config.data.validation=0.1 --config.learning_rate=0.001" in by_trial[3]["command"]
    assert [line["step"] for line in by_trial[3]["by_evaluation"]] == [5, 9]
    assert [by_trial[number]["state"] for number in range(6)] == ["failed"] * 2 + ["complete"] * 4
    assert by_trial[0]["error"] == "the loss is not finite"
    assert (by_trial[0]["sweep"]["search"], by_trial[0]["sweep"]["trials"]) == ("grid", 6)
    # They are read as those of a search by hand are.
    assert read_trials(swept / "search.jsonl") == lines
    assert len(read_trials(ROOT / "experiments" / "best" / "search.jsonl")) == 18


def test_the_chosen_values_are_trained_over_the_seeds(swept):
    assert Experiment.read(swept).chosen is None
    search(swept)
    experiment = Experiment.read(swept)
    assert experiment.chosen is not None
    assert experiment.chosen["values"] == {"learning_rate": 0.01, "model.features": 16}
    configs = experiment.configs()
    assert (configs["gru"].learning_rate, configs["gru"].model.features) == (0.01, 16)
    assert configs["gru"].data.validation == 0.0  # a flag of the trials alone
    assert configs["lstm"].learning_rate == 0.001
    run_missing(experiment, configs, [5], LocalWorkers())
    lstm, gru = lines_of(swept / "runs.jsonl")
    assert "learning_rate" not in lstm["command"]
    assert (
        "--config.learning_rate=0.01 --config.model.features=16 --config.seed=5" in gru["command"]
    )
    assert check_search(experiment).verdict == "PASS"


def test_an_interrupted_search_is_resumed(swept):
    for name in ("gru", "lstm"):
        Path("configs", f"{name}.py").rename(Path("configs", f"{name}-slow.py"))
        edit(swept / PLAN, f'configs/{name}.py"', f'configs/{name}-slow.py"\nname = "{name}"')
    thread = when(lambda: len(starts()) == 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        search(swept, jobs=2)
    thread.join()
    assert not (swept / "search.jsonl").exists()
    Path("go").touch()
    search(swept)
    assert starts()[2:4] == ["trial-0", "trial-1"]
    path = swept / "search.jsonl"
    lines = lines_of(path)
    assert [line["trial"] for line in lines] == list(range(6))
    # A line that a crash has cut is written again, whole, and the others are not.
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:5]) + '{"trial": 5, "wh')
    search(swept)
    assert lines_of(path)[:5] == lines[:5]
    assert [line["trial"] for line in lines_of(path)] == list(range(6))
    assert starts()[-1] == "trial-5"


def test_pruned_trials_are_stopped_and_recorded(swept, monkeypatch):
    pytest.importorskip("optuna")
    Path("configs", "gru.py").rename(
        Path("configs", "gru-slow.py")
    )  # it trains until it is stopped
    edit(swept / PLAN, 'configs/gru.py"', 'configs/gru-slow.py"\nname = "gru"')
    edit(swept / PLAN, 'search = "grid"', 'search = "tpe"\ntrials = 2\nprune = true')
    calls = []

    def is_always_worse(_, trials, scores, better):
        calls.append((len(trials), scores[-1] > scores[-2], better))
        return True

    monkeypatch.setattr(sweep, "is_worse", is_always_worse)
    search(swept)
    lines = lines_of(swept / "search.jsonl")
    assert [(line["trial"], line["state"]) for line in lines] == [(0, "pruned"), (1, "pruned")]
    assert [line["step"] for line in lines[0]["by_evaluation"]] == [5, 9]
    assert calls == [(0, False, "lower"), (1, False, "lower")]
    assert "validation" not in lines[0]
    with pytest.raises(InputError, match="no trial of 2 was trained to its end"):
        Experiment.read(swept).configs()


def test_the_page_has_every_setting(swept):
    search(swept)
    experiment = Experiment.read(swept)
    pages.write(experiment)
    page = (swept / "README.md").read_text()
    assert "| 5 | 0.01 | 16 | 0.0625 | 0.5000 |  |\n| 3 | 0.001 | 16 | 0.0715" in page
    assert "Grid search, 6 of 6 trials, 2 failed, with seed 0, compared by the loss" in page
    assert "Trial 5 was chosen: learning_rate=0.01, model.features=16." in page
    plot = (swept / sweep_page.PLOT).read_text()
    assert "learning_rate=0.01, model.features=16: 0.0625 complete" in plot
    assert plot.count("learning_rate</text>") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[8, 16]", "[8, 16, 32]", "trial 0 is of another [sweep] (now, then): trials: 9, 6"),
        ("[8, 16]", "[8, 32]", "trial 0 is of another [sweep] (now, then): keys: "),
        ("[0.1, 0.001, 0.01]", "[0.1, 0.01, 0.001]", "(now, then): keys: "),
        ('entry = "gru"', 'entry = "gru"\nscore = "accuracy"', 'score: "accuracy", "loss"'),
        ("validation=0.1", "validation=0.2", "(now, then): flags: "),
        ("epochs=2", "epochs=3", "the values of trial 2 are of another config"),
    ],
)
def test_trials_of_another_sweep_are_stale(swept, old, new, message):
    search(swept)
    edit(swept / PLAN, old, new)
    result = check_search(Experiment.read(swept))
    assert (result.verdict, message in result.message) == ("FAIL", True), result.message


def test_the_order_of_the_keys_is_part_of_a_sweep():
    recorded = make_sweep(search="random", trials=3).described()
    swapped = make_sweep(search="random", trials=3, keys=dict(reversed(RANGES.items())))
    assert [line.partition(":")[0] for line in swapped.differences(recorded)] == ["keys"]
    assert make_sweep(search="random", trials=3).differences(recorded) == []


def test_a_run_of_another_sweep_is_not_resumed(swept):
    search(swept)
    (swept / "search.jsonl").unlink()
    edit(swept / PLAN, "[8, 16]", "[8, 32]")
    with pytest.raises(InputError, match=r"trial-0: is the run of another \[sweep\] .* keys: "):
        search(swept)
    Path("runs/lesson/trial-0.json").write_text("[")
    with pytest.raises(InputError, match=r"trial-0\.json beside it has no setting"):
        search(swept)
    assert not (swept / "search.jsonl").exists()
    assert len(starts()) == 6


def test_scores_that_are_not_finite(swept):
    written = '(workdir / "metrics.jsonl").write_text("".join'
    Path("trainer.py").write_text(
        SWEPT_TRAINER.replace(
            written,
            f"""
if config.get("learning_rate") == 0.01:
    lines[0]["loss"] = "inf"
if config.get("learning_rate") == 0.001:
    loss = lines[1]["loss"] = "nan"
{written}""",
        )
    )
    search(swept)
    experiment = Experiment.read(swept)
    diverged, finished = (experiment.trials[number] for number in (2, 4))
    assert diverged["state"] == "failed"
    assert diverged["error"] == "the loss on the validation part is nan"
    assert math.isnan(diverged["by_evaluation"][1]["loss"])
    assert (finished["state"], finished["by_evaluation"][0]["loss"]) == ("complete", math.inf)
    assert experiment.chosen is not None
    assert experiment.chosen["trial"] == 5
    pages.write(experiment)
    assert "| 2 | 0.001 | 8 | nan | 0.5000 | failed |" in (swept / "README.md").read_text()
    pytest.importorskip("optuna")
    tpe = experiment.sweep.model_copy(update={"search": "tpe", "prune": True})
    assert propose(tpe, 6, experiment.trials, [], "lower")["model.features"] in (8, 16)
    assert not is_worse(tpe, experiment.trials, [math.inf], "lower")


@pytest.mark.parametrize("prune", ["true", "false"])
def test_a_score_that_no_evaluation_has_is_refused(swept, prune):
    pytest.importorskip("optuna")
    edit(swept / PLAN, 'search = "grid"', f'search = "tpe"\ntrials = 2\nprune = {prune}')
    edit(swept / PLAN, 'entry = "gru"', 'entry = "gru"\nscore = "macro_f1"')
    message = "trial-0: the validation part has no macro_f1; it has loss, accuracy$"
    with pytest.raises(InputError, match=message):
        search(swept)
    assert not (swept / "search.jsonl").exists()


def test_a_sweep_on_the_test_split_is_found_and_refused(swept):
    edit(swept / PLAN, 'flags = ["--config.data.validation=0.1"]', "")
    findings = [(place, finding.rule) for place, finding in lint.lint(swept)]
    assert (f"{swept}, sweep", "swept_on_test") in findings
    with pytest.raises(InputError, match=r"\[sweep\] holds out no rows"):
        search(swept)
    assert starts() == []


def test_a_trial_that_never_begins_ends_the_search(swept):
    Path("configs", "gru.py").rename(Path("configs", "unseen.py"))
    edit(swept / PLAN, 'configs/gru.py"', 'configs/unseen.py"\nname = "gru"')
    with pytest.raises(InputError, match="its last line is: it cannot be trained"):
        search(swept)
    assert not (swept / "search.jsonl").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "search is 'grid' and learning_rate has a range"),
        ({"search": "random"}, "trials is 0; set their number"),
        ({"search": "random", "trials": 3, "prune": True}, "prune is set"),
        ({"keys": {"seed": [1, 2]}}, "keys has seed: all trials are trained with one seed"),
        ({"keys": {"replicates": [1, 2]}}, "keys has replicates: a trial is one training"),
        ({"keys": {"task": ["a", "b"]}}, "keys has task: the scores of two tasks"),
        ({"keys": {"data.validation": [0.1, 0.2]}}, "data.validation: .* same validation rows"),
        ({"keys": {"epochs": [1, 1]}}, "each of them once"),
        ({"keys": {"epochs": {"low": 2, "high": 1}}}, "the lower first"),
        ({"keys": {"epochs": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"keys": {"epochs": [1, 2]}, "trials": 3}, "the grid has 2 combinations"),
    ],
)
def test_invalid_sweeps_are_refused(values, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make_sweep(**values)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("search =", "serch =", "sweep.serch: there is no such key; did you mean search?"),
        (
            "search =",
            "x =",
            "sweep.x: there is no such key; expected one of entry, search, trials,",
        ),
        (
            "seeds =",
            "sedes =",
            "seeds: is missing; sedes: there is no such key; did you mean seeds?",
        ),
        ("about =", "abuot =", "entry.0.abuot: there is no such key; did you mean about?"),
        (
            "[8, 16]",
            "{ lo = 8, high = 16 }",
            "features.low: is missing; sweep.keys.model.features.lo",
        ),
        (
            "[8, 16]",
            "{ lo = 8, high = 16 }",
            "features.lo: there is no such key; did you mean low?",
        ),
        (
            "[8, 16]",
            "8",
            "sweep.keys.model.features: given 8, expected a list of values, or a range",
        ),
        ("[8, 16]", "[8, []]", "sweep.keys.model.features.1: given []; expected a truth value"),
        ("[8, 16]", "[8, nan]", "sweep.keys.model.features.1: given nan; expected a finite number"),
        ('"grid"', '"grit"', "sweep.search: given 'grit', it should be 'grid', 'random' or 'tpe'"),
        (
            "[8, 16]",
            "[8, 8]",
            "sweep: model.features has [8, 8]; expected values, each of them once",
        ),
        ('entry = "gru"', 'entry = "rnn"', "experiment.toml: sweep.entry is 'rnn'; expected"),
    ],
)
def test_a_mistake_in_an_experiment_is_explained_in_one_line(swept, old, new, message):
    edit(swept / PLAN, old, new)
    with pytest.raises(InputError) as refused:
        Experiment.read(swept)
    text = str(refused.value)
    assert (message in text, "\n" in text, "pydantic" in text) == (True, False, False), text


def test_random_settings_follow_from_seed_and_number():
    plan = make_sweep(search="random", trials=300)
    settings = [propose(plan, number, [], [], "lower") for number in range(300)]
    assert settings[7] == propose(plan, 7, [{}], [], "lower")
    assert settings[7] != propose(make_sweep(search="random", trials=1, seed=1), 7, [], [], "lower")
    rates = [float(setting["learning_rate"]) for setting in settings]
    assert 1e-4 <= min(rates) <= max(rates) <= 1e-1
    assert statistics.median(rates) == pytest.approx(10**-2.5, rel=0.5)
    assert {setting["batch_size"] for setting in settings} == {8, 16, 32}


def trial(number, rate, scores, state="complete"):
    lines = [{"step": step, "loss": score} for step, score in enumerate(scores)]
    values = {"learning_rate": rate, "batch_size": 8}
    validation = {"loss": scores[-1]}
    return {"trial": number, "values": values, "state": state, "by_evaluation": lines} | (
        {"validation": validation} if state == "complete" else {}
    )


def test_tpe_searches_near_good_settings_and_goes_on_as_before():
    pytest.importorskip("optuna")
    plan = make_sweep(search="tpe", trials=40)
    trials = [trial(n, rate := 10 ** (-4 + 0.15 * n), [abs(rate - 0.001)]) for n in range(20)]
    trials.append(trial(20, 0.05, [9.0], "pruned"))
    proposed = [propose(plan, 21 + n, trials, [], "lower") for n in range(20)]
    near = [1e-4 <= float(setting["learning_rate"]) <= 1e-2 for setting in proposed]
    assert sum(near) >= 16  # two thirds of uniform draws would be
    assert proposed[3] == propose(plan, 24, trials, [], "lower")


def test_median_pruning():
    pytest.importorskip("optuna")
    plan = make_sweep(search="tpe", trials=9, prune=True)
    trials = [trial(n, 0.01, [1.0 + n, 0.5 + n]) for n in range(5)]
    assert is_worse(plan, trials, [3.1], "lower")
    assert not is_worse(plan, trials, [2.9], "lower")
    assert is_worse(plan, trials, [2.9], "higher")
    assert not is_worse(plan, trials[:4], [9.0], "lower")
