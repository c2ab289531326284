"""Writes exported folders, and has them check themselves."""

import contextlib
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

import rnnjax
from rnnjax.errors import InputError
from rnnjax.exporting.model_card import render_card
from rnnjax.exporting.onnx_files import check_onnx, write_onnx
from rnnjax.exporting.tracing import Tracer
from rnnjax.input_files import explain
from rnnjax.reporting.atomic_files import encode_json
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.exported import EXAMPLES, ExportedFunction, ExportedNetwork
from rnnjax.tasks.trained_run import TrainedRun

TOLERANCE = 1e-5
"""Of numbers in the answers to the examples, absolute up to 1 and relative beyond."""

MASK_LAW = (
    "mask[batch, time] is True where a step counts. A masked step keeps the state and outputs "
    "zero; no value at a masked step reaches a result. A row without a step that counts returns "
    "the initial state."
)

_PLATFORMS = ("cpu", "cuda", "tpu")
_SCRIPTS = ("run.py", "interpreter.py", "operations.py")
_LIBRARIES = {
    "export": {"safetensors": "model.safetensors", "flatbuffers": "model.stablehlo"},
    "onnx": {"jax2onnx": "model.onnx", "onnxruntime": "the check of model.onnx"},
}
"""Libraries by the extra that installs them, and for what they are needed."""


def write_folder(
    run: TrainedRun, output: Path, texts: Sequence[str] | None = None, *, onnx: bool = False
) -> Path:
    """Writes the exported folder of a network, which has checked itself.

    Args:
      run: the trained network.
      output: a new folder.
      texts: inputs of the self-check; None for some of the test split.
      onnx: write the functions in ONNX too, checked by the same inputs.

    Raises:
      InputError: the task of the run has no such form, the network has an unknown operation or,
        with `onnx`, one without a form in ONNX, the data of the run is not available, a library is
        missing, the folder exists or cannot be written, or its answers differ from those of the
        network.
    """
    _check_libraries(*(["onnx"] if onnx else []), "export")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"given {output}, which exists; expected a new folder")
    network = run.exported()
    params = traverse_util.flatten_dict(jax.device_get(run.params), sep="/")
    tensors = {name: np.asarray(value) for name, value in {**params, **network.tensors}.items()}
    tracer = Tracer()
    programs = {
        name: _describe(tracer, function, params) for name, function in network.functions.items()
    }
    try:
        examples = run.examples(texts)
    except InputError as error:
        if texts is not None:
            raise
        raise InputError(
            f"the self-check needs {EXAMPLES} inputs, and the data of the run cannot be had "
            f"({error}); give texts of your own by --examples FILE"
        ) from error
    description = {
        "format": 1,
        "rnnjax": rnnjax.__version__,
        "task": run.config.task,
        "kind": network.kind,
        "architecture": run.config.model.model_dump(),
        "mask": MASK_LAW,
        "settings": {"kind": network.kind, **network.settings},
        "programs": programs,
    }
    with _new_folder(output) as draft:
        _write_files(draft, description, {**tensors, **tracer.tensors}, network, params)
        _write_json(draft / "examples.json", {"tolerance": TOLERANCE, **examples._asdict()})
        if run.vocabulary is not None:
            (draft / "tokenizer.json").write_text(run.vocabulary.to_json(), encoding="utf-8")
        if onnx:
            write_onnx(draft, network, params, run.config.model.cell)
        (draft / "README.md").write_text(render_card(run, description, onnx), encoding="utf-8")
        files = sorted(path for path in draft.iterdir())
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        _write_json(draft / "fingerprints.json", {"sha256": digests})
        _check(draft)
        if onnx:
            check_onnx(draft, examples, TOLERANCE, run.config.model.cell)
    write_message(f"{output}: {len(files) + 1} files; {len(examples.inputs)} answers agree")
    return output


def _describe(tracer: Tracer, function: ExportedFunction, params: Any) -> dict[str, Any]:
    """Returns a function's entry in model.json."""
    outputs: list[str] = []

    def call(*arrays: Any) -> list[Any]:
        named = _named(function, list(params), arrays)
        outputs[:] = named
        return list(named.values())

    body = tracer.trace(call, *params.values(), *function.inputs.values())
    inputs = [
        {
            "name": name,
            "shape": [size if isinstance(size, int) else str(size) for size in shape.shape],
            "dtype": np.dtype(shape.dtype).name,
        }
        for name, shape in function.inputs.items()
    ]
    return {"parameters": list(params), "inputs": inputs, "outputs": outputs, "body": body}


def _named(function: ExportedFunction, names: Sequence[str], arrays: Sequence[Any]) -> Any:
    """Returns the outputs by name, from the parameters by name and the inputs in their order."""
    flat = dict(zip(names, arrays, strict=False))
    params = traverse_util.unflatten_dict(flat, sep="/")
    return function.function(params, *arrays[len(names) :])


def _write_files(
    folder: Path, description: Any, tensors: Any, network: ExportedNetwork, params: Any
) -> None:
    """Writes scripts, programs, tensors, and each function in StableHLO."""
    from safetensors.numpy import save

    for name in _SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    _write_json(folder / "model.json", description)
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    (folder / "model.safetensors").write_bytes(save(contiguous))
    shapes = {name: jax.ShapeDtypeStruct(np.shape(p), p.dtype) for name, p in params.items()}
    for name, function in network.functions.items():

        def call(params: Any, *arrays: Any, function: Any = function) -> Any:
            return function.function(traverse_util.unflatten_dict(params, sep="/"), *arrays)

        exported = jax.export.export(jax.jit(call), platforms=_PLATFORMS)
        with _no_locations():
            content = exported(shapes, *function.inputs.values()).serialize()
        (folder / f"{name}.stablehlo").write_bytes(content)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(encode_json(value) + "\n", encoding="utf-8")


def _check_libraries(*extras: str) -> None:
    for extra in extras:
        for library, purpose in _LIBRARIES[extra].items():
            if importlib.util.find_spec(library) is None:
                raise InputError(
                    f"{purpose} needs {library}, which is not installed: pip install "
                    f"'rnnjax[{extra}]'"
                )


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
    """Leaves the paths of source files on this machine out of programs."""
    name = "jax_traceback_in_locations_limit"
    limit = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, limit)


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Makes a folder for files that take their place when all are written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".rnnjax-export-") as parent:
            draft = Path(parent, output.name)
            draft.mkdir()
            yield draft
            draft.replace(output)
    except OSError as error:
        cause, remedy = explain(error)
        raise InputError(f"{output}: cannot be written ({cause}); {remedy}") from error


def _check(folder: Path) -> None:
    """Raises InputError if a folder finds fault with itself, in a process of its own."""
    command = [sys.executable, "-B", str(folder / "run.py"), "--check"]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        lines = (process.stdout + process.stderr).strip().splitlines()
        raise InputError(
            f"the answers of the exported folder differ from those of the network: {lines[0]}; "
            "report it with the config of the run"
        )
