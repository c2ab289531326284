"""Speed benchmarks: statistics, tables, and a tiny case of several contenders."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from jax.extend.core import jaxprs_in_params

import measure
import tables
from case_data import layer_data
from cases import CONTENDERS, RNNJAX, SIZES, Case, Contender, cases, layer_spec
from contenders import NotOfferedError, products
from contenders import rnnjax as rnnjax_contender
from contenders.cudnn import flatten_weights
from digests import disagreement
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import has_description
from rnnjax.experiment.records import write_records
from rnnjax.interop import from_torch
from runs import Ratio, Result, Runs, exponent, manifest_identifier, ratio
from workers import Worker, Workers

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = {
    "started": "2026-01-02T00:00:00+00:00",
    "command": "",
    "load": 0.0,
    "commit": "c" * 40,
    "dirty": False,
    "devices": ["cpu:0 cpu"],
    "cpus": 2,
    "processor": "a processor",
    "python": "3.11",
    "packages": {"jax": "1"},
    "peers": {},
}


def test_ratio_is_the_median_over_rounds():
    # A slow second round changes neither ratio.
    assert ratio([2.0, 30.0, 7.5], [1.0, 10.0, 3.0]) == Ratio(2.5, 2.0, 3.0)
    assert str(ratio([2.0], [1.0])) == "2.00 (2.00 to 2.00)"


def test_exponent_fits_power_law():
    assert exponent([1, 10, 100], [5, 5 * 10**0.5, 50]) == pytest.approx(0.5)


def test_disagreement_names_first_difference():
    expected = {"outputs": 10.0, "loss": 0.01, "input_gradient": 2.0}
    assert disagreement(expected, {**expected, "loss": 0.011}, 1e-3) == ""
    assert disagreement(expected, {**expected, "loss": 0.03}, 1e-3) == "loss 0.03 instead of 0.01"
    assert "input_gradient" in disagreement(expected, {**expected, "input_gradient": 2.1}, 1e-3)
    assert "outputs" in disagreement(expected, {**expected, "outputs": float("nan")}, 1e-3)


def test_case_names_are_unique():
    for group in CONTENDERS:
        names = [case.name for case in cases(group)]
        assert len(names) == len(set(names)) > 0
    sizes = ["x".join(map(str, size)) for size in SIZES]
    layers = [case.name for case in cases("layers")]
    assert all(
        f"{cell}{direction}, {size}" in layers
        for cell in ("simple", "lstm", "gru")
        for direction in ("", ", 2 bidirectional")
        for size in sizes
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cudnn_weights_match_unpacking_of_jax(bidirectional):
    spec = layer_spec("lstm", (2, 3, 4, 5), bidirectional)
    weights = layer_data(spec).weights
    flat, kernel_size = flatten_weights(weights)
    unpacked = rnn.unpack_lstm_weights(jnp.asarray(flat), 4, 5, spec["layers"], bidirectional)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for name, actual in zip(names, unpacked, strict=True):
        expected = [array for key, array in weights.items() if name in key]
        for index, array in enumerate(expected):
            np.testing.assert_array_equal(actual[index], array)
    assert kernel_size == sum(array.size for array in weights.values() if array.ndim == 2)


def test_records_of_a_case_continue_and_can_be_dropped(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    for seconds in ([1.0, 2.0], [3.0]):
        result = Result(3, {"step": seconds}, {"a": len(seconds)})
        runs.append(result.to_record(manifest, "steps", "lstm", "rnnjax"))
    reread = Runs(tmp_path / "runs.jsonl")
    assert reread.add_manifest({**MANIFEST, "started": "later", "load": 3.0}) == manifest
    result = reread.results[manifest]["steps", "lstm", "rnnjax"]
    assert (result.rounds, result.seconds, result.facts) == (3, {"step": [1.0, 2.0, 3.0]}, {"a": 1})
    reread.drop(manifest, ["layers"])
    assert reread.results[manifest]
    reread.drop(manifest, ["steps"])
    assert not reread.results[manifest]
    assert reread.manifests


def test_manifest_identifier_depends_on_commit_and_peers():
    assert manifest_identifier(MANIFEST) != manifest_identifier({**MANIFEST, "commit": "d" * 40})
    assert manifest_identifier(MANIFEST) != manifest_identifier(
        {**MANIFEST, "peers": {"torch": "2"}}
    )


def test_damaged_line_raises(tmp_path):
    path = tmp_path / "runs.jsonl"
    write_records(path, [{"manifest": "a"}, {"of": "b"}])
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: is damaged"):
        Runs(path)


def test_edited_line_raises(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    runs.append(Result(1, {"step": [1.5]}).to_record(manifest, "steps", "lstm", "rnnjax"))
    assert Runs(runs.path).results[manifest]["steps", "lstm", "rnnjax"].seconds == {"step": [1.5]}
    runs.path.write_text(runs.path.read_text().replace("1.5", "1.4"))
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: is not as it was recorded"):
        Runs(runs.path)


def test_lead_of_padded_torch_is_rendered(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    for case, seconds in (("lstm, 1x2x3x4", 1.0), ("lstm, 5x6x7x8", 5.0), ("gru, 1x2x3x4", 0.1)):
        for name, value in (("rnnjax", 2.0), ("PyTorch, padded", seconds)):
            result = Result(1, {"forward": [value], "forward+backward": [value]})
            runs.append(result.to_record(manifest, "layers", case, name))
    assert tables.padded_torch_lead(runs) == (
        "On 2 CPU cores, a processor, PyTorch's LSTM without packing is faster forward in 1 of 2 "
        "cases, by up to 2.0 times."
    )


def record(runs: Runs, manifest: str, group: str, case: str, seconds: dict) -> None:
    """Adds results of three rounds, from seconds or a failure for each contender."""
    for name, value in seconds.items():
        if isinstance(value, dict):
            failure, message = next(iter(value.items()))
            result = Result(failure=failure, message=message)
        else:
            facts = {"compile_seconds": value, "temp_bytes": int(value * 2**20)}
            operation = "step" if group == "steps" else "forward+backward"
            result = Result(3, {operation: [value, value * 1.1, value * 0.9]}, facts)
        runs.append(result.to_record(manifest, group, case, name))


def test_table_shows_ratios_and_failures(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    torch = {"missing": "torch not installed"}
    record(
        runs, manifest, "steps", "lstm", {"rnnjax": 0.002, "Keras on JAX": 0.006, "PyTorch": torch}
    )
    failed = {"error": "ValueError: no"}
    record(
        runs,
        manifest,
        "steps",
        "bilstm",
        {"rnnjax": 0.02, "Keras on JAX": failed, "PyTorch": torch},
    )
    text = tables.render(runs)
    assert "| lstm | 2 ms | 3 | 3.00 (3.00 to 3.00) | missing |" in text
    assert "| bilstm | 20 ms | 3 | failed | missing |" in text
    assert "- PyTorch is missing: torch not installed." in text
    assert "- Keras on JAX failed: ValueError: no (bilstm)" in text
    assert (
        "Not measured on this machine: layers, linear, language_models, softmax, replicates, "
        "lesson, text, growth." in text
    )


def test_engines_of_a_linear_recurrence_agree():
    spec = layer_spec("GatedDeltaNetCell(heads=2)", (2, 65, 4, 4))
    scan, chunkwise = (
        rnnjax_contender.linear(spec, engine).facts for engine in ("scan", "chunkwise")
    )
    assert disagreement(scan["digest"], chunkwise["digest"], 1e-4) == ""
    assert 0 < chunkwise["temp_bytes"] != scan["temp_bytes"]
    with pytest.raises(NotOfferedError, match="has the engines scan, chunkwise"):
        rnnjax_contender.linear(spec, "associative")


def test_memory_of_linear_recurrences_is_a_table(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    lacking = {"not_offered": "MLSTMCell has the engines scan, chunkwise"}
    seconds = {"rnnjax": 2.0, "rnnjax, scan": 9.0, "rnnjax, associative": lacking}
    record(runs, manifest, "linear", "MLSTM, 16x2048x128x128", seconds)
    text = tables.render(runs)
    assert "| MLSTM, 16x2048x128x128 | 2e+03 ms | 3 | 4.50 (4.50 to 4.50) |" in text
    assert "| MLSTM, 16x2048x128x128 | 2 | 9 |" in text


def test_growth_has_exponents_and_plot(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    for time in (128, 256, 512):
        contenders = {"rnnjax": time / 128, "rnnjax, remat": {"not_offered": "RNN has no remat"}}
        record(runs, manifest, "growth", f"time={time}", contenders)
    text = tables.render(runs)
    assert "| time=256 | 2e+03 | 2 | 2 |" in text
    assert "| time | 1.00 | 1.00 | 1.00 |" in text
    assert "remat" not in text
    tables.draw(runs, tmp_path)
    (plot,) = tmp_path.glob("*.svg")
    assert f"]({plot.name})" in text
    ((name, description),) = tables.describe_plots(runs).items()
    assert name == plot.name
    assert description == (
        "Medians of forward+backward: time=128 rnnjax 1 s 1048576 bytes; "
        "time=256 rnnjax 2 s 2097152 bytes; time=512 rnnjax 4 s 4194304 bytes"
    )
    assert has_description(plot, description)
    assert not has_description(plot, description.replace("2 s", "3 s"))
    assert plot.stat().st_size < 200_000


def test_lesson_is_summed_over_networks(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    manifest = runs.add_manifest(MANIFEST)
    names = [contender.name for contender in CONTENDERS["lesson"]]
    for case in cases("lesson"):
        for name, seconds in zip(names, (4.0, 2.0, 12.0), strict=True):
            facts = {"test_accuracy": 0.9, "compilations": {"train": 3}, "buckets": [1, 2, 3]}
            result = Result(1, {"command": [seconds], "training": [seconds / 2]}, facts)
            runs.append(result.to_record(manifest, "lesson", case.name, name))
    text = tables.render(runs)
    assert "| all | 48.0 | 16.0 | 8.0 | 3.0 | 6.0 |" in text
    assert "| lstm | 3 | 3 | 0.9 | 0.9 |" in text


class FakeTimer:
    """A timer that records its turns; it may be interrupted."""

    def __init__(self, name: str, turns: list[str], until: int = 100):
        """Sets the common list of turns, and the number of turns before Ctrl-C."""
        self.contender = Contender(name)
        self.result = Result()
        self._turns, self._until = turns, until

    def time(self) -> None:
        """Records a turn."""
        if len(self._turns) == self._until:
            raise KeyboardInterrupt
        self._turns.append(self.contender.name)
        self.result.seconds.setdefault("step", []).append(1.0)


def test_rounds_rotate_the_first_contender():
    turns: list[str] = []
    timers = [FakeTimer(name, turns) for name in "abc"]
    measure.time_rounds(timers, 3, 2, 0, 0)
    assert "".join(turns) == "abcbcacab"
    assert [timer.result.planned for timer in timers] == [3, 3, 3]


def test_rounds_are_limited():
    turns: list[str] = []
    measure.time_rounds([FakeTimer("a", turns)], 1, 2, 0, 0)
    assert turns == ["a"]


def test_interrupted_round_is_dropped_and_repeated():
    turns: list[str] = []
    timers = [FakeTimer(name, turns, until=5) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        measure.time_rounds(timers, 4, 2, 0, 0)
    assert [timer.result.rounds for timer in timers] == [1, 1, 1]
    planned = timers[0].result.planned
    assert planned == 4
    turns.clear()
    timers = [FakeTimer(name, turns) for name in "abc"]
    measure.time_rounds(timers, 4, 2, done=1, planned=planned)
    assert "".join(turns) == "bcacababc"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    """Records and page of a tiny case: rnnjax, flax, products, one missing and one failing."""
    folder = tmp_path_factory.mktemp("speed")
    readme, runs = folder / "README.md", Runs(folder / "runs.jsonl")
    case = Case("layers", "gru, 16x48x64x64", layer_spec("gru", (3, 5, 4, 6), bidirectional=True))
    missing = Contender("PyTorch, packed", "torch", "packed", requires=("no_such_library",))
    failing = Contender("Keras on JAX", "no_such_module")
    with pytest.MonkeyPatch.context() as patch, Workers() as workers:
        flax = Contender("flax nn.RNN", "flax")
        products = Contender("the products alone", "products")
        patch.setitem(CONTENDERS, "layers", (RNNJAX, flax, products, missing, failing))
        patch.setattr(measure, "ROUND_SECONDS", 0.01)
        manifest = runs.add_manifest(MANIFEST)
        benchmark = measure.WorkerBenchmark(workers, 1e-3)

        def render() -> None:
            readme.write_text(tables.render(runs))

        measure.measure_group(runs, manifest, [case], benchmark, 2, render)
    return runs.path, readme


def test_tiny_case_is_measured(tiny):
    path, readme = tiny
    _, *lines = map(json.loads, path.read_text().splitlines())
    records = {line["contender"]: line for line in lines}
    for name in ("rnnjax", "flax nn.RNN", "the products alone"):
        seconds = records[name]["seconds"]
        assert {operation: len(values) for operation, values in seconds.items()} == {
            "forward": 2,
            "forward+backward": 2,
        }
        assert all(0 < value < 10 for values in seconds.values() for value in values)
    assert records["flax nn.RNN"]["facts"]["digest"] == pytest.approx(
        records["rnnjax"]["facts"]["digest"], rel=1e-4
    )
    assert "digest" not in records["the products alone"]["facts"]
    assert "ModuleNotFoundError" in records["Keras on JAX"]["error"]
    assert records["PyTorch, packed"]["missing"] == "no_such_library not installed"
    assert "missing: no_such_library not installed" in readme.read_text()


def test_request_to_killed_process_returns_error():
    worker = Worker("flax", "")
    process = worker._start()
    process.kill()
    process.wait()
    assert "the process ended with status -9" in worker.request(do="drop_jobs")["error"]
    worker.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "layers,lessons"], "--only: given 'lessons', expected some of layers"),
        (["--rounds", "0"], "--rounds: given 0, expected 1 or more"),
        (["--data", "nowhere"], "--data: nowhere has no train.csv"),
    ],
)
def test_invalid_flags_raise_before_any_work(arguments, message, monkeypatch):
    monkeypatch.setattr(measure, "Workers", None)
    with pytest.raises(InputError, match=message):
        measure.main(arguments)


def multiplications(jaxpr) -> int:
    """Counts the multiplications of the matrix products of a program."""
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            (left, _), (out,) = equation.invars, equation.outvars
            count += math.prod(left.aval.shape[axis] for axis in contracted) * out.aval.size
        repeats = equation.params.get("length", 1)
        for inner in jaxprs_in_params(equation.params):
            count += repeats * multiplications(inner)
    return count


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_products_are_those_of_the_layer(cell, bidirectional):
    spec = layer_spec(cell, (3, 5, 4, 6), bidirectional)
    layer, data = rnnjax_contender.make_layer(spec, engine="fused"), layer_data(spec)
    params = from_torch(layer, data.weights)

    def loss(params, inputs):
        return layer.apply({"params": params}, inputs, data.mask)[1].sum()

    gradient = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, data.inputs)
    products_alone = jax.make_jaxpr(products.forward_backward)(products.make_operands(spec))
    assert multiplications(gradient.jaxpr) == multiplications(products_alone.jaxpr) > 0
