"""A trained run answers text, whatever the text is."""

import json
import shutil
import sys

import numpy as np
import pytest
from command_line import run_command
from reporting.runs import reseal
from training.small_runs import damage_checkpoint, news_config

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.input_files import digest
from rnnjax.reporting import run_files
from rnnjax.training import trained_classifier as trained

pytest_plugins = ["training.small_runs"]

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
    """The folder of a run that reads padding, in batches of whatever lengths."""
    workdir = tmp_path_factory.mktemp("unmasked") / "run"
    config = news_config(news, model__mask=False, data__bucketing=False, epochs=1)
    training.train(config, "small", workdir)
    return workdir


@pytest.mark.parametrize("kind", ["finished", "unmasked"])
def test_a_text_gets_the_same_answer_alone_and_among_others(kind, request):
    run = training.TrainedClassifier.load(request.getfixturevalue(kind))
    together = run.predict(TEXTS)
    alone = np.concatenate([run.predict([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(run.predict(TEXTS[::-1])[::-1], together, rtol=1e-5)


def test_texts_of_unknown_words_alone_differ_only_in_their_lengths(finished):
    run = training.TrainedClassifier.load(finished)
    one, other, longer = run.predict(["xyzzy plugh", "plover quux", "plover quux xyzzy"])
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, longer)


def test_long_texts_are_read_to_their_end_one_at_a_time(finished, monkeypatch):
    run = training.TrainedClassifier.load(finished)
    texts = ["profit " * 40 + end for end in ("profit", "goal goal goal")]
    expected = run.predict(texts)
    sizes = []
    make = trained.make_batches

    def noting(*args, **options):
        sizes.append(options["batch_size"])
        return make(*args, **options)

    monkeypatch.setattr(trained, "make_batches", noting)
    monkeypatch.setattr(trained, "_LONG", 10)
    np.testing.assert_allclose(run.predict([*texts, "goal"])[:2], expected, rtol=1e-4)
    assert sizes == [16, 1]
    assert not np.allclose(*expected)


def test_a_text_beyond_the_memory_is_an_error_of_the_user(finished, monkeypatch):
    def exhausted(*_):
        raise trained.jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.")

    run = training.TrainedClassifier.load(finished)
    monkeypatch.setattr(trained, "answers", exhausted)
    with pytest.raises(InputError, match="texts of up to 2 tokens, 16 at a time; shorten"):
        run.predict(["two words"])


def test_a_text_of_many_words_is_answered(finished):
    (row,) = training.TrainedClassifier.load(finished).predict(["goal the striker " * 20_000])
    assert row.sum() == pytest.approx(1, abs=1e-5)


def test_texts_on_the_command_line_are_answered_in_their_order(finished, tmp_path):
    first = "the goal of the striker \x1b[2J\x9b"
    texts = [first, "", "xyzzy", "--", "goal xyzzy " * 2, "goal " * 50]
    ended = run_command("predict", "--workdir", str(finished), "--", *texts, folder=tmp_path)
    assert ended.status == 0, ended.err
    rows = ended.out.splitlines()
    assert len(rows) == len(texts)
    expected = training.TrainedClassifier.load(finished).predict(texts)
    names = training.TrainedClassifier.load(finished).classes
    for row, text, probabilities in zip(rows, texts, expected, strict=True):
        best = probabilities.argmax()
        assert row.startswith(f"{names[best]} {probabilities[best]:.3f}  (")
        assert ("[no known word" in row) == (text in ("xyzzy", "--"))
        assert ("[an empty text]" in row) == (not text)
        assert ("[50% unknown: do not" in row) == ("goal xyzzy" in text)
    assert r"the goal of the striker \u001b[2J\u009b" in rows[0]
    assert rows[-1].endswith("…")
    assert list(tmp_path.iterdir()) == []


def test_lines_of_standard_input_are_answered_in_json(finished, tmp_path):
    given = '\ufeffgoal striker\r\n\nsé 漢 goal\n\ttab "quoted"\nlast'.encode()
    ended = run_command("predict", f"--workdir={finished}", "--json", folder=tmp_path, stdin=given)
    assert ended.status == 0, ended.err
    rows = [json.loads(line) for line in ended.out.splitlines()]
    texts = ["goal striker", "", "sé 漢 goal", '\ttab "quoted"', "last"]
    assert [row["text"] for row in rows] == texts
    assert [row["unknown_share"] for row in rows] == [0.0, 1.0, pytest.approx(2 / 3), 1.0, 1.0]
    expected = training.TrainedClassifier.load(finished).predict(texts)
    for row, probabilities in zip(rows, expected, strict=True):
        found = row["probabilities"]
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(list(found.values()), probabilities, rtol=1e-5)
        assert row["class"] == max(found, key=lambda name: found[name])
        assert row["probability"] == max(found.values())


def test_no_line_gets_no_answer_and_a_line_that_is_no_text_is_named(finished, tmp_path):
    nothing = run_command("predict", f"--workdir={finished}", folder=tmp_path)
    assert (nothing.status, nothing.out) == (2, "")
    assert nothing.err.startswith("error: no text on standard input")
    broken = run_command(
        "predict", f"--workdir={finished}", folder=tmp_path, stdin=b"goal\ncaf\xe9\n"
    )
    assert broken.status == 2
    assert "error: standard input, line 2: is not UTF-8" in broken.err


def test_a_mistake_on_the_command_line_is_named(finished, tmp_path):
    for arguments, says in (
        (["goal"], "--workdir is missing"),
        (["--workdir=none", "goal"], "none: holds no config.json"),
        ([f"--workdir={finished}", "--jsno", "goal"], "jsno"),
        ([f"--workdir={finished}", "caf\udce9"], "text 1 is not valid Unicode"),
    ):
        ended = run_command("predict", *arguments, folder=tmp_path)
        assert ended.status == 2
        assert ended.err.startswith("error: ")
        assert says in ended.err


def test_a_run_whose_files_are_damaged_is_refused_by_the_file(finished, tmp_path):
    for name, spoil, says in (
        ("tokenizer.json", b"{}", "tokenizer.json is damaged"),
        ("environment.json", b'{"data": ', "environment.json is damaged"),
        ("result.json", b"[]", "result.json is damaged"),
    ):
        copy = shutil.copytree(finished, tmp_path / name)
        (copy / name).write_bytes(spoil)
        with pytest.raises(InputError, match=says):
            training.TrainedClassifier.load(copy)


def test_a_run_answers_from_the_checkpoint_that_is_whole_and_leaves_the_other(
    finished, tmp_path, capsys
):
    copy = shutil.copytree(finished, tmp_path / "copy")
    before, newest = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
    damage_checkpoint(copy / "checkpoints" / str(newest), "flipped")
    assert training.TrainedClassifier.load(copy).step == before
    assert f"step {newest} is damaged" in capsys.readouterr().err
    assert (copy / "checkpoints" / str(newest)).exists()
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        training.TrainedClassifier.load(copy)


def test_a_network_is_asked_on_a_machine_without_the_engine_it_was_trained_by(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "config.json"
    text = path.read_text()
    assert '"engine": "auto"' in text
    path.write_text(text.replace('"engine": "auto"', '"engine": "cudnn"'))
    reseal(folder)
    asked = ["goal striker", "profit"]
    there, here = (
        training.TrainedClassifier.load(each).predict(asked) for each in (finished, folder)
    )
    np.testing.assert_array_equal(there, here)


@pytest.fixture
def stranger(finished, tmp_path, monkeypatch):
    """A folder below that of the process, with a run whose config names a class beside it."""
    workdir = tmp_path / "strangers" / "one"
    shutil.copytree(finished, workdir)
    ran = tmp_path / "ran"
    (workdir / "evil.py").write_text(
        "from rnnjax.cells import LSTMCell\n"
        f"open({str(ran)!r}, 'w').close()\n"
        "class Cell(LSTMCell):\n    pass\n"
    )
    written = json.loads((workdir / "config.json").read_text())
    written["config"]["model"]["cell"] = "strangers.one.evil:Cell"
    (workdir / "config.json").write_text(json.dumps(written))
    manifest = run_files.load_manifest(workdir).values()
    manifest["files"]["config.json"] = digest(workdir / "config.json").hex()
    run_files.write_manifest(workdir, manifest)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield workdir, ran
    for name in ("strangers", "strangers.one", "strangers.one.evil"):
        sys.modules.pop(name, None)


def test_a_run_folder_runs_no_code_unless_it_is_trusted(stranger, finished):
    workdir, ran = stranger
    for kind in (training.TrainedRun, training.TrainedClassifier):
        with pytest.raises(InputError) as caught:
            kind.load(workdir)
        for says in (
            *("class Cell of the module strangers.one.evil", str(workdir / "evil.py")),
            *(f"workdir {workdir}: its config.json", "--trust"),
        ):
            assert says in str(caught.value)
    assert not ran.exists()
    found = training.TrainedClassifier.load(workdir, trust=True).predict(["goal"])
    assert ran.exists()
    np.testing.assert_array_equal(
        found, training.TrainedClassifier.load(finished).predict(["goal"])
    )


def test_the_command_line_trusts_a_run_folder_where_it_is_told_to(stranger, tmp_path):
    workdir, ran = stranger
    assert not ran.exists()
    ended = run_command("predict", f"--workdir={workdir}", "--trust", "goal", folder=tmp_path)
    assert ended.status == 0, ended.err
    assert ran.exists()


def test_a_training_does_not_run_what_another_config_in_its_folder_names(stranger, news):
    workdir, ran = stranger
    with pytest.raises(InputError, match=r"config\.model\.cell: 'LSTMCell', 'strangers\.one"):
        training.train(news_config(news), "small", workdir)
    assert not ran.exists()
