"""Data in memory: pairs, arrays and frames train as files of the same rows; runs are compared."""

import io
import json
import shutil

import numpy as np
import pytest

import rnnjax
from rnnjax.errors import InputError
from rnnjax.training.in_memory import encode_splits

from .small_runs import KEYWORDS, SMALL_CONFIG, train_until_signal

TEXTS = [f"{word} of the" for words in KEYWORDS.values() for word in words.split()] * 2
LABELS = np.repeat(["World", "Sports", "Business", "Tech"], 6).tolist() * 2
SMALL = {**SMALL_CONFIG, "epochs": 1, "log_every": 1}


class Column:
    """A column as pandas has it; `to_list` is all that is read."""

    def __init__(self, values):
        self.values = values

    def to_list(self):
        return self.values


class Frame:
    """A frame as pandas and polars have it, of which neither is installed for the tests."""

    columns = ("body", "section", "day")

    def __getitem__(self, name):
        nan = float("nan")
        values = {"body": TEXTS, "section": LABELS, "day": [nan] * len(TEXTS)}
        return Column(values[name])


@pytest.fixture(scope="module")
def runs():
    """The same rows as a pair and as a frame."""
    columns = {"data.text": "body", "data.label": "section"}
    pair = rnnjax.fit(SMALL, train=(np.array(TEXTS), LABELS))
    return pair, rnnjax.fit(SMALL, columns, train=Frame())


def test_pairs_and_frames_give_the_same_run(runs):
    pair, frame = runs
    assert pair.classes == ("Business", "Sports", "Tech", "World")
    np.testing.assert_array_equal(pair.predict(TEXTS[:2]), frame.predict(TEXTS[:2]))
    (row,) = (line for line in frame.history if line["split"] == "test")
    assert row["loss"] == pair.result["test"]["loss"]


def test_data_of_a_run_are_in_its_folder(tmp_path):
    workdir = tmp_path / "run"
    options = {"train": (TEXTS, LABELS), "test": (TEXTS[:4], LABELS[:4]), "workdir": workdir}
    first = rnnjax.fit(SMALL, **options)
    assert first.result["test"]["rows"] == 4
    names = [path.name.split("-")[0] for path in sorted((workdir / "training_data").iterdir())]
    assert names == ["test", "train"]
    again = rnnjax.fit(SMALL, **options)
    np.testing.assert_array_equal(first.predict(TEXTS[:1]), again.predict(TEXTS[:1]))
    options["train"] = (TEXTS, LABELS[::-1])
    with pytest.raises(InputError, match="data"):
        rnnjax.fit(SMALL, **options)


def test_saved_run_finds_its_data(tmp_path):
    workdir, saved = tmp_path / "run", tmp_path / "saved"
    rnnjax.fit(SMALL, train=(TEXTS, LABELS), workdir=workdir).save(saved)
    shutil.rmtree(workdir)
    run = rnnjax.load(saved)
    assert run.config.data.file.startswith(str(saved / "training_data"))
    assert set(run.examples().inputs) <= set(TEXTS)
    assert run.config.data.test_file == ""


def test_history_is_a_table(runs):
    history = runs[0].history
    steps = history.column("step", split="train")
    assert steps == list(range(1, len(steps) + 1))
    assert len(history.column("loss")) == len(history)
    html = history._repr_html_()
    assert html.count("<tr>") == len(history) + 1
    assert "<th>learning_rate</th>" in html


def test_run_shows_headline_and_curves(runs):
    pair, frame = runs
    text = repr(pair)
    assert text.startswith("<TrainedClassifier of step ")
    assert f"test accuracy {pair.result['test']['accuracy']:.4f}" in text
    html = pair._repr_html_()
    assert "test texts are classified correctly" in html
    assert html.count("<svg role=") == 2
    style = html.partition("</style>")[0]
    assert ".rnnjax-run {\n& {\n  color-scheme" in style  # colours of this piece alone
    assert ":root" not in style
    identifiers = [set(html.split('id="')[1:]) for html in (html, frame._repr_html_())]
    assert not identifiers[0] & identifiers[1]


