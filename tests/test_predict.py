"""Predictions of a trained classifier, in Python and by the command."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest
from reporting.runs import reseal
from training.small_runs import damage_checkpoint, news_config

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.input_files import digest
from rnnjax.reporting import run_files
from rnnjax.tasks.classification import trained_run
from rnnjax.training import load_run

TEXTS = [
    "Goal! The striker scored",
    "",
    "xyzzy plugh",
    "profit " * 30,
    "the minister of the embassy",
    "rocket",
]


@pytest.fixture(scope="module")
def unmasked(news, tmp_path_factory):
    """The folder of a run without a mask, in batches of unsorted lengths."""
    workdir = tmp_path_factory.mktemp("unmasked") / "run"
    config = news_config(news, model__mask=False, data__bucketing=False, epochs=1)
    training.train(config, "small", workdir)
    return workdir


@pytest.mark.parametrize("kind", ["finished", "unmasked"])
def test_predictions_do_not_depend_on_the_batch(kind, request):
    run = load_run(request.getfixturevalue(kind))
    together = run.predict(TEXTS)
    alone = np.concatenate([run.predict([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(run.predict(TEXTS[::-1])[::-1], together, rtol=1e-5)


def test_texts_of_unknown_words_are_equal_at_equal_length(finished):
    run = load_run(finished)
    first, second, longer = run.predict(["xyzzy plugh", "plover quux", "plover quux xyzzy"])
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, longer)


def test_long_texts_have_a_batch_of_their_own(finished, monkeypatch):
    run = load_run(finished)
    texts = ["profit " * 40 + end for end in ("profit", "goal goal goal")]
    expected = run.predict(texts)
    sizes = []
    make_batches = trained_run.make_batches

    def record(*args, **options):
        sizes.append(options["batch_size"])
        return make_batches(*args, **options)

    monkeypatch.setattr(trained_run, "make_batches", record)
    monkeypatch.setattr(trained_run, "_MAX_BATCHED_TOKENS", 10)
    np.testing.assert_allclose(run.predict([*texts, "goal"])[:2], expected, rtol=1e-4)
    assert sizes == [16, 1]
    assert not np.allclose(*expected)


def test_out_of_memory_is_an_input_error(finished, monkeypatch):
    def exhaust(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.")

    run = load_run(finished)
    monkeypatch.setattr("rnnjax.tasks.trained_run.predict_split", exhaust)
    with pytest.raises(InputError, match="texts of up to 2 tokens, 16 at a time; shorten"):
        run.predict(["two words"])


def test_a_very_long_text_is_predicted(finished):
    (row,) = load_run(finished).predict(["goal the striker " * 20_000])
    assert row.sum() == pytest.approx(1, abs=1e-5)


def test_arguments_are_predicted_in_order(finished, run_in_process):
    escapes = "the goal of the striker \x1b[2J\x9b"
    texts = [escapes, "", "xyzzy", "--", "goal xyzzy " * 2, "goal " * 50]
    result = run_in_process("predict", "--workdir", str(finished), "--", *texts)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    run = load_run(finished)
    for line, text, probabilities in zip(lines, texts, run.predict(texts), strict=True):
        predicted = probabilities.argmax()
        assert line.startswith(f"{run.outcomes[predicted]} {probabilities[predicted]:.3f}  (")
        assert ("[no known word" in line) == (text in ("xyzzy", "--"))
        assert ("[an empty text]" in line) == (not text)
        assert ("[50% unknown: do not" in line) == ("goal xyzzy" in text)
    assert r"the goal of the striker \u001b[2J\u009b" in lines[0]
    assert lines[-1].endswith("…")


def test_lines_of_standard_input_are_predicted_as_json(finished, run_in_process):
    stdin = '\ufeffgoal striker\r\n\nsé 漢 goal\n\ttab "quoted"\nlast'.encode()
    result = run_in_process("predict", f"--workdir={finished}", "--json", stdin=stdin)
    assert result.status == 0, result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    texts = ["goal striker", "", "sé 漢 goal", '\ttab "quoted"', "last"]
    assert [row["text"] for row in rows] == texts
    assert [row["unknown_share"] for row in rows] == [0.0, 1.0, pytest.approx(2 / 3), 1.0, 1.0]
    expected = load_run(finished).predict(texts)
    for row, probabilities in zip(rows, expected, strict=True):
        by_class = row["probabilities"]
        assert sum(by_class.values()) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(list(by_class.values()), probabilities, rtol=1e-5)
        assert row["class"] == max(by_class, key=lambda name: by_class[name])
        assert row["probability"] == max(by_class.values())


def test_standard_input_without_text_is_refused(finished, run_in_process):
    empty = run_in_process("predict", f"--workdir={finished}")
    assert (empty.status, empty.out) == (2, "")
    assert empty.err.startswith("error: no text on standard input")
    broken = run_in_process("predict", f"--workdir={finished}", stdin=b"goal\ncaf\xe9\n")
    assert broken.status == 2
    assert len(broken.out.splitlines()) == 1
    assert "error: standard input, line 2: is not UTF-8" in broken.err


def test_mistakes_on_the_command_line(finished, run_in_process):
    for arguments, message in (
        (["goal"], "are required: --workdir"),
        (["--workdir=none", "goal"], "none: holds no config.json"),
        ([f"--workdir={finished}", "--jsno", "goal"], "did you mean --json?"),
        ([f"--workdir={finished}", "caf\udce9"], "text 1 is not valid Unicode"),
    ):
        result = run_in_process("predict", *arguments)
        assert result.status == 2
        assert result.err.startswith("error: ")
        assert message in result.err


def test_damaged_files_are_refused(finished, tmp_path):
    for name, content, message in (
        ("tokenizer.json", b"{}", "tokenizer.json is damaged"),
        ("environment.json", b'{"data": ', "environment.json is damaged"),
        ("result.json", b"[]", "result.json is damaged"),
    ):
        copy = shutil.copytree(finished, tmp_path / name)
        (copy / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_run(copy)


def test_a_damaged_checkpoint_is_replaced_by_the_previous(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    previous, newest = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
    damage_checkpoint(copy / "checkpoints" / str(newest), "flipped")
    assert load_run(copy).step == previous
    assert f"step {newest} is damaged" in capsys.readouterr().err
    assert (copy / "checkpoints" / str(newest)).exists()
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        load_run(copy)


def test_a_run_loads_without_its_engine(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "config.json"
    text = path.read_text()
    assert '"engine": "auto"' in text
    path.write_text(text.replace('"engine": "auto"', '"engine": "cudnn"'))
    reseal(folder)
    texts = ["goal striker", "profit"]
    expected = load_run(finished).predict(texts)
    np.testing.assert_array_equal(load_run(folder).predict(texts), expected)


FOREIGN = {"cell": "Cell", "task": "Mine"}


@pytest.fixture(params=FOREIGN)
def foreign_run(finished, tmp_path, monkeypatch, request):
    """A run whose config names a class in its own folder, and a file that the module writes."""
    workdir = tmp_path / "foreign" / "run"
    shutil.copytree(finished, workdir)
    marker = tmp_path / "marker"
    (workdir / "evil.py").write_text(
        "from rnnjax.cells import LSTMCell\n"
        "from rnnjax.tasks.classification.task import ClassificationTask\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "class Cell(LSTMCell):\n    pass\n"
        "class Mine(ClassificationTask):\n    pass\n"
    )
    recorded = json.loads((workdir / "config.json").read_text())
    section = recorded["config"] if request.param == "task" else recorded["config"]["model"]
    section[request.param] = f"foreign.run.evil:{FOREIGN[request.param]}"
    (workdir / "config.json").write_text(json.dumps(recorded))
    manifest = run_files.load_manifest(workdir).values()
    manifest["files"]["config.json"] = digest(workdir / "config.json").hex()
    run_files.write_manifest(workdir, manifest)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield workdir, marker, request.param
    for name in ("foreign", "foreign.run", "foreign.run.evil"):
        sys.modules.pop(name, None)


def test_a_run_folder_runs_no_code_unless_trusted(foreign_run, finished):
    workdir, marker, kind = foreign_run
    with pytest.raises(InputError) as error:
        load_run(workdir)
    for message in (
        *(f"class {FOREIGN[kind]} of the module foreign.run.evil", str(workdir / "evil.py")),
        *(f"workdir {workdir}: its config.json", "--trust"),
    ):
        assert message in str(error.value)
    assert not marker.exists()
    trusted = load_run(workdir, trust=True)
    assert marker.exists()
    expected = load_run(finished).predict(["goal"])
    np.testing.assert_array_equal(trusted.predict(["goal"]), expected)


def test_the_trust_flag_imports_the_class(foreign_run, run_in_process):
    workdir, marker, _ = foreign_run
    assert run_in_process("predict", f"--workdir={workdir}", "goal").status == 2
    assert not marker.exists()
    result = run_in_process("predict", f"--workdir={workdir}", "--trust", "goal")
    assert result.status == 0, result.err
    assert marker.exists()


def test_training_in_a_foreign_folder_runs_no_code(foreign_run, news):
    workdir, marker, kind = foreign_run
    with pytest.raises(InputError, match=rf"{kind}: '\w+', 'foreign\.run\.evil:{FOREIGN[kind]}'"):
        training.train(news_config(news), "small", workdir)
    assert not marker.exists()
