"""Writes the functions of a network as files of ONNX by jax2onnx, and checks their answers."""

import contextlib
import importlib.metadata
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from rnnjax.errors import InputError
from rnnjax.exporting.importing import import_run
from rnnjax.exporting.tracing import CALLS
from rnnjax.tasks.exported import Examples, ExportedFunction, ExportedNetwork

NEXT = "next."
"""Stands before the name of an output that has the name of an input, such as a state."""


def write_onnx(folder: Path, network: ExportedNetwork, params: Any, cell: str) -> None:
    """Writes each function as NAME.onnx, with the parameters in it, for any batch and time.

    Args:
      folder: of the files.
      network: to convert.
      params: of the network by name.
      cell: of the network, for the message of an error.

    Raises:
      InputError: jax2onnx does not convert an operation.
    """
    for name, function in network.functions.items():
        try:
            content = _convert(name, function, params)
        except Exception as error:  # of many types: the converter names no type for a refusal
            raise _refusal(cell, "jax2onnx", error) from error
        (folder / f"{name}.onnx").write_bytes(content)


def check_onnx(folder: Path, examples: Examples, tolerance: float, cell: str) -> None:
    """Answers the examples with the files of a written folder, by onnxruntime.

    Raises:
      InputError: onnxruntime does not compute an operation, or an answer differs.
    """
    run = import_run()
    try:
        answers = list(_make_model(run, folder).answers(examples.inputs))
    except Exception as error:  # of onnxruntime, which has a type for each of its statuses
        raise _refusal(cell, "onnxruntime", error) from error
    for number, pair in enumerate(zip(answers, examples.answers, strict=True), start=1):
        if difference := run.compare(*pair, tolerance):
            raise InputError(
                f"example {number}, computed by onnxruntime: {difference}; export without --onnx, "
                "and report it with the config of the run"
            )


def _refusal(cell: str, library: str, error: Exception) -> InputError:
    # Builds of onnxruntime are distributions of several names.
    version = importlib.metadata.version(importlib.metadata.packages_distributions()[library][0])
    reason = " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    return InputError(
        f"the network of {cell} could not be converted to ONNX or computed there ({library} "
        f"{version}: {reason}); export it without --onnx, or with another cell"
    )


def _make_model(run: Any, folder: Path) -> Any:
    """Returns a `Model` of `run.py` whose functions onnxruntime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3

    class OnnxModel(run.Model):
        def run(self, program: str, **inputs: Any) -> dict[str, np.ndarray]:
            description = self.description["programs"][program]
            feeds = {
                entry["name"]: np.asarray(inputs[entry["name"]], entry["dtype"])
                for entry in description["inputs"]
            }
            arrays: Any = sessions[program].run(None, feeds)
            return dict(zip(description["outputs"], arrays, strict=True))

    model = OnnxModel(folder)
    sessions = {
        program: onnxruntime.InferenceSession(
            str(folder / f"{program}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        for program in model.description["programs"]
    }
    return model


def _convert(name: str, function: ExportedFunction, params: Any) -> bytes:
    import jax2onnx

    outputs: list[str] = []
    tree = traverse_util.unflatten_dict(params, sep="/")

    def call(*arrays: Any) -> list[Any]:
        named = function.function(tree, *arrays)
        outputs[:] = [NEXT + key if key in function.inputs else key for key in named]
        return list(named.values())

    # jax2onnx replaces functions of JAX and flax while it traces, which then refuse symbolic
    # sizes. A traced program has operations alone.
    shapes = list(function.inputs.values())
    program = jax.make_jaxpr(call)(*shapes)
    forward = jax.make_jaxpr(lambda *arrays: _compute_forward(program, *arrays))(*shapes)
    with _without_warnings():
        model = jax2onnx.to_onnx(
            jaxpr_as_fun(forward),
            shapes,
            model_name=name,
            input_names=list(function.inputs),
            output_names=outputs,
        )
    return model.SerializeToString()


def _compute_forward(program: ClosedJaxpr, *inputs: Any) -> list[Any]:
    """Computes a program, with its reverse scans as forward scans of reversed arrays.

    jax2onnx has no form for a reverse scan, and refuses one inside another loop.
    """
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.invars, inputs, strict=True))
    values.update(zip(jaxpr.constvars, program.consts, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        arguments, params = [read(atom) for atom in equation.invars], equation.params
        name = equation.primitive.name
        if name in CALLS:
            (called,) = (params[key] for key in ("jaxpr", "call_jaxpr") if key in params)
            closed = called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())
            results = _compute_forward(closed, *arguments)
        elif name == "scan" and params["reverse"]:
            first = params["num_consts"] + params["num_carry"]
            arguments[first:] = [jnp.flip(array, 0) for array in arguments[first:]]
            results = equation.primitive.bind(*arguments, **{**params, "reverse": False})
            stacked = params["num_carry"]
            results[stacked:] = [jnp.flip(array, 0) for array in results[stacked:]]
        else:
            results = equation.primitive.bind(*arguments, **params)
            if not equation.primitive.multiple_results:
                results = [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Leaves out warnings: of plugins that are not used, and of unknown shapes inside of loops."""
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