def test_interruption_returns_the_network_as_it_is(tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"

    def interrupt(config, name, folder, command):
        train_until_signal(config, folder, 2)
        raise rnnjax.training.InterruptedRunError("SIGINT", 2, 3)

    with monkeypatch.context() as patch:
        patch.setattr("rnnjax.training.fitting.train", interrupt)
        run = rnnjax.fit(SMALL, train=(TEXTS, LABELS), workdir=workdir)
    assert (run.step, run.is_finished) == (2, False)
    assert "SIGINT after step 2 of 3: saved, without scores" in capsys.readouterr().err
    assert run.predict(TEXTS[:2]).shape == (2, 4)
    for html in (run.report(), (workdir / "report.html").read_text(), run._repr_html_()):
        assert "last logged step is 2" in html
    assert "not finished" in repr(run)
    finished = rnnjax.fit(SMALL, train=(TEXTS, LABELS), workdir=workdir)
    assert finished.is_finished
    assert "last logged step" not in (workdir / "report.html").read_text()


@pytest.mark.parametrize("hints", [True, False])
def test_hints_can_be_switched_off(hints, capsys):
    rnnjax.fit(SMALL, train=(TEXTS, LABELS), hints=hints)
    assert ("compiling: " in capsys.readouterr().err) == hints


def test_runs_are_compared(runs):
    lstm, _ = runs
    gru = rnnjax.fit(SMALL, {"model.cell": "GRUCell"}, train=(TEXTS, LABELS))
    comparison = rnnjax.compare_runs(lstm, gru, metric="test.loss")
    difference = gru.result["test"]["loss"] - lstm.result["test"]["loss"]
    assert comparison.results[0].comparison.mean == pytest.approx(difference)
    text = str(comparison)
    assert text.startswith("test.loss, lower is better; against 1 LSTMCell\n")
    assert "no verdict: fewer than 5 seeds" in text
    assert "config: model.cell: 'LSTMCell', 'GRUCell'\n" in text
    assert "<th>difference</th>" in comparison._repr_html_()
    with pytest.raises(InputError, match="expected two or more"):
        rnnjax.compare_runs(lstm)
    with pytest.raises(InputError, match="argument 2 is an empty list"):
        rnnjax.compare_runs(lstm, [])


def test_arrays_are_files_of_series():
    series = [np.ones((4, 2)), np.zeros((3, 2))]
    files, keys = encode_splits({"train": (series, [1, 2]), "validation": (series, [1, 2])})
    assert [name.rpartition(".")[2] for name in files] == ["npz", "npz"]
    assert keys["data.validation_file"].startswith("validation-")
    (content, _) = files.values()
    with np.load(io.BytesIO(content)) as arrays:
        assert arrays["values"].shape == (2, 4, 2)
        assert arrays["lengths"].tolist() == [4, 3]
        assert arrays["label"].tolist() == [1, 2]


def test_texts_without_labels_are_lines():
    files, keys = encode_splits({"train": ["one", "two"]})
    assert list(files.values()) == [b"one\ntwo\n"]
    assert keys["data.file"].endswith(".txt")


def test_iterators_lose_no_row():
    lists, _ = encode_splits({"train": ["one", "two"], "test": (["one", "two"], [1, 2])})
    pair = iter(["one", "two"]), iter([1, 2])
    iterators, _ = encode_splits({"train": iter(["one", "two"]), "test": pair})
    assert iterators == lists


def test_values_that_json_lacks():
    class NAType:
        pass

    rows = {"text": ["a"], "label": [np.int64(3)], "tags": [np.array(["x"])], "when": [NAType()]}
    (content,) = encode_splits({"train": {**rows, "missing": [float("nan")]}})[0].values()
    expected = {"text": "a", "label": 3, "tags": ["x"], "when": None, "missing": None}
    assert json.loads(content) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "train: given int; expected a pair"),
        (("abc", "xyz"), "given a pair of which one is a text"),
        ((["a"], "x"), "given a pair of which one is a text"),
        ((["a"], ["x", "y"]), "columns of different lengths"),
        (([[1.0], "b"], [1, 2]), "the inputs are no numbers"),
        (([np.ones((2, 2)), np.ones((2, 3))], [1, 2]), "same number of channels"),
        (([np.ones(2)], [1, 2]), "1 arrays and 2 labels"),
    ],
)
def test_other_data_are_refused(data, message, tmp_path):
    with pytest.raises(InputError, match=message):
        rnnjax.fit(SMALL, train=data, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_test_data_need_training_data():
    with pytest.raises(InputError, match="test: given without train"):
        rnnjax.fit(SMALL, test=(TEXTS, LABELS))
