"""The measuring of speed: its arithmetic, its tables, and a tiny case between two libraries."""

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
from cases import (
    CONTENDERS,
    OURS,
    SIZES,
    Case,
    Contender,
    cases,
    disagreement,
    layer_data,
    layer_spec,
)
from contenders import ours, products
from contenders.cudnn import flat
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import has_description
from rnnjax.experiment.records import write_records
from rnnjax.interop import from_torch
from runs import Ratio, Result, Runs, exponent, identity_of, ratio
from workers import Workers

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


def test_a_ratio_is_taken_round_by_round():
    # The second round met bad weather, which is in neither ratio.
    assert ratio([2.0, 30.0, 7.5], [1.0, 10.0, 3.0]) == Ratio(2.5, 2.0, 3.0)
    assert str(ratio([2.0], [1.0])) == "2.00 (2.00 to 2.00)"


def test_an_exponent_is_that_of_the_power_law():
    assert exponent([1, 10, 100], [5, 5 * 10**0.5, 50]) == pytest.approx(0.5)


def test_work_that_differs_is_found():
    ours = {"outputs": 10.0, "loss": 0.01, "input_gradient": 2.0}
    assert disagreement(ours, {**ours, "loss": 0.011}, 1e-3) == ""
    assert disagreement(ours, {**ours, "loss": 0.03}, 1e-3) == "loss 0.03 instead of 0.01"
    assert "input_gradient" in disagreement(ours, {**ours, "input_gradient": 2.1}, 1e-3)
    assert "outputs" in disagreement(ours, {**ours, "outputs": float("nan")}, 1e-3)


def test_every_case_has_a_name_of_its_own():
    for group in CONTENDERS:
        names = [each.name for each in cases(group)]
        assert len(names) == len(set(names)) > 0
    sizes = ["x".join(map(str, size)) for size in SIZES]
    layers = [each.name for each in cases("layers")]
    assert all(
        f"{cell}{ways}, {size}" in layers
        for cell in ("simple", "lstm", "gru")
        for ways in ("", ", 2 bidirectional")
        for size in sizes
    )


@pytest.mark.parametrize("both_ways", [False, True])
def test_weights_for_cudnn_lie_as_jax_unpacks_them(both_ways):
    spec = layer_spec("lstm", (2, 3, 4, 5), both_ways)
    weights = layer_data(spec).weights
    ordered, kernels = flat(weights)
    unpacked = rnn.unpack_lstm_weights(jnp.asarray(ordered), 4, 5, spec["layers"], both_ways)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for name, found in zip(names, unpacked, strict=True):
        for run, array in enumerate(each for own, each in weights.items() if name in own):
            np.testing.assert_array_equal(found[run], array)
    assert kernels == sum(each.size for each in weights.values() if each.ndim == 2)


