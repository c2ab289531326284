"""The invariants of a cell, in one table, from cause to consequence."""

import dataclasses
from collections.abc import Callable

from rnnjax.testing.invariants import cell, dropout, masking, numerics, time
from rnnjax.testing.test_case import CheckCase

FORWARD, BOTH = (False,), (False, True)


@dataclasses.dataclass(frozen=True)
class Invariant:
    """What must hold of every cell.

    Attributes:
      says: what it is, in one line.
      check: breaks if it does not hold in a case.
      directions: in which it is looked at, for every engine; none where it is about the cell alone.
      masked: whether it is looked at under many masks.
      any_size: whether it holds of a single row and step too, and not of a few by chance.
      training: whether it is looked at with a key to draw from as well, if the cell has a use for
        it.
    """

    says: str
    check: Callable[[CheckCase], None]
    directions: tuple[bool, ...] = ()
    masked: bool = False
    any_size: bool = True
    training: bool = False


INVARIANTS: dict[str, Invariant] = {
    # The cell by itself.
    "contract": Invariant(
        "a step keeps the structure, shapes and dtypes of the state, for any number of batch axes",
        cell.contract,
    ),
    "streams": Invariant(
        "what is drawn comes from the rng stream 'dropout', which is the one that layers pass on",
        cell.streams,
    ),
    "evaluation": Invariant(
        "without the rng stream 'dropout' the cell draws nothing", cell.evaluation
    ),
    "repeatable": Invariant(
        "the same asked twice gives the same bits: nothing is kept outside the state",
        cell.repeatable,
        training=True,
    ),
    "jit": Invariant("a step under jit gives what it gives without", cell.jit),
    "parameters": Invariant("there are as many parameters as the docstring says", cell.parameters),
    "param_dtype": Invariant("parameters and state are of param_dtype", numerics.param_dtype),
    "output_part": Invariant(
        "the output is the part of the state that output_part says", cell.output_part
    ),
    # The cell in the layer.
    "finite": Invariant(
        "values and gradients are finite, from the cell's own state and for inputs of zero as well",
        numerics.finite,
        FORWARD,
        training=True,
    ),
    "rows": Invariant(
        "rows do not see each other, and their order does not matter",
        masking.rows,
        BOTH,
        masked=True,
        training=True,
    ),
    "vmap": Invariant("vmap over rows without a batch axis gives what the batch gives", cell.vmap),
    "project": Invariant(
        "what is computed for all steps at once treats each step alone", time.project
    ),
    "causality": Invariant(
        "no value and no gradient comes from steps not yet read",
        time.causality,
        FORWARD,
        training=True,
    ),
    "initial_state": Invariant(
        "the initial state that is given is used, and without one the cell's own",
        time.initial_state,
        BOTH,
    ),
    "masked_steps": Invariant(
        "a masked step outputs zero", masking.masked_steps, BOTH, masked=True, training=True
    ),
    "empty_rows": Invariant(
        "a row with no real step returns its initial state, and gradients stay finite",
        masking.empty_rows,
        BOTH,
        masked=True,
        training=True,
    ),
    "masked_gradient": Invariant(
        "the gradient at masked steps is exactly zero",
        masking.masked_gradient,
        BOTH,
        masked=True,
        training=True,
    ),
    "junk": Invariant(
        "what stands at masked steps, even NaN, changes no bit of a result or gradient",
        masking.junk,
        BOTH,
        masked=True,
        training=True,
    ),
    "padding": Invariant(
        "padding right, left or in between gives the same", masking.padding, BOTH, masked=True
    ),
    "size": Invariant(
        "more padding, more rows, or no mask at all give the same",
        masking.size,
        BOTH,
        training=True,
    ),
    "reverse": Invariant(
        "reverse is forward on the reversed real steps", time.reverse, (True,), masked=True
    ),
    "split": Invariant(
        "a sequence in two calls gives what one call gives", time.split, BOTH, masked=True
    ),
    "loop": Invariant(
        "the layer gives what a Python loop over single steps gives",
        time.loop,
        BOTH,
        masked=True,
    ),
    "loop_gradients": Invariant(
        "the layer's gradients are those of a Python loop over single steps",
        time.loop_gradients,
        BOTH,
        masked=True,
    ),
    "streaming": Invariant(
        "cell(state, inputs), step by step, gives what the layer gives", time.streaming, FORWARD
    ),
    "bidirectional": Invariant(
        "each half of a bidirectional layer is a single run",
        time.bidirectional,
        FORWARD,
        masked=True,
    ),
    # Training and precision.
    "learning": Invariant(
        "every parameter gets a gradient, in all its rows and columns, and a frozen one none",
        numerics.learning,
        any_size=False,
    ),
    "derivative": Invariant(
        "gradients are those of finite differences in float64",
        numerics.derivative,
        FORWARD,
        masked=True,
        training=True,
    ),
    "large": Invariant(
        "of a new cell, large inputs and hundreds of steps leave values and gradients finite",
        numerics.large,
        FORWARD,
    ),
    "bfloat16": Invariant(
        "in bfloat16 the state stays float32, and nothing drifts", numerics.bfloat16, FORWARD
    ),
    # What is drawn at random.
    "dropout_keys": Invariant(
        "one key gives one result, another key another, and no key is drawn from twice",
        dropout.keys,
        any_size=False,
    ),
    "dropout_held": Invariant(
        "what initial_state draws is kept by every step, and read",
        dropout.held,
        any_size=False,
    ),
    "dropout_fresh": Invariant(
        "what a step draws is drawn anew at every step", dropout.fresh, any_size=False
    ),
    "dropout_rows": Invariant("every row draws its own", dropout.rows, any_size=False),
    "dropout_bidirectional": Invariant(
        "each half of a bidirectional layer draws as a single run does",
        dropout.bidirectional,
    ),
    "save": Invariant(
        "variables and state that are saved and restored go on with the same bits", cell.save
    ),
}
"""The first that breaks is the one to look at: those after it often follow from it."""
