"""Invariants of numbers that are drawn, and of the parts of the state that they may meet."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rnnjax.cells import AbstractCell
from rnnjax.cells.base import state_parts
from rnnjax.errors import InputError
from rnnjax.testing.assertions import (
    NotApplicableError,
    ViolationError,
    assert_bits_equal,
    assert_close,
    bits_differ,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.global_state import altered_globals, altered_seeds
from rnnjax.testing.invariant import invariant
from rnnjax.testing.other_process import digest_elsewhere, digest_parameters
from rnnjax.testing.random_streams import DRAWN, KEY, find_draws, trace_step
from rnnjax.testing.sequence_result import dropout_rngs
from rnnjax.testing.state_coupling import coupled_parts

NUM_KEYS = 4
"""Keys of initial parameters that are compared."""


@invariant(
    "initial parameters are a function of the key alone",
    cause="an initializer that draws from NumPy or from a constant key, or reads the inputs: draw "
    "from the key that self.param passes to it",
    any_size=False,
)
def initial_parameters(case: CheckCase) -> None:
    def init(key: int = 0, rows: int = case.rows, seed: int = 1, **rngs: Any) -> dict[str, Any]:
        keys = {"params": jax.random.key(key), **rngs}
        parameters = case.adapter.init(rows, keys, seed)[1].get("params", {})
        return named_leaves({"parameters": to_numpy(parameters)})

    expected = init()
    if not expected:
        raise NotApplicableError("the cell has no parameters")
    assert_bits_equal(init(), expected, "by the same key again")
    with altered_globals():
        altered = init()
    assert_bits_equal(
        altered,
        expected,
        "by the same key, with the generators of NumPy and Python, the clock and hashes of text "
        "in another state, as in another process",
    )
    assert_bits_equal(init(seed=2), expected, "by the same key, from other inputs")
    assert_bits_equal(init(rows=case.rows + 3), expected, "by the same key, from more rows")
    dropped = [init(dropout=jax.random.key(seed)) for seed in (1, 2)]
    assert_bits_equal(dropped[1], dropped[0], "by the same key, with another dropout key")
    alternatives = [init(key) for key in range(1, NUM_KEYS)]
    with altered_seeds():
        reseeded = init()
    _assert_keyed(expected, alternatives, reseeded)
    _assert_draws_keyed(case)
    if not case.adapter.quick:
        digest = digest_elsewhere(case.adapter, case.rows)
        if digest is not None and digest != digest_parameters(case.adapter, case.rows):
            raise ViolationError("in another process the same key gives other parameters")


@invariant(
    "each dropout rate above 0 draws in training, and 0 changes nothing",
    cause="a rate that is an attribute of the cell and that no step reads, or a draw that keeps "
    "with the probability to drop",
    any_size=False,
)
def dropout_rate(case: CheckCase) -> None:
    variants = list(_rate_variants(case.adapter.cell, 0.4))
    if not variants:
        raise NotApplicableError("the cell has no rate of dropout")
    halves = dict(_rate_variants(case.adapter.cell, 0.2))
    for name, cell in variants:
        with contextlib.suppress(jax.errors.ConcretizationTypeError):
            trace, half = (
                trace_step(case, training=True, cell=variant) for variant in (cell, halves[name])
            )
            if not any(flags & KEY for flags in find_draws(trace)[2]):
                raise ViolationError(f"with {name} = 0.4 nothing is drawn in training")
            if _text(trace) == _text(half):
                raise ViolationError(f"with {name} = 0.4 training does the same as with 0.2")
    _assert_zero_rates_change_nothing(case)


@invariant(
    "zoneout_parts names parts of the state that mean something without the other parts",
    cause="a default of all parts where some belong together: a complex number in two parts, a sum "
    "and its normalizer, numbers and the logarithm of their scale",
    any_size=False,
)
def zoneout_parts(case: CheckCase) -> None:
    if not case.adapter.is_native:
        raise NotApplicableError("a cell of flax does not declare which parts zoneout may keep")
    names: Any = case.adapter.cell.zoneout_parts  # pyright: ignore
    if isinstance(names, str):
        raise ViolationError(f"zoneout_parts is {names!r}, expected a tuple: ({names!r},)")
    parts = state_parts(case.arguments.state)
    zoned = {}
    for path in names:
        covered = [name for name in parts if not path or f"{name}.".startswith(f"{path}.")]
        if not covered:
            raise ViolationError(
                f"zoneout_parts names {path!r}, and the state's parts are "
                f"{', '.join(map(repr, parts))}"
            )
        zoned.update(dict.fromkeys(covered))
    coupled = coupled_parts(case, zoned)
    if coupled is not None:
        first, second, reason = coupled
        raise ViolationError(
            f"zoneout may keep the state's {first} without its {second}, and {reason}; leave both "
            "out of zoneout_parts"
        )


def _assert_keyed(
    expected: dict[str, Any], alternatives: list[dict[str, Any]], reseeded: dict[str, Any]
) -> None:
    """Asserts that every parameter that is random depends on the key, and on all of it."""
    drawn: dict[tuple[Any, ...], str] = {}
    for name, leaf in expected.items():
        values = [leaf.tobytes(), *(alternative[name].tobytes() for alternative in alternatives)]
        if len(set(values)) == 1:
            if reseeded[name].tobytes() != values[0]:
                raise ViolationError(
                    f"{name} comes from NumPy or Python's random by a constant seed: another key "
                    "gives the same numbers"
                )
            continue
        if len(np.unique(leaf)) <= 2:
            continue  # Signs or zeros may agree by chance.
        if len(set(values)) < len(values):
            raise ViolationError(f"{name} has the same numbers for some of {len(values)} keys")
        if (same := drawn.setdefault((leaf.shape, values[0]), name)) != name:
            raise ViolationError(f"{name} has the numbers of {same}: they are drawn with one key")


def _assert_draws_keyed(case: CheckCase) -> None:
    """Asserts that no draw from a constant key reaches a parameter, and that no key is reused."""

    def init(key):
        return case.adapter.init(case.rows, {"params": key})[1].get("params", {})

    try:
        with jax.debug_key_reuse(True):
            closed = jax.make_jaxpr(init)(jax.random.key(0))
    except jax.errors.KeyReuseError as error:
        raise ViolationError(
            "two draws of initial parameters are made with one key, and so are equal; split it, "
            "or call self.make_rng('params') for each"
        ) from error
    except jax.errors.ConcretizationTypeError:
        return
    names = [f"parameters.{name}" for name in named_leaves(jax.eval_shape(init, jax.random.key(0)))]
    for name, flags in zip(names, find_draws(closed)[2], strict=True):
        if flags & DRAWN:
            raise ViolationError(f"{name} is drawn from a constant key: another key has no effect")


def _assert_zero_rates_change_nothing(case: CheckCase) -> None:
    """Asserts that training equals an evaluation where all rates are 0 and nothing else draws."""
    try:
        cell = _with_rates(case.adapter.cell, 0.0)
        adapter = dataclasses.replace(case.adapter, cell=cell)
        variables, inputs = case.harness.variables(), case.harness.inputs(case.rows, 1)[:, 0]

        def run(seed):
            rngs = dropout_rngs(None if seed is None else jax.random.key(seed))
            state = adapter.initial_state(variables, (case.rows,), rngs)
            state, _ = adapter.step(variables, state, inputs, rngs)
            return to_numpy(adapter.step(variables, state, inputs, rngs)[1])

        evaluation, *trainings = (run(seed) for seed in (None, 1, 2))
    except (InputError, jax.errors.ConcretizationTypeError):
        return
    if not bits_differ(*trainings):  # Otherwise something without a rate draws as well.
        assert_close(
            {"output": trainings[0]},
            {"output": evaluation},
            None,
            "in training with all rates 0, as in an evaluation",
        )


_RATE = re.compile(r"drop|zoneout|noise|\brate$")


def _rates(cell: nn.Module) -> dict[str, Any]:
    """Returns the fields of a cell that are rates of dropout, by their names."""
    rates = {}
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        is_rate = _RATE.search(field.name) and not field.name.startswith("init")
        # An integer that is 0 may be a rate that is off, or an axis.
        is_number = isinstance(value, float) or (value == 0 and "float" in str(field.type))
        if not is_rate or not (is_number or isinstance(value, Mapping)):
            continue
        # A plain 'rate' may be that of a leak.
        text = f"{type(cell).__name__} {type(cell).__doc__}".lower()
        if field.name != "rate" or re.search(r"drop|zoneout|noise", text):
            rates[field.name] = value
    return rates


def _with_rates(cell: nn.Module, rate: float) -> nn.Module:
    """Returns a cell whose rates, and those of the cells nested in it, are all the same."""
    changes: dict[str, Any] = {
        name: dict.fromkeys(value, rate) if isinstance(value, Mapping) else rate
        for name, value in _rates(cell).items()
    }
    for name, inner in _nested_cells(cell):
        changes[name] = _with_rates(inner, rate)
    return cell.clone(**changes)


def _rate_variants(cell: nn.Module, rate: float) -> Iterator[tuple[str, nn.Module]]:
    """Yields each rate by its name, and the cell with this rate alone."""
    try:
        zero = _with_rates(cell, 0.0)
    except InputError:
        return
    for name, value in _rates(cell).items():
        changes: dict[str, Any] = {name: rate}
        if isinstance(value, Mapping):
            zeros = dict.fromkeys(value, 0.0)
            changes = {f"{name}[{part!r}]": {**zeros, part: rate} for part in value}
        for label, changed in changes.items():
            with contextlib.suppress(InputError):
                yield label, _replace_field(zero, name, changed)
    for name, inner in _nested_cells(cell):
        for label, variant in _rate_variants(inner, rate):
            yield f"{name}.{label}", _replace_field(zero, name, variant)


def _replace_field(cell: nn.Module, name: str, value: Any) -> nn.Module:
    changes: dict[str, Any] = {name: value}
    return cell.clone(**changes)


def _nested_cells(cell: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name, None)
        if field.name != "parent" and isinstance(value, AbstractCell | nn.RNNCellBase):
            yield field.name, value


def _text(closed: Any) -> str:
    return f"{closed} {[np.asarray(const).tolist() for const in closed.consts]}"
