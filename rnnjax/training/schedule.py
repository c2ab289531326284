"""The learning rate of each step, and its reduction on a plateau of the validation loss."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.training.optax_functions import check_arguments

SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": optax.constant_schedule,
    "plateau": optax.constant_schedule,
    "linear": optax.linear_schedule,
    "cosine": optax.cosine_decay_schedule,
    "polynomial": optax.polynomial_schedule,
    "exponential_decay": optax.exponential_decay,
    "piecewise_constant": optax.piecewise_constant_schedule,
    "piecewise_interpolate": optax.piecewise_interpolate_schedule,
    "cosine_onecycle": optax.cosine_onecycle_schedule,
    "linear_onecycle": optax.linear_onecycle_schedule,
}
"""The functions of optax by the values of `config.schedule`."""

_KEY = "config.schedule_arguments"
_PEAKS: dict[str, str] = dict.fromkeys(
    ("value", "init_value", "peak_value"), "config.learning_rate"
)
_VALIDATIONS = {"accumulation_size": "each validation, with one value,"}


def make_schedule(
    kind: str,
    learning_rate: float,
    warmup_steps: int,
    num_steps: int,
    arguments: Mapping[str, Any] | None = None,
) -> optax.Schedule:
    """Returns the learning rate of each step, counted from 0.

    It rises linearly from 0 to its peak in the warm-up, and then follows a schedule of optax, whose
    steps count from there. Where the arguments do not say otherwise, that ends with the last step,
    and at 0 if the function has no end of its own.

    Args:
      kind: key of `SCHEDULES`.
      learning_rate: the peak.
      warmup_steps: number of steps of the warm-up; 0 for none.
      num_steps: number of training steps, warm-up included.
      arguments: of the function of optax.

    Raises:
      InputError: the function refuses its arguments.
    """
    function, decay_steps = SCHEDULES[kind], max(num_steps - warmup_steps, 1)
    parameters = inspect.signature(function).parameters
    defaults = {"transition_steps": decay_steps, "decay_steps": decay_steps, "end_value": 0.0}
    values = {
        **{name: learning_rate for name in _PEAKS if name in parameters},
        **{name: value for name, value in defaults.items() if _is_required(parameters.get(name))},
        **({} if kind == "plateau" else arguments or {}),
    }
    if "boundaries_and_scales" in values:
        values["boundaries_and_scales"] = _boundaries(values["boundaries_and_scales"])
    try:
        schedule = function(**values)
    except Exception as error:  # of any kind that optax raises
        raise InputError(f"{_KEY}: {function.__name__} refuses {values!r}: {error}") from error
    if not warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


def check_schedule(config: Config) -> None:
    """Raises InputError if a function does not take the arguments of the schedule."""
    arguments = config.schedule_arguments
    if config.schedule == "plateau":
        check_arguments(_KEY, contrib.reduce_on_plateau, arguments, _VALIDATIONS)
        make_plateau(config)
        return
    function = SCHEDULES[config.schedule]
    parameters = inspect.signature(function).parameters.values()
    filled = [p.name for p in parameters if p.name.endswith(("_steps", "_value"))]
    defaults = {name: 0 for name in filled if name not in _PEAKS}
    check_arguments(_KEY, function, {**defaults, **arguments}, _PEAKS)
    make_schedule(config.schedule, config.learning_rate, 0, 1_000, arguments)


def make_plateau(config: Config) -> optax.GradientTransformationExtraArgs | None:
    """Returns the reduction of the learning rate by validation losses; None for other schedules.

    Raises:
      InputError: optax refuses its arguments.
    """
    if config.schedule != "plateau":
        return None
    try:
        return contrib.reduce_on_plateau(**config.schedule_arguments)
    except Exception as error:  # of any kind that optax raises
        raise InputError(f"{_KEY}: reduce_on_plateau refuses them: {error}") from error


def update_plateau(
    plateau: optax.GradientTransformationExtraArgs, state: Any, losses: Sequence[float]
) -> Any:
    """Returns the state of a plateau after a validation.

    Args:
      plateau: as `make_plateau` returns it.
      state: of several replicates, with a leading replicate axis.
      losses: of the replicates.
    """

    def update(state: Any, loss: jax.Array) -> Any:
        return plateau.update({}, state, value=loss)[1]

    with jax.numpy_dtype_promotion("standard"):  # optax is written for it
        state, values = jax.device_get(state), jnp.asarray(losses, jnp.float32)
        return update(state, values[0]) if len(losses) == 1 else jax.vmap(update)(state, values)


def _is_required(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is parameter.empty


def _boundaries(values: Any) -> dict[int, float]:
    """Returns the boundaries of a piecewise schedule, whose steps JSON has as text."""
    try:
        return {int(step): float(scale) for step, scale in dict(values).items()}
    except (TypeError, ValueError):
        raise InputError(
            f"{_KEY}: given boundaries_and_scales={values!r}, expected a dict of steps and "
            "factors, such as {1000: 0.1}"
        ) from None
