"""The optimizers of optax by name, and the check of arguments against a function's signature."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import optax
from optax import contrib

from rnnjax.errors import InputError
from rnnjax.training.keras_adam import keras_adam

Optimizer = Callable[..., optax.GradientTransformation]

_WRAPPER = "it wraps another optimizer, which is no value of a config"
_LOSS = "it needs the loss besides the gradients"
_SCHEDULE_FREE = (
    "it trains other parameters than it evaluates; set config.averaging.decay for an average"
)
REFUSED = {
    "lbfgs": "it searches along a line, for which it needs the loss as a function (value_fn)",
    "polyak_sgd": _LOSS,
    "momo": _LOSS,
    "momo_adam": _LOSS,
    "sophia": "it needs the loss as a function, to estimate the diagonal of the Hessian",
    "sam": _WRAPPER,
    "lookahead": _WRAPPER,
    "mechanize": _WRAPPER,
    "schedule_free": _WRAPPER,
    "schedule_free_adamw": _SCHEDULE_FREE,
    "schedule_free_sgd": _SCHEDULE_FREE,
    "optimistic_adam": "optax deprecates it; optimistic_adam_v2 replaces it",
    "dpsgd": "it needs the gradient of each row, and a batch has one gradient",
    "noisy_sgd": "its noise has a seed of its own, so that config.seed would not repeat a run",
}
"""Optimizers of optax that do not work here, with the reason."""


def _find_optimizers() -> dict[str, Optimizer]:
    functions: dict[str, Optimizer] = {"keras_adam": keras_adam}
    for module in (contrib, optax):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_part = name.startswith(("_", "scale_by_")) or name in REFUSED
            if not is_part and "learning_rate" in inspect.signature(function).parameters:
                functions[name] = function
    return dict(sorted(functions.items()))


OPTIMIZERS = _find_optimizers()
"""`keras_adam`, and every optimizer of optax and optax.contrib that needs gradients alone."""


def find_optimizer(name: str) -> Optimizer:
    """Returns the optimizer of a name.

    Raises:
      InputError: there is none, or it cannot work here.
    """
    if name in REFUSED:
        raise InputError(
            f"config.optimizer.name: given {name!r}, which cannot be used: {REFUSED[name]}. "
            f"Expected one of {', '.join(OPTIMIZERS)}"
        )
    if name not in OPTIMIZERS:
        raise InputError(
            f"config.optimizer.name: given {name[:200]!r}, {_did_you_mean(name, OPTIMIZERS)}"
            f"expected one of {', '.join(OPTIMIZERS)}"
        )
    return OPTIMIZERS[name]


def accepts_schedule(optimizer: Optimizer) -> bool:
    """Returns whether the learning rate of an optimizer may change from step to step."""
    annotation = inspect.signature(optimizer).parameters["learning_rate"].annotation
    return "Callable" in str(annotation) or annotation == optax.ScalarOrSchedule


def check_arguments(
    key: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    reserved: Mapping[str, str],
) -> None:
    """Checks arguments against the signature of a function.

    Args:
      key: of the config, for messages.
      function: of optax.
      arguments: to call it with.
      reserved: arguments that are set otherwise, with the key that sets each.

    Raises:
      InputError: an argument does not exist, is reserved, of another type than its default, or
        missing.
    """
    parameters = inspect.signature(function).parameters
    free = {name: value for name, value in parameters.items() if name not in reserved}
    name = function.__name__
    for argument, value in arguments.items():
        if argument in reserved and argument in parameters:
            raise InputError(
                f"{key}: given {argument}={value!r}, which {reserved[argument]} sets; leave it out"
            )
        if argument not in free:
            listed = ", ".join(free) or "none"
            raise InputError(
                f"{key}: given {argument}={value!r}, and {name} has no such argument; "
                f"{_did_you_mean(argument, free)}it has {listed}"
            )
        default = free[argument].default
        if kind := _expected_kind(default, value):
            raise InputError(
                f"{key}: given {argument}={value!r}, expected a {kind}, like the default "
                f"{default!r} of {name}"
            )
    missing = [
        argument
        for argument, parameter in free.items()
        if parameter.default is parameter.empty and argument not in arguments
    ]
    if missing:
        raise InputError(
            f"{key}: {name} needs {', '.join(missing)}; expected a value of each, such as "
            f"{missing[0]}=0.5"
        )


def _did_you_mean(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}? " if close else ""


def _expected_kind(default: Any, value: Any) -> str:
    """Returns the type that an argument should have, '' if it has it or its default tells none."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "bool"
    if isinstance(default, (int, float)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if is_number else "number"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "text"
    return ""