def test_lines_of_a_case_continue_one_another_and_are_dropped_when_asked(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    for seconds in ([1.0, 2.0], [3.0]):
        result = Result(3, {"step": seconds}, {"a": len(seconds)})
        runs.append(result.as_line(of, "steps", "lstm", "rnnjax"))
    again = Runs(tmp_path / "runs.jsonl")
    assert again.begin({**MANIFEST, "started": "later", "load": 3.0}) == of
    found = again.results[of]["steps", "lstm", "rnnjax"]
    assert (found.rounds, found.seconds, found.facts) == (3, {"step": [1.0, 2.0, 3.0]}, {"a": 1})
    again.drop(of, ["layers"])
    assert again.results[of]
    again.drop(of, ["steps"])
    assert not again.results[of]
    assert again.manifests


def test_another_commit_is_measured_anew():
    assert identity_of(MANIFEST) != identity_of({**MANIFEST, "commit": "d" * 40})
    assert identity_of(MANIFEST) != identity_of({**MANIFEST, "peers": {"torch": "2"}})


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    write_records(path, [{"manifest": "a"}, {"of": "b"}])
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: is damaged"):
        Runs(path)


def test_an_edited_line_is_refused(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    runs.append(Result(1, {"step": [1.5]}).as_line(of, "steps", "lstm", "rnnjax"))
    assert Runs(runs.path).results[of]["steps", "lstm", "rnnjax"].seconds == {"step": [1.5]}
    runs.path.write_text(runs.path.read_text().replace("1.5", "1.4"))
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: is not as it was recorded"):
        Runs(runs.path)


def test_how_far_others_are_ahead_is_rendered(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    for case, seconds in (("lstm, 1x2x3x4", 1.0), ("lstm, 5x6x7x8", 5.0), ("gru, 1x2x3x4", 0.1)):
        for name, taken in (("rnnjax", 2.0), ("PyTorch, padded", seconds)):
            result = Result(1, {"forward": [taken], "forward+backward": [taken]})
            runs.append(result.as_line(of, "layers", case, name))
    assert tables.ahead(runs) == (
        "On 2 CPU cores, a processor, PyTorch's LSTM without packing is faster forward in 1 of 2 "
        "cases, by up to 2.0 times."
    )


def record(runs: Runs, of: str, group: str, case: str, seconds: dict) -> None:
    """Adds results of three rounds, a number or the reason why there is none by contender."""
    for name, value in seconds.items():
        if isinstance(value, dict):
            reason, why = next(iter(value.items()))
            result = Result(reason=reason, why=why)
        else:
            facts = {"compile_seconds": value, "temp_bytes": int(value * 2**20)}
            what = {"steps": "step", "growth": "forward+backward"}.get(group, "forward+backward")
            result = Result(3, {what: [value, value * 1.1, value * 0.9]}, facts)
        runs.append(result.as_line(of, group, case, name))


def test_a_table_shows_ratios_and_names_who_is_missing_or_failed(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    torch = {"missing": "torch not installed"}
    record(runs, of, "steps", "lstm", {"rnnjax": 0.002, "Keras on JAX": 0.006, "PyTorch": torch})
    failed = {"error": "ValueError: no"}
    record(runs, of, "steps", "bilstm", {"rnnjax": 0.02, "Keras on JAX": failed, "PyTorch": torch})
    text = tables.render(runs)
    assert "| lstm | 2 ms | 3 | 3.00 (3.00 to 3.00) | missing |" in text
    assert "| bilstm | 20 ms | 3 | failed | missing |" in text
    assert "- PyTorch is missing: torch not installed." in text
    assert "- Keras on JAX failed: ValueError: no (bilstm)" in text
    assert "Not measured on this machine: layers, replicates, lesson, text, growth." in text


def test_growth_shows_exponents_and_is_drawn(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    for time in (128, 256, 512):
        contenders = {"rnnjax": time / 128, "rnnjax, remat": {"not_offered": "RNN has no remat"}}
        record(runs, of, "growth", f"time={time}", contenders)
    text = tables.render(runs)
    assert "| time=256 | 2e+03 | 2 | 2 |" in text
    assert "| time | 1.00 | 1.00 | 1.00 |" in text
    assert "remat" not in text
    tables.draw(runs, tmp_path)
    (drawing,) = tmp_path.glob("*.svg")
    assert f"]({drawing.name})" in text
    ((name, description),) = tables.descriptions(runs).items()
    assert name == drawing.name
    assert description == (
        "Medians of forward+backward: time=128 rnnjax 1 s 1048576 bytes; "
        "time=256 rnnjax 2 s 2097152 bytes; time=512 rnnjax 4 s 4194304 bytes"
    )
    assert has_description(drawing, description)
    assert not has_description(drawing, description.replace("2 s", "3 s"))
    assert drawing.stat().st_size < 200_000


def test_the_lesson_is_summed_over_the_networks(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    of = runs.begin(MANIFEST)
    names = [each.name for each in CONTENDERS["lesson"]]
    for case in cases("lesson"):
        for name, seconds in zip(names, (4.0, 2.0, 12.0), strict=True):
            facts = {"test_accuracy": 0.9, "compilations": {"train": 3}, "buckets": [1, 2, 3]}
            result = Result(1, {"command": [seconds], "training": [seconds / 2]}, facts)
            runs.append(result.as_line(of, "lesson", case.name, name))
    text = tables.render(runs)
    assert "| all | 48.0 | 16.0 | 8.0 | 3.0 | 6.0 |" in text
    assert "| lstm | 3 | 3 | 0.9 | 0.9 |" in text


class Clockwork:
    """A contender that takes no time and tells whose turn it was; it may be interrupted."""

    def __init__(self, name: str, turns: list[str], until: int = 100):
        """Takes where to tell it, and after how many turns of all Ctrl-C comes."""
        self.contender = Contender(name)
        self.result = Result()
        self._turns, self._until = turns, until

    def time(self) -> None:
        """Takes a turn."""
        if len(self._turns) == self._until:
            raise KeyboardInterrupt
        self._turns.append(self.contender.name)
        self.result.seconds.setdefault("step", []).append(1.0)


def test_rounds_begin_with_another_contender_each_time():
    turns: list[str] = []
    shares = [Clockwork(name, turns) for name in "abc"]
    measure.measure(shares, 3, 2, 0, 0)
    assert "".join(turns) == "abcbcacab"
    assert [share.result.planned for share in shares] == [3, 3, 3]


def test_there_are_no_more_rounds_than_asked_for():
    turns: list[str] = []
    measure.measure([Clockwork("a", turns)], 1, 2, 0, 0)
    assert turns == ["a"]


def test_an_interrupted_round_is_dropped_and_the_next_time_made_up_for():
    turns: list[str] = []
    shares = [Clockwork(name, turns, until=5) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        measure.measure(shares, 4, 2, 0, 0)
    assert [share.result.rounds for share in shares] == [1, 1, 1]
    planned = shares[0].result.planned
    assert planned == 4
    turns.clear()
    shares = [Clockwork(name, turns) for name in "abc"]
    measure.measure(shares, 4, 2, have=1, planned=planned)
    assert "".join(turns) == "bcacababc"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    """The record and the page of a tiny case: us, flax, products, one missing and one failing."""
    folder = tmp_path_factory.mktemp("speed")
    readme, runs = folder / "README.md", Runs(folder / "runs.jsonl")
    case = Case("layers", "gru, 16x48x64x64", layer_spec("gru", (3, 5, 4, 6), both_ways=True))
    absent = Contender("PyTorch, packed", "torch", "packed", needs=("no_such_library",))
    failing = Contender("Keras on JAX", "no_such_module")
    with pytest.MonkeyPatch.context() as patch, Workers() as workers:
        two = (OURS, Contender("flax nn.RNN", "flax"))
        products = Contender("the products alone", "products")
        patch.setitem(CONTENDERS, "layers", (*two, products, absent, failing))
        patch.setattr(measure, "ROUND_SECONDS", 0.01)
        of = runs.begin(MANIFEST)
        peers = measure.Peers(workers, 1e-3)

        def show() -> None:
            readme.write_text(tables.render(runs))

        measure.measure_group(runs, of, [case], peers, 2, show)
    return runs.path, readme


def test_a_tiny_case_is_measured_between_ours_and_flax(tiny):
    path, readme = tiny
    _, *lines = map(json.loads, path.read_text().splitlines())
    found = {line["contender"]: line for line in lines}
    for name in ("rnnjax", "flax nn.RNN", "the products alone"):
        seconds = found[name]["seconds"]
        assert {what: len(each) for what, each in seconds.items()} == {
            "forward": 2,
            "forward+backward": 2,
        }
        assert all(0 < each < 10 for own in seconds.values() for each in own)
    assert found["flax nn.RNN"]["facts"]["digest"] == pytest.approx(
        found["rnnjax"]["facts"]["digest"], rel=1e-4
    )
    assert "digest" not in found["the products alone"]["facts"]
    assert "ModuleNotFoundError" in found["Keras on JAX"]["error"]
    assert found["PyTorch, packed"]["missing"] == "no_such_library not installed"
    assert "missing: no_such_library not installed" in readme.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "layers,lessons"], "--only: given 'lessons', expected some of layers"),
        (["--rounds", "0"], "--rounds: given 0, expected 1 or more"),
        (["--data", "nowhere"], "--data: nowhere has no train.csv"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, message, monkeypatch):
    monkeypatch.setattr(measure, "Workers", None)
    with pytest.raises(InputError, match=message):
        measure.main(arguments)


def multiplications(jaxpr) -> int:
    """Returns how many numbers a program multiplies in its matrix products."""
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            (left, _), (out,) = equation.invars, equation.outvars
            count += math.prod(left.aval.shape[axis] for axis in contracted) * out.aval.size
        laps = equation.params.get("length", 1)
        for inner in jaxprs_in_params(equation.params):
            count += laps * multiplications(inner)
    return count


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_the_floor_has_the_products_of_the_layer(cell, both_ways):
    spec = layer_spec(cell, (3, 5, 4, 6), both_ways)
    layer, data = ours.layer_of(spec, engine="fused"), layer_data(spec)
    params = from_torch(layer, data.weights)

    def loss(params, inputs):
        return layer.apply({"params": params}, inputs, data.mask)[1].sum()

    gradient = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, data.inputs)
    floor = jax.make_jaxpr(products.both)(products.arrays(spec))
    assert multiplications(gradient.jaxpr) == multiplications(floor.jaxpr) > 0
