"""Schedules of optax by their names, and the reduction of the learning rate on a plateau."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.config import parse
from rnnjax.config.schema import Config
from rnnjax.errors import InputError
from rnnjax.training.optimizer import check_optimizer
from rnnjax.training.schedule import SCHEDULES, make_plateau, make_schedule, update_plateau

ARGUMENTS = {
    "polynomial": {"power": 2.0},
    "exponential_decay": {"decay_rate": 0.1},
    "piecewise_constant": {"boundaries_and_scales": {"4": 0.5, "8": 0.1}},
    "piecewise_interpolate": {
        "interpolate_type": "linear",
        "boundaries_and_scales": {"4": 0.5, "8": 0.1},
    },
}
LAST = {  # after 10 steps of a peak of 0.5
    "constant": 0.5,
    "plateau": 0.5,
    "linear": 0.0,
    "cosine": 0.0,
    "polynomial": 0.0,
    "exponential_decay": 0.05,
    "piecewise_constant": 0.025,
    "piecewise_interpolate": 0.025,
    "cosine_onecycle": 0.5 / 25 / 1e4,
    "linear_onecycle": 0.5 / 25 / 1e4,
}


@pytest.fixture(autouse=True)
def standard_promotion():
    """Promotes dtypes as the training loop does for optax."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def learning_rates(kind, warmup_steps, num_steps, **arguments):
    """Returns the learning rates of a training, and that after its end."""
    arguments = {**ARGUMENTS.get(kind, {}), **arguments}
    schedule = make_schedule(kind, 0.5, warmup_steps, num_steps, arguments)
    return [float(jnp.asarray(schedule(step))) for step in range(num_steps + 1)]


def test_every_schedule_of_the_schema_has_a_function():
    kinds = typing.get_args(Config.model_fields["schedule"].annotation)
    assert set(SCHEDULES) == set(kinds) == set(LAST)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_runs_from_the_peak_to_its_end(kind):
    values = learning_rates(kind, 0, 10)
    np.testing.assert_allclose(values[-1], LAST[kind], atol=1e-6)
    np.testing.assert_allclose(max(values), 0.5, rtol=0.2)
    if "onecycle" in kind:
        assert values[0] < 0.1 < max(values)
        return
    np.testing.assert_allclose(values[0], 0.5, rtol=1e-6)
    warm = learning_rates(kind, 2, 12)
    np.testing.assert_allclose(warm, [0.0, 0.25, *values], atol=1e-6)


def test_arguments_are_those_of_optax():
    expected = optax.exponential_decay(0.5, transition_steps=2, decay_rate=0.5, staircase=True)
    options = {"decay_rate": 0.5, "transition_steps": 2, "staircase": True}
    np.testing.assert_allclose(
        learning_rates("exponential_decay", 0, 5, **options),
        [float(jnp.asarray(expected(step))) for step in range(6)],
    )
    np.testing.assert_allclose(learning_rates("cosine", 0, 4, alpha=0.2)[-1], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        ("exponential_decay", "", "exponential_decay needs decay_rate"),
        ("cosine", "alfa=0.1", "did you mean alpha"),
        ("cosine", "init_value=0.1", "config.learning_rate sets"),
        ("cosine", "decay_steps=-5", "cosine_decay_schedule refuses"),
        ("constant", "end_value=0.1", "no such argument"),
        ("piecewise_constant", "boundaries_and_scales=3", "expected a dict of steps and factors"),
        ("plateau", "accumulation_size=3", "each validation, with one value, sets"),
        ("plateau", "factor=2.0", "reduce_on_plateau refuses"),
        ("plateau", "patiense=2", "did you mean patience"),
    ],
)
def test_mistakes_are_named(schedule, arguments, message):
    config = {"schedule": schedule, "schedule_arguments": arguments, "data": {"validation": 0.1}}
    with pytest.raises(InputError, match=message):
        check_optimizer(parse(config))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "plateau"}, "data.validation is 0"),
        ({"schedule": "cosine_onecycle", "warmup_steps": 3}, "set pct_start"),
        ({"schedule": "cosine_decay_schedule"}, "'cosine'"),
    ],
)
def test_schedule_that_cannot_work_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse(values)


def test_plateau_reduces_each_replicate_by_its_own_losses():
    config = parse(
        {
            "schedule": "plateau",
            "schedule_arguments": {"factor": 0.5, "patience": 2},
            "data": {"validation": 0.1},
        }
    )
    plateau: Any = make_plateau(config)
    assert plateau is not None
    assert make_plateau(parse({"schedule": "linear"})) is None
    series = {"stagnating": [3.0, 3.0, 3.1, 2.9, 3.0], "falling": [3.0, 2.5, 2.0, 1.5, 1.0]}
    scales = {}
    for name, losses in series.items():
        state, scales[name] = plateau.init(jnp.zeros(2)), []
        for loss in losses:
            state = update_plateau(plateau, state, [loss])
            scales[name].append(float(state.scale))
    assert scales == {"stagnating": [1.0, 1.0, 0.5, 0.5, 0.5], "falling": [1.0] * 5}
    first = plateau.init(jnp.zeros(2))
    state = type(first)(*(jnp.stack([leaf, leaf]) for leaf in first))
    for losses in zip(*series.values(), strict=True):
        state = update_plateau(plateau, state, losses)
    np.testing.assert_array_equal(state.scale, [0.5, 1.0])
