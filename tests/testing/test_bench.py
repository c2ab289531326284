"""The benchmark of a cell: rows, refused engines, order of the rounds, command line."""

import json

import flax.linen as nn
import numpy as np
import pytest

from rnnjax.cells import ConvLSTMCell, LSTMCell, MinGRUCell, SimpleCell, Zoneout
from rnnjax.cli.launcher import run_command
from rnnjax.errors import InputError
from rnnjax.testing import bench
from rnnjax.testing.bench import BenchSizes, bench_cell

TINY = BenchSizes(batch=2, time=5, inputs=(3,))


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    monkeypatch.setattr(bench, "MAX_ROUNDS", 3)
    monkeypatch.setattr(bench, "SHORTEST_SAMPLE", 0.0)


def test_table_has_each_engine_and_the_peers():
    messages = []
    report = bench_cell(MinGRUCell(4), TINY, messages.append)
    assert [(row.cell, row.engine) for row in report.rows] == [
        ("MinGRUCell(features=4)", "scan"),
        ("MinGRUCell(features=4)", "fused"),
        ("MinGRUCell(features=4)", "associative"),
        ("SimpleCell(features=4)", "scan"),
        ("SimpleCell(features=4)", "fused"),
        ("GRUCell(features=4)", "scan"),
        ("GRUCell(features=4)", "fused"),
    ]
    assert "compiling MinGRUCell(features=4), engine associative" in messages
    assert "round 3 of at most 3" in messages
    (reference,) = (row for row in report.rows if row.training_ratio == 1)
    assert (reference.cell, reference.engine) == ("GRUCell(features=4)", "scan")
    assert reference.parameters == 3 * 4 * (3 + 4 + 2)
    assert all(row.forward_ms > 0 and row.training_ms > 0 for row in report.rows)
    lines = str(report).splitlines()
    assert lines[0].split()[:3] == ["cell", "engine", "parameters"]
    assert lines[-1].startswith("batch 2, time 5, inputs 3; medians of 3 alternated rounds on")
    assert report.refused == {}


def test_ratios_are_to_the_plain_gru_of_the_package():
    rows = bench_cell(nn.GRUCell(4), TINY).rows
    assert [(row.cell, row.engine) for row in rows if row.training_ratio == 1] == [
        ("GRUCell(features=4)", "scan")
    ]
    assert rows[0].cell == "flax GRUCell(features=4)"


def test_memory_of_a_backward_pass_grows_with_time():
    short, long = (
        bench._compile(SimpleCell(4), "scan", np.ones((2, time, 3), np.float32)).training.memory
        for time in (8, 64)
    )
    assert short
    assert long
    assert long > 4 * short


def test_engines_that_the_machine_lacks_are_refused_in_words():
    report = bench_cell(LSTMCell(4), TINY)
    assert {row.engine for row in report.rows} == {"scan", "fused"}
    assert set(report.refused) == {"pallas", "cudnn"}
    last = str(report).splitlines()[-1]
    assert last == "engine cudnn not run: it needs an NVIDIA GPU, and JAX runs on cpu"


def test_peers_have_the_features_of_the_inner_cell():
    report = bench_cell(Zoneout(LSTMCell(5), 0.1), TINY)
    assert report.rows[-1].cell == "GRUCell(features=5)"
    assert report.rows[0].engine == "scan"


def test_refused_inputs_raise_input_error():
    with pytest.raises(InputError, match="expected 2 axes of an image"):
        bench_cell(ConvLSTMCell(4), TINY)


class Broken(SimpleCell):
    """A cell that raises."""

    def step(self, state, projected):
        raise TypeError("an operand is missing")


def test_exception_of_cell_is_an_input_error():
    with pytest.raises(InputError, match="raised TypeError in the engine scan: an operand is miss"):
        bench_cell(Broken(4), TINY)


def test_order_of_programs_alternates(monkeypatch):
    order = []

    class Recorded(bench._Program):
        def sample(self):
            order.append(self.memory)
            return 1.0

    def program(name):
        return Recorded(lambda: None, (), name)

    contenders = [
        bench._Contender(SimpleCell(4), "scan", 0, program(2 * index), program(2 * index + 1))
        for index in range(2)
    ]
    assert bench._time_rounds(contenders, lambda message: None) == 3
    warm_up = [0, 0, 1, 1, 2, 2, 3, 3]
    assert order == [*warm_up, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3]
    monkeypatch.setattr(bench, "TIMING_SECONDS", 0.0)
    monkeypatch.setattr(bench, "MIN_ROUNDS", 1)
    assert bench._time_rounds(contenders, lambda message: None) == 1


def test_command_prints_table_or_json(capsys):
    sizes = ["--bench", "--batch", "2", "--time", "5", "--features", "4", "--inputs", "3"]
    assert run_command("test-cell", ["SimpleCell", *sizes]) == 0
    streams = capsys.readouterr()
    assert streams.out.startswith("cell ")
    assert streams.out.count("SimpleCell(features=4)") == 2
    assert "compiling GRUCell(features=4)" in streams.err
    assert run_command("test-cell", ["SimpleCell", *sizes, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sizes"] == {"batch": 2, "time": 5, "inputs": [3]}
    assert report["rows"][0]["engine"] == "scan"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch", "4"], "--batch: given without --bench"),
        (["--time", "4"], "--time: given without --bench"),
        (["--bench", "--sizes", "6x7"], "--sizes: given with --bench"),
        (["--bench", "--skip", "vmap=later"], "--skip: given with --bench"),
        (["--bench", "--batch", "0"], "--batch"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message, capsys):
    assert run_command("test-cell", ["LSTMCell", *flags]) == 2
    assert message in capsys.readouterr().err
