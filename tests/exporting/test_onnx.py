"""Files of ONNX in exported folders: the answers of onnxruntime, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from exporting.test_folders import (
    gated_delta_config,
    make_language_config,
    make_series_config,
    mask_free_config,
    untrained_run,
)
from rnnjax.cli.launcher import run_command
from rnnjax.errors import InputError
from rnnjax.exporting import onnx_files
from rnnjax.exporting import run as exported
from rnnjax.exporting.folder import write_folder
from rnnjax.tasks.exported import Examples

pytest.importorskip("jax2onnx", reason="networks are converted by jax2onnx, an extra")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is of the extra 'onnx'")

# Of jax2onnx and the libraries of its examples, which it imports.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(news, tmp_path_factory) -> Path:
    """The folder of a two-layer bidirectional classifier without a mask, with model.onnx."""
    run = untrained_run(mask_free_config(news))
    return write_folder(run, tmp_path_factory.mktemp("exports") / "onnx", onnx=True)


def make_session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 7), (5, 2)])
def test_any_batch_and_time_are_computed_as_by_the_program(folder, batch, time):
    generator = np.random.default_rng(0)
    inputs = generator.integers(1, 40, (batch, time), np.int32)
    mask = np.arange(time) < generator.integers(0, time + 1, (batch, 1))
    expected = exported.Model(folder).run("model", inputs=inputs, mask=mask)
    session = make_session(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    actual = session.run(names, {"inputs": inputs, "mask": mask})
    assert names == list(expected)
    for name, array in zip(names, actual, strict=True):
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


def test_folder_lists_the_file_and_its_use(folder):
    digests = json.loads((folder / "fingerprints.json").read_text())["sha256"]
    assert "model.onnx" in digests
    assert "file of ONNX as well" in (folder / "README.md").read_text()
    assert exported.check(folder) == []


@pytest.mark.parametrize("make", [make_language_config, make_series_config])
def test_other_tasks_have_the_form(make, tmp_path):
    config = make(tmp_path)
    model = config.model.model_copy(update={"cell": "LSTMCell"})
    run = untrained_run(config.model_copy(update={"model": model}))
    output = write_folder(run, tmp_path / "export", onnx=True)
    outputs = [output.name for output in make_session(output / "model.onnx").get_outputs()]
    program = exported.Model(output).description["programs"]["model"]
    states = {entry["name"] for entry in program["inputs"]}
    assert outputs == ["next." * (name in states) + name for name in program["outputs"]]


def test_gated_delta_network_has_the_form_without_a_convolution(news, tmp_path):
    run = untrained_run(gated_delta_config(news, convolution=0))
    write_folder(run, tmp_path / "export", onnx=True)


def test_operation_without_the_form_is_refused_with_the_cell(news, tmp_path):
    run = untrained_run(gated_delta_config(news, convolution=4))
    with pytest.raises(InputError, match=r"network of GatedDeltaNetCell.*jax2onnx.*lax\.sort"):
        write_folder(run, tmp_path / "export", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_operation_that_onnxruntime_lacks_is_refused_with_the_cell(folder, monkeypatch):
    examples = json.loads((folder / "examples.json").read_text())
    examples = Examples(examples["inputs"], examples["answers"])

    def refuse(*args, **kwargs):
        raise RuntimeError("NOT_IMPLEMENTED : Where(16)")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(InputError, match=r"network of MyCell.*onnxruntime.*Where\(16\)"):
        onnx_files.check_onnx(folder, examples, 1e-5, "MyCell")


def test_answers_that_differ_are_refused(news, tmp_path, monkeypatch):
    run = untrained_run(mask_free_config(news))
    write = onnx_files.write_onnx

    def write_others(folder, network, params, cell):
        write(folder, network, {name: 0.9 * value for name, value in params.items()}, cell)

    monkeypatch.setattr("rnnjax.exporting.folder.write_onnx", write_others)
    with pytest.raises(InputError, match="example 1, computed by onnxruntime: answer"):
        write_folder(run, tmp_path / "export", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_library_that_is_missing_is_named(news, tmp_path, monkeypatch):
    installed = {"safetensors", "flatbuffers", "jax2onnx"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in installed or None)
    with pytest.raises(InputError, match=r"needs onnxruntime.*rnnjax\[onnx\]"):
        write_folder(untrained_run(mask_free_config(news)), tmp_path / "export", onnx=True)


def test_command_writes_the_file(finished, tmp_path):
    (tmp_path / "texts.txt").write_text("goal season\n\nprofit and shares\n")
    flags = [f"--workdir={finished}", f"--output={tmp_path / 'export'}", "--onnx"]
    assert run_command("export", [*flags, f"--examples={tmp_path / 'texts.txt'}"]) == 0
    assert (tmp_path / "export" / "model.onnx").stat().st_size > 0
