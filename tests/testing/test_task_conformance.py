"""The conformance kit of tasks: correct tasks pass, and every mutant is detected."""

import unittest

import pytest
from training.small_runs import make_config, news_config
from training.test_memory_runs import PARITY_CONFIG

from rnnjax.cli.launcher import run_command
from rnnjax.config import Config, parse
from rnnjax.errors import InputError
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.testing import tasks
from rnnjax.testing.task_invariants import TASK_INVARIANTS
from rnnjax.testing.tasks import TaskError, check_task, task_checks

from .small_tasks import RandomTask, RowTask, StreamTask, TupleTask, UnmaskedTask
from .task_mutants import TASK_MUTANTS

STREAM = {"carry_reset", "carry_read", "pieces"}
ROWS = {"batch_size", "filled_rows_in_metrics"}
TEXT = {"separate_predictions", "accuracy_of_predictions"}


def class_path(task: type) -> str:
    """Returns the name of a task for a config."""
    return f"{task.__module__}:{task.__name__}"


def small_config(task: type) -> Config:
    """Returns a config of a small task."""
    return parse({"task": class_path(task), "batch_size": 4})


def skipped_checks(config: Config) -> set[str]:
    """Returns the names of the checks that do not apply; all others pass."""
    report = check_task(config)
    assert [result.check for result in report.results] == list(TASK_INVARIANTS)
    assert {result.status for result in report.results} == {"passed", "not applicable"}
    return {result.check for result in report.results if result.status == "not applicable"}


def test_task_of_rows_passes():
    assert skipped_checks(small_config(RowTask)) == STREAM | TEXT


def test_task_of_a_stream_passes():
    assert skipped_checks(small_config(StreamTask)) == ROWS | TEXT


def test_classification_passes(news):
    assert skipped_checks(news_config(news)) == STREAM


def test_language_modeling_passes(play):
    data = {"file": str(play), "sequence_length": 12, "vocabulary": {"unit": "character"}}
    model = {"features": 8, "embedding": {"features": 6}}
    values = {"task": "language_modeling", "batch_size": 4, "data": data, "model": model}
    assert skipped_checks(parse(values)) == ROWS | TEXT


def test_memory_passes():
    config = make_config(PARITY_CONFIG, memory__examples=40, memory__test_examples=41)
    assert skipped_checks(config) == STREAM | TEXT


def test_translation_passes():
    pytest.importorskip("sacrebleu", reason="translations are scored by sacrebleu, an extra")
    model = {"cell": "GRUCell", "features": 6, "embedding": {"features": 5}}
    data = {"take": 12, "vocabulary": {"size": 60}}
    values = {"task": "translation", "batch_size": 5, "data": data, "model": model}
    config = parse({**values, "translation": {"beam_size": 1}})
    assert skipped_checks(config) == STREAM | {"accuracy_of_predictions"}


def test_random_loss_is_not_compared_between_shapes():
    checks = {check.name: check for check in task_checks(small_config(RandomTask))}
    assert checks["filled_rows"].result().status == "not applicable"
    assert "draws random numbers" in checks["filled_rows"].result().message
    statuses = {name: checks[name].result().status for name in ("padding", "row_order")}
    assert statuses == {"padding": "passed", "row_order": "passed"}


def test_task_without_masks_is_not_checked_for_them():
    checks = {check.name: check for check in task_checks(small_config(UnmaskedTask))}
    for name in ("padding", "masked_values"):
        result = checks[name].result()
        assert result.status == "not applicable"
        assert result.message == "no field of a batch has a mask"


@pytest.mark.parametrize("name", TASK_MUTANTS)
def test_check_detects_mutant(name, news):
    task, detecting_check, message = TASK_MUTANTS[name]
    if issubclass(task, ClassificationTask):
        config = news_config(news, task=class_path(task))
    else:
        config = small_config(task)
    (check,) = (check for check in task_checks(config) if check.name == detecting_check)
    with pytest.raises(TaskError) as error:
        check()
    assert error.value.check == detecting_check
    assert message in str(error.value), str(error.value)
    assert TASK_INVARIANTS[detecting_check].cause in str(error.value)


def test_every_check_has_a_mutant():
    assert set(TASK_INVARIANTS) == {mutant.check for mutant in TASK_MUTANTS.values()}


CHECKS = task_checks(small_config(RowTask), skip=dict.fromkeys(ROWS, "not of interest"))


@pytest.mark.parametrize("check", CHECKS[:1], ids=str)
def test_check_runs_as_pytest_case(check, request):
    assert f"[{check.name}]" in request.node.name
    check()


def test_skipped_check_raises_skip_test_with_reason():
    (check,) = (check for check in CHECKS if check.name == "batch_size")
    with pytest.raises(unittest.SkipTest, match="not of interest"):
        check()


def test_unknown_check_is_refused():
    with pytest.raises(InputError, match=r"skip: given 'sums', expected some of pure_batches, "):
        task_checks(small_config(RowTask), skip={"sums": ""})


def test_batches_without_weights_are_refused():
    with pytest.raises(InputError, match=r"given batches with the type tuple, expected a Named"):
        check_task(small_config(TupleTask))


def test_large_split_is_refused():
    config = make_config(PARITY_CONFIG, memory__examples=16 * 201)
    with pytest.raises(InputError, match="given 3216 examples of the train split, 201 batches"):
        check_task(config)


def test_exception_of_a_task_is_a_violation():
    class Raising(RowTask):
        @staticmethod
        def load_corpus(config):
            raise ZeroDivisionError("no corpus")

    check = task_checks(small_config(RowTask))[0]
    check.harness.task_class = Raising
    with pytest.raises(TaskError, match="ZeroDivisionError was raised: no corpus") as error:
        check()
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.fixture
def few_checks(monkeypatch):
    few = {name: TASK_INVARIANTS[name] for name in ("pure_batches", "few_shapes", "batch_size")}
    monkeypatch.setattr(tasks, "TASK_INVARIANTS", few)


@pytest.mark.usefixtures("few_checks")
def test_command_prints_results(capsys):
    values = (
        "memory.examples=20",
        "memory.test_examples=5",
        "memory.length=4",
        "data.validation=0.1",
    )
    flags = [f"--config.{value}" for value in values]
    assert run_command("test-task", ["--config", "adding", *flags]) == 0
    results = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert results == [[name, "passed"] for name in ("pure_batches", "few_shapes", "batch_size")]


@pytest.mark.usefixtures("few_checks")
def test_command_ends_with_one_at_a_violation(tmp_path, capsys):
    task = class_path(TASK_MUTANTS["UnboundedShapes"].task)
    path = tmp_path / "shapes.py"
    path.write_text(
        "import ml_collections\n\ndef get_config():\n"
        f"    return ml_collections.ConfigDict({{'task': {task!r}, 'batch_size': 4}})\n"
    )
    assert run_command("test-task", ["--config", str(path)]) == 1
    streams = capsys.readouterr()
    assert streams.out.startswith("pure_batches")
    assert f"{task} violates few_shapes" in streams.err
    assert "usually:   Batches are as long as their longest sequence" in streams.err


def test_command_needs_a_config(capsys):
    assert run_command("test-task", []) == 2
    assert "--config is missing" in capsys.readouterr().err
