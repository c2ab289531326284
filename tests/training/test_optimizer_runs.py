"""Runs with optimizers and schedules of optax: resumed, replicated, warm-started, refused."""

import jax
import numpy as np
import optax
import pytest

from rnnjax import training
from rnnjax.config import differences, parse, parse_recorded
from rnnjax.errors import InputError

from .small_runs import (
    assert_trees_equal,
    news_config,
    read_metrics,
    restore_state,
    train,
    train_until_signal,
)

PLATEAU = {
    "schedule": "plateau",
    "schedule_arguments": {"factor": 0.5, "patience": 1, "rtol": 0.5},
    "evaluate_every": 4,
    "data__validation": 0.1,
    "data__bucketing": False,
    "model__cell": "SimpleCell",
}
"""A plateau that is reached at once, because the loss never halves between validations."""

EVERYTHING = {
    **PLATEAU,
    "warmup_steps": 3,
    "steps_per_call": 3,
    "optimizer": {
        "name": "adamw",
        "arguments": {"b2": 0.99},
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "accumulation_steps": 3,
        "learning_rate_factors": {"embed": 0.5, ".*recurrent_kernel": 0.1},
    },
}


def scheduled_rates(workdir):
    """Returns the learning rates of the log, and the validation losses, by step."""
    lines = read_metrics(workdir)
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    losses = {line["step"]: line["loss"] for line in lines if line["split"] == "validation"}
    return rates, losses


@pytest.mark.parametrize("name", ["adamw", "muon", "dog"])
def test_resumed_run_equals_an_uninterrupted_one(name, news, tmp_path):
    optimizer = {**EVERYTHING["optimizer"], "name": name}
    optimizer["arguments"] = {"b2": 0.99} if name == "adamw" else {}
    config = news_config(news, **{**EVERYTHING, "optimizer": optimizer, "epochs": 1})
    expected, resumed = tmp_path / "expected", tmp_path / "resumed"
    train(config, expected)
    train_until_signal(config, resumed, 8)
    assert train(config, resumed)["resumed_from"] == 8
    assert_trees_equal(restore_state(config, resumed), restore_state(config, expected))
    assert (resumed / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()


def test_learning_rate_falls_on_a_plateau_of_each_replicate(news, tmp_path):
    replicates = news_config(news, **EVERYTHING, replicates=2)
    train(replicates, tmp_path / "both")
    for seed in (3, 4):
        config = news_config(news, **{**EVERYTHING, "seed": seed})
        single, folder = tmp_path / str(seed), tmp_path / "both" / f"seed-{seed}"
        train(config, single)
        rates, losses = scheduled_rates(single)
        assert scheduled_rates(folder)[0] == pytest.approx(rates)
        assert len(losses) > 4
        assert min(rates.values()) < 0.01 / 2**3
        state, expected = restore_state(config, folder), restore_state(config, single)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
            (state.params, state.plateau),
            (expected.params, expected.plateau),
        )


def test_plateau_scales_the_updates(news, tmp_path):
    options = {**PLATEAU, "optimizer": {"name": "sgd"}, "epochs": 1}
    frozen = {**options, "schedule_arguments": {"factor": 1e-9, "patience": 1, "rtol": 0.5}}
    train_until_signal(news_config(news, **frozen, checkpoint__every=0), tmp_path / "part", 8)
    train(news_config(news, **frozen), tmp_path / "frozen")
    stopped = restore_state(news_config(news, **frozen), tmp_path / "part")
    final = restore_state(news_config(news, **frozen), tmp_path / "frozen")
    assert stopped.plateau is not None
    assert float(stopped.plateau.scale) < 1e-6
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-7),
        stopped.params,
        final.params,
    )


def test_optimizer_starts_from_the_parameters_of_a_warm_start(finished, news, tmp_path):
    """Distance over gradients measures the distance from the parameters that it began with."""
    config = news_config(
        news, epochs=1, init_from=str(finished), optimizer={"name": "dog"}, learning_rate=1e-30
    )
    train(config, tmp_path / "run")
    state = restore_state(config, tmp_path / "run")
    source = training.load_run(finished)
    (first,) = dict(
        optax.tree_utils.tree_get_all_with_path(state.opt_state, "init_params")
    ).values()
    np.testing.assert_allclose(
        first["score"]["kernel"], source.params["score"]["kernel"], atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": {"name": "sdg"}, "data__dir": "/nowhere"}, "did you mean .*sgd"),
        ({"schedule_arguments": {"alpha": 1}, "data__dir": "/nowhere"}, "no such argument"),
        ({"optimizer": {"learning_rate_factors": {"embedding": 0.1}}}, "embed/embedding"),
        ({"optimizer": {"accumulation_steps": 10**6}}, "the training has [0-9]+ steps"),
    ],
)
def test_mistakes_are_refused_before_the_training(options, message, news, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(InputError, match=message):
        train(news_config(news, **options), workdir)
    assert not (workdir / "metrics.jsonl").exists()


def test_factor_of_zero_freezes_a_part(news, tmp_path):
    config = news_config(news, epochs=1, optimizer={"learning_rate_factors": {"embed": 0.0}})
    train(config, tmp_path)
    state, start = restore_state(config, tmp_path), training.load_run(tmp_path).task
    initial = start.init(jax.random.fold_in(jax.random.key(3), 0))
    np.testing.assert_array_equal(state.params["embed"]["embedding"], initial["embed"]["embedding"])
    assert not np.array_equal(state.params["score"]["kernel"], initial["score"]["kernel"])


def test_recorded_keys_of_adam_are_read_as_arguments():
    recorded = {"b2": 0.98, "epsilon": 1e-7, "clip_norm": 1.0, "weight_decay": 0.0}
    config = parse_recorded({"optimizer": recorded})
    current = parse({"optimizer": {"arguments": "b2=0.98", "clip_norm": 1.0}})
    assert differences(config, current) == []
    assert parse_recorded(current.model_dump()) == current
    with pytest.raises(InputError, match=r"optimizer\.b2: there is no such key"):
        parse({"optimizer": recorded})


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "adafactor", "arguments": "min_dim_size_to_factor=2"}, {"name": "sm3"}],
    ids=lambda optimizer: optimizer["name"],
)
def test_state_of_other_shapes_than_the_parameters_is_not_trimmed(optimizer, news, tmp_path):
    # The embedding has more rows than tokens, and the moments of its columns are more than those.
    config = news_config(news, epochs=1, optimizer=optimizer, model__embedding__features=60)
    result = train(config, tmp_path)
    assert len(training.load_run(tmp_path).text_vocabulary) < 60
    assert np.isfinite(result["test"]["loss"])
