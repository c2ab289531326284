"""The memory of compiled programs, by XLA's own analysis, and their floating-point operations.

XLA's analysis of operations (`Compiled.cost_analysis`) counts the body of a loop once, however long
the loop is, and so a recurrent network's as that of one time step. They are counted in the jaxpr
instead.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from jax.extend import core

from rnnjax.training.processor import read_text


@dataclasses.dataclass(frozen=True)
class ProgramMemory:
    """Bytes of a compiled program on one device.

    Attributes:
      arguments: of the state and the batch.
      outputs: that do not reuse the memory of the arguments.
      temporaries: activations, gradients and other intermediate arrays.
      code: of the program itself.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "ProgramMemory":
        """Returns the memory of a program; zeros where the platform has no analysis."""
        analysis: Any = compiled.memory_analysis()
        if analysis is None:
            return cls(0, 0, 0, 0)
        return cls(
            analysis.argument_size_in_bytes,
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            analysis.temp_size_in_bytes,
            analysis.generated_code_size_in_bytes,
        )

    @property
    def peak(self) -> int:
        """Bytes of arrays while the program runs."""
        return self.arguments + self.outputs + self.temporaries


def count_flops(jaxpr: Any) -> int:
    """Returns the floating-point operations of the matrix products and convolutions of a jaxpr.

    Those of a scan count for each of its steps, those of a loop of unknown length once.

    Args:
      jaxpr: closed or not.
    """
    total = 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            products = math.prod(left[axis] for axis in contracted)
            total += 2 * products * equation.outvars[0].aval.size
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval
            outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * kernel.size // outputs * equation.outvars[0].aval.size
        elif name == "cond":
            total += max(map(count_flops, params["branches"]))
        else:
            times = params["length"] if name == "scan" else 1
            total += times * sum(map(count_flops, _inner_jaxprs(params.values())))
    return total


def _inner_jaxprs(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, core.ClosedJaxpr | core.Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _inner_jaxprs(value)


def tree_bytes(tree: Any, shardings: Any = None) -> int:
    """Returns the bytes of arrays on one device.

    Args:
      tree: arrays, or their shapes and dtypes.
      shardings: of the arrays; None for all of them on one device.
    """
    leaves = jax.tree.leaves(tree)
    placements = jax.tree.leaves(shardings) if shardings is not None else [None] * len(leaves)
    total = 0
    for leaf, sharding in zip(leaves, placements, strict=True):
        shape = sharding.shard_shape(leaf.shape) if sharding else leaf.shape
        total += jax.ShapeDtypeStruct(shape, leaf.dtype).size * leaf.dtype.itemsize
    return total


def process_bytes() -> int:
    """Returns the memory of this process, where the device is a CPU that shares it; otherwise 0.

    It is 0 as well where the system does not report it.
    """
    if jax.default_backend() != "cpu":
        return 0
    fields = read_text("/proc/self/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0
