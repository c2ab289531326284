"""Optimizers: a function of optax, with clipping, weight decay, factors and accumulation."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax.config import Config
from rnnjax.config.sections import OptimizerConfig
from rnnjax.errors import InputError
from rnnjax.training.optax_functions import accepts_schedule, check_arguments, find_optimizer
from rnnjax.training.schedule import check_schedule

_RESERVED = {
    "learning_rate": "config.learning_rate",
    "weight_decay": "config.optimizer.weight_decay",
    "weight_decay_rate": "config.optimizer.weight_decay",
}


def make_optimizer(
    options: OptimizerConfig,
    learning_rate: optax.Schedule,
    trainable: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer of a config.

    Gradients are averaged over `accumulation_steps`, clipped, passed to the function of optax, and
    its updates are multiplied by the factors of their parameters. Weight decay is the argument of
    that function where it has one, and decoupled otherwise.

    Args:
      options: section `optimizer` of the config.
      learning_rate: of each step.
      trainable: returns for parameters a tree of bools; the optimizer skips those with False, whose
        gradients are zero. None if all are trainable.

    Raises:
      InputError: the function refuses its arguments.
    """
    function, period = find_optimizer(options.name), options.accumulation_steps

    def update_rate(count: Any) -> Any:
        return learning_rate(count * period)

    rate = learning_rate if period == 1 else update_rate
    parameters = inspect.signature(function).parameters
    decay, max_norm = options.weight_decay, options.clip_norm
    arguments = {name: _as_tuple(value) for name, value in options.arguments.items()}
    decay_names = [name for name in ("weight_decay", "weight_decay_rate") if name in parameters]
    # Some optimizers of optax decay the weights by default; `optimizer.weight_decay` decides here.
    off = {name: 0.0 if parameters[name].default is not None else None for name in decay_names}
    decays = {name: decay or off[name] for name in decay_names}
    constant_rate = rate if accepts_schedule(function) else float(jnp.asarray(rate(0)))
    try:
        optimizer = function(learning_rate=constant_rate, **decays, **arguments)
    except Exception as error:  # of any kind that optax raises
        raise InputError(
            f"config.optimizer.arguments: {options.name} refuses {options.arguments!r}: {error}"
        ) from error
    if decay and not decay_names:
        optimizer = optax.chain(optimizer, _decay_weights(rate, decay))
    if trainable is not None:
        optimizer = optax.masked(optimizer, trainable)
    clip = optax.clip_by_global_norm(max_norm) if max_norm else optax.identity()
    optimizer = optax.chain(clip, optimizer)
    if options.learning_rate_factors:
        optimizer = optax.chain(optimizer, _scale_parts(options.learning_rate_factors))
    if period > 1:
        optimizer = optax.MultiSteps(optimizer, period).gradient_transformation()
    return optimizer


def check_optimizer(config: Config) -> None:
    """Checks name and arguments of optimizer and schedule against those of optax.

    Raises:
      InputError: there is no such function or argument, or they do not go together.
    """
    options, schedule = config.optimizer, config.schedule
    function = find_optimizer(options.name)
    check_arguments("config.optimizer.arguments", function, options.arguments, _RESERVED)
    is_varying = schedule not in ("constant", "plateau") or config.warmup_steps
    if is_varying and not accepts_schedule(function):
        raise InputError(
            f"config.optimizer.name: given {options.name!r}, whose learning rate is the same at "
            "every step; set config.schedule='constant' and config.warmup_steps=0"
        )
    for pattern in options.learning_rate_factors:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"config.optimizer.learning_rate_factors: given {pattern!r}, expected a prefix of "
                f"the path of a parameter, or a regular expression: {error}"
            ) from error
    check_schedule(config)
    optimizer = make_optimizer(options, optax.constant_schedule(config.learning_rate))
    _check_update(options, optimizer)


def _check_update(options: OptimizerConfig, optimizer: optax.GradientTransformation) -> None:
    """Raises InputError if the first update fails, traced on small parameters."""

    def update(params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return optimizer.update(params, optimizer.init(params), params)

    params = {"kernel": jax.ShapeDtypeStruct((3, 2), jnp.float32)}
    try:
        jax.eval_shape(update, params)
    except Exception as error:  # of any kind that optax raises
        raise InputError(
            f"config.optimizer.arguments: {options.name} fails with {options.arguments!r}: {error}"
        ) from error


def check_learning_rate_factors(factors: Mapping[str, float], params: Any) -> None:
    """Raises InputError if a pattern matches the path of no parameter."""
    paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in factors:
        if not any(re.match(pattern, path) for path in paths):
            raise InputError(
                f"config.optimizer.learning_rate_factors: given {pattern!r}, which matches the "
                f"start of no path of a parameter; expected a prefix of one, or a regular "
                f"expression: {', '.join(paths)}"
            )


def _path(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _scale_parts(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates by the factors whose patterns match the path of their parameter."""

    def scale(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        for pattern, factor in factors.items():
            if re.match(pattern, _path(path)):
                update = update * factor
        return update

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates))


def _decay_weights(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Subtracts `weight_decay` times the learning rate of the parameters from updates."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        step_size = weight_decay * rate(state.count)
        decayed = jax.tree.map(lambda u, p: u - step_size * p, updates, params)
        return decayed, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    def init(params: Any) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    return optax.GradientTransformation(init, update)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
