"""One step of a cell as a function of vectors, for Jacobians along a sequence."""

import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import is_broadcast
from rnnjax.cells.dtypes import with_dtypes
from rnnjax.errors import InputError
from rnnjax.kernels import newton as kernel

Jacobian = Literal["dense", "blocks", "diagonal"]


class StateLayout:
    """A state as a vector of real numbers for each row, part after part.

    A complex part is two real ones.
    """

    def __init__(self, state: State):
        leaves, self.structure = jax.tree.flatten(state)
        self.shapes = [leaf.shape[1:] for leaf in leaves]
        self.dtypes = [leaf.dtype for leaf in leaves]
        self.complex = [jnp.issubdtype(dtype, jnp.complexfloating) for dtype in self.dtypes]
        is_wide = any(jnp.finfo(dtype).bits == 64 for dtype in self.dtypes)
        self.dtype = np.dtype(np.float64 if is_wide else np.float32)
        counts = [
            math.prod(shape)
            for shape, is_complex in zip(self.shapes, self.complex, strict=True)
            for _ in range(1 + is_complex)
        ]
        self.counts, self.size = counts, sum(counts)

    def parts(self, jacobian: Jacobian) -> int:
        """Returns the parts of the Jacobians: full ones where the state's parts are not alike."""
        if jacobian == "diagonal":
            return 1
        is_uniform = jacobian == "blocks" and len(set(self.counts)) == 1
        return len(self.counts) if is_uniform else self.size

    def flatten(self, state: State) -> jax.Array:
        """Returns the vectors `[rows, size]` of a state."""
        vectors = []
        for leaf, is_complex in zip(jax.tree.leaves(state), self.complex, strict=True):
            halves = (leaf.real, leaf.imag) if is_complex else (leaf,)
            vectors += [half.reshape(leaf.shape[0], -1).astype(self.dtype) for half in halves]
        return jnp.concatenate(vectors, axis=1)

    def unflatten(self, vectors: jax.Array, narrow: bool = False) -> State:
        """Returns the state of vectors, in the dtypes of the solution or the state's own."""
        pieces = iter(jnp.split(vectors, np.cumsum(self.counts)[:-1], axis=1))
        leaves = []
        for shape, dtype, is_complex in zip(self.shapes, self.dtypes, self.complex, strict=True):
            piece = next(pieces)
            piece = jax.lax.complex(piece, next(pieces)) if is_complex else piece
            piece = piece.reshape(-1, *shape)
            leaves.append(piece.astype(dtype) if narrow else piece)
        return jax.tree.unflatten(self.structure, leaves)


class StepFunction:
    """The steps of a cell as a function of arrays, in the real dtype of the state's vectors.

    Attributes:
      layout: of the state.
      params: of the cell.
    """

    def __init__(self, cell: nn.Module, params: Any, state: State, projected: Any):
        """Makes the function of a cell.

        Args:
          cell: bound to a layer or not.
          params: of the cell.
          state: of all rows, before the first step.
          projected: by the cell, of all rows and steps.
        """
        self.layout = StateLayout(state)
        self._name = type(cell).__name__
        self._cell = cell.copy(parent=None, name=None)
        dtype = self.layout.dtype
        self._wide_cell = with_dtypes(self._cell, dtype=dtype, param_dtype=dtype) or self._cell
        leaves, self._structure = jax.tree.flatten(projected, is_leaf=is_broadcast)
        self._is_shared = [is_broadcast(leaf) for leaf in leaves]
        first = [leaf if is_broadcast(leaf) else leaf[:, 0] for leaf in leaves]
        arguments = (params, state, jax.tree.unflatten(self._structure, first))
        self._arguments = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments
        )
        _, output = jax.eval_shape(functools.partial(_step, self._cell), *self._arguments)
        self._output_dtype = output.dtype
        self.params = jax.tree.map(self._widen, params)

    def steps(self, projected: Any) -> tuple[list[jax.Array], list[Any]]:
        """Returns the arrays of a projection that have a time axis, and those that have none."""
        leaves = jax.tree.leaves(projected, is_leaf=is_broadcast)
        flagged = list(zip(leaves, self._is_shared, strict=True))
        steps = [self._widen(leaf) for leaf, is_shared in flagged if not is_shared]
        return steps, [jax.tree.map(self._widen, leaf) for leaf, is_shared in flagged if is_shared]

    def advance(self, params: Any, vectors: jax.Array, steps: list[jax.Array]) -> jax.Array:
        """Returns the vectors after one step of rows that do not interact."""
        return self.layout.flatten(self._run(params, vectors, steps)[0])

    def outputs(self, problem: kernel.NewtonProblem, states: jax.Array) -> jax.Array:
        """Returns the outputs of all steps from the solved states."""
        previous = kernel.previous_states(problem, states)
        merge = kernel.merge_steps
        steps = jax.tree.map(merge, problem.projected)
        outputs = self._run(problem.params, merge(previous), steps)[1]
        return outputs.reshape(*previous.shape[:2], *outputs.shape[1:]).astype(self._output_dtype)

    def require_forward_mode(self, subject: str = "", expected: str = "") -> None:
        """Checks that a step has a derivative in forward mode.

        Args:
          subject: start of the message: "engine: given 'newton', and ".
          expected: other remedies for the message: "'scan' or ".

        Raises:
          InputError: its derivative is for reverse mode alone.
        """

        def derivative(params, state, projected):
            def step(state):
                return _step(self._cell, params, state, projected)

            _, jvp = jax.linearize(step, state)
            # Only under vmap does a derivative for reverse mode alone raise while it is traced.
            return jax.vmap(jvp)(jax.tree.map(lambda leaf: leaf[None], state))

        try:
            jax.eval_shape(derivative, *self._arguments)
        except TypeError as error:
            if "forward-mode" not in str(error):  # jax.custom_vjp's message
                raise
            raise InputError(
                f"{subject}the derivative of a step of {self._name} is written by jax.custom_vjp, "
                "for reverse mode alone, and Jacobians need forward mode; expected "
                f"{expected}a step whose derivative is written by jax.custom_jvp"
            ) from error

    def require_no_draws(self) -> None:
        """Checks that a step draws no random numbers in training.

        Raises:
          InputError: it draws from the rng stream 'dropout'.
        """

        def step(key, *arrays):
            return _step(self._cell, *arrays, rngs={"dropout": key})

        jaxpr = jax.make_jaxpr(step)(jax.random.key(0), *self._arguments).jaxpr
        if any(variable is jaxpr.invars[0] for eqn in jaxpr.eqns for variable in eqn.invars):
            raise InputError(
                f"engine: given 'newton', and a step of {self._name} draws random numbers in "
                "training, so that its states are no fixed equations; expected 'scan' or 'auto'"
            )

    def _run(self, params: Any, vectors: jax.Array, steps: list[jax.Array]) -> tuple[State, Any]:
        variables, shared = params
        of_steps, of_shared = iter(steps), iter(shared)
        leaves = [next(of_shared if is_shared else of_steps) for is_shared in self._is_shared]
        projected = jax.tree.unflatten(self._structure, leaves)
        return _step(self._wide_cell, variables, self.layout.unflatten(vectors), projected)

    def _widen(self, leaf: jax.Array) -> jax.Array:
        is_narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
        return leaf.astype(self.layout.dtype) if is_narrow else leaf


def _step(cell: nn.Module, params: Any, state: State, projected: Any, rngs: Any = None) -> Any:
    """Returns the next state and the output of an unbound cell."""
    method = "step" if isinstance(cell, AbstractCell) else None
    return cell.apply({"params": params}, state, projected, rngs=rngs, method=method)
