"""Checkpoints: saved arrays are restored bit for bit, and damage is detected."""

import asyncio
import itertools
import json
import math
import random
import re
import resource
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from rnnjax.errors import InputError
from rnnjax.training.checkpoint import Checkpoints, Owner

from .small_runs import DAMAGES, assert_trees_equal, damage_checkpoint, damage_file

# tensorstore reports the reads of other arrays that are pending when one array is damaged.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def tree(step, size=300):
    noise = np.random.default_rng(step).standard_normal(size).astype(np.float32)
    return {
        "params": {"kernel": jnp.asarray(noise), "bias": jnp.float32(step)},
        "step": jnp.int32(step),
    }


def shapes(tree_of_arrays):
    return jax.eval_shape(lambda: tree_of_arrays)


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (4, 8, 12):
        checkpoints.save(step, tree(step))
    return checkpoints.folder


def test_newest_checkpoint_is_restored_bit_for_bit(folder):
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps == [8, 12]
    step, restored = checkpoints.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12
    assert_trees_equal(restored, tree(12))


def test_part_of_a_checkpoint_is_restored(folder):
    template = {"params": shapes(tree(0))["params"]}
    step, restored = Checkpoints(folder).restore(template) or pytest.fail("nothing was restored")
    assert step == 12
    assert_trees_equal(restored, {"params": tree(12)["params"]})


def test_missing_checkpoint_restores_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(shapes(tree(0))) is None
    assert not (tmp_path / "none").exists()


def test_interrupted_save_is_ignored(folder):
    (folder / "16.orbax-checkpoint-tmp-7").mkdir()
    (folder / "note.txt").write_text("mine")
    step, _ = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (ocp, "CheckpointManager", Checkpoints),
        (ocp.CheckpointManager, "restore", lambda folder: Checkpoints(folder).restore(tree(0))),
        (ocp.CheckpointManager, "restore", lambda folder: Checkpoints(folder).metrics_digests(12)),
        (ocp.PyTreeCheckpointHandler, "metadata", lambda folder: Checkpoints(folder).shapes()),
        (ocp.CheckpointManager, "save", lambda folder: Checkpoints(folder).save(16, tree(16))),
    ],
)
def test_signal_is_delivered_when_orbax_is_done(folder, monkeypatch, number, owner, name, call):
    class SignalError(Exception):
        pass

    def raise_error(*_):
        raise SignalError

    original, events = getattr(owner, name), []

    def send_signal(*args, **kwargs):
        if not events:
            events.append("signal")
            signal.raise_signal(number)
        value = original(*args, **kwargs)
        events.append("done")
        return value

    handler = signal.signal(number, raise_error)
    try:
        monkeypatch.setattr(owner, name, send_signal)
        with pytest.raises(SignalError):
            call(folder)
    finally:
        signal.signal(number, handler)
    assert events[:2] == ["signal", "done"]


@pytest.mark.parametrize("kind", ["cut", "flipped", "missing", "checksum"])
def test_damaged_checkpoint_is_reported_and_the_previous_one_restored(folder, capfd, kind):
    damage_checkpoint(folder / "12", kind)
    checkpoints = Checkpoints(folder)
    step, restored = checkpoints.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 8
    assert_trees_equal(restored, tree(8))
    message = capfd.readouterr().err
    assert f"WARNING: {folder}: the checkpoint of step 12 is damaged" in message
    assert "Traceback" not in message
    assert checkpoints.steps == [8, 12]


def test_damage_to_any_file_restores_no_wrong_arrays(folder, tmp_path, capfd):
    newest, generator, reported = folder / "12", random.Random(0), set()
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    for file, kind in itertools.product(files, DAMAGES):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        damage_file(generator, copy / "12" / file, kind)
        step, restored = Checkpoints(copy).restore(shapes(tree(0))) or pytest.fail("nothing came")
        assert_trees_equal(restored, tree(step))
        message = capfd.readouterr().err
        assert ("step 12 is damaged" in message) == (step == 8), (file, kind)
        assert "Traceback" not in message
        reported.add((file.parts[0], step))
    assert {("arrays", 8), ("checksums", 8)} <= reported


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("arrays", '(Item "arrays" was not found in the checkpoint.'),
        ("checksums", '(Item "checksums" was not found in the checkpoint.'),
        ("checksums/metadata", "(its checksums are not what was saved)"),
    ],
)
def test_missing_parts_are_named(folder, capfd, part, problem):
    path = folder / "12" / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("[]")
    step, _ = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 8
    assert f"the checkpoint of step 12 is damaged {problem}" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["checksums/metadata", "_CHECKPOINT_METADATA"])
def test_device_in_place_of_a_file_is_refused_by_name(folder, name):
    file = folder / "12" / name
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{re.escape(str(file))}: is no regular file"):
        Checkpoints(folder)


def test_damaged_timestamp_is_refused(folder):
    path = folder / "12" / "_CHECKPOINT_METADATA"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "commit_timestamp_nsecs": 10**40}))
    with pytest.raises(InputError, match="a checkpoint is damaged"):
        Checkpoints(folder).restore(shapes(tree(0)))


def test_repair_deletes_unfinished_checkpoints(folder):
    unfinished = folder / "16.orbax-checkpoint-tmp"
    (unfinished / "arrays").mkdir(parents=True)
    note = folder / "17.orbax-checkpoint-tmp"  # no save leaves a file of such a name
    note.write_text("mine")
    Checkpoints(folder).restore(shapes(tree(0)))
    assert unfinished.exists()  # a reader does not know whether it is still being written
    Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    assert not unfinished.exists()
    assert note.read_text() == "mine"


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_partly_deleted_checkpoint_is_deleted(folder, fraction):
    Checkpoints(folder, keep=3).save(16, tree(16))  # for which that of 8 was to go
    files = [path for path in sorted((folder / "8").rglob("*")) if path.is_file()]
    for path in files[: math.ceil(fraction * len(files))]:
        path.unlink()
    checkpoints = Checkpoints(folder)
    step, restored = checkpoints.restore(shapes(tree(0)), repair=True) or pytest.fail(
        "nothing came"
    )
    assert step == 16
    assert_trees_equal(restored, tree(16))
    assert sorted(path.name for path in folder.iterdir()) == ["12", "16"]
    checkpoints.save(20, tree(20))
    assert Checkpoints(folder).steps == [16, 20]


def test_damaged_step_is_saved_again_after_repair(folder):
    damage_checkpoint(folder / "12", "flipped")
    Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps == [8]
    checkpoints.save(12, tree(12))
    step, restored = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 12
    assert_trees_equal(restored, tree(12))


def test_error_names_all_damaged_checkpoints(folder):
    for step in (8, 12):
        damage_checkpoint(folder / str(step), "flipped")
    with pytest.raises(InputError, match=r"every .* is damaged \(steps 8, 12; of the newest: "):
        Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    assert Checkpoints(folder).steps == [8, 12]


def other_type(tree_of_arrays):
    kernel = jax.ShapeDtypeStruct((300,), jnp.bfloat16)
    return {**tree_of_arrays, "params": {**tree_of_arrays["params"], "kernel": kernel}}


@pytest.mark.parametrize(
    ("owner", "change", "message"),
    [
        (Owner("ours", 4), None, "it was saved with the seed 3, and the run has 4"),
        (Owner("theirs", 3), None, "it was saved by another run"),
        (
            Owner("ours", 3),
            other_type,
            r"is float32\[300\], expected bfloat16\[300\]",
        ),
    ],
)
def test_checkpoint_of_another_run_seed_or_dtype_is_refused(tmp_path, owner, change, message):
    Checkpoints(tmp_path, owner=Owner("ours", 3)).save(4, tree(4))
    template = shapes(tree(0))
    assert Checkpoints(tmp_path, owner=Owner("ours", 3)).restore(template)
    with pytest.raises(InputError, match=message):
        Checkpoints(tmp_path, owner=owner).restore(change(template) if change else template)


def test_renamed_checkpoints_are_refused(folder, capfd):
    (folder / "12").rename(folder / "16")
    step, restored = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 8
    assert_trees_equal(restored, tree(8))
    assert "step 16 is damaged (it was saved as that of step 12)" in capfd.readouterr().err
    (folder / "8").rename(folder / "12")
    (folder / "16").rename(folder / "8")
    with pytest.raises(InputError, match=r"steps 8, 12; .* it was saved as that of step 8"):
        Checkpoints(folder).restore(shapes(tree(0)))


def test_state_of_another_step_is_refused(tmp_path):
    Checkpoints(tmp_path).save(4, tree(5))
    with pytest.raises(InputError, match="its state is of step 5"):
        Checkpoints(tmp_path).restore(shapes(tree(0)))


def test_saved_step_replaces_an_earlier_one(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(12, tree(12, size=20))
    _, restored = Checkpoints(folder).restore(shapes(tree(0, size=20))) or pytest.fail(
        "nothing came"
    )
    assert_trees_equal(restored, tree(12, size=20))


def test_arrays_of_other_shapes_are_refused(folder):
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        Checkpoints(folder).restore(shapes(tree(0, size=200)))


def test_failed_save_keeps_the_previous_checkpoint(folder):
    checkpoints = Checkpoints(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            InputError, match=r"step 16 could not be saved .*goes on from the checkpoint before$"
        ):
            checkpoints.save(16, tree(16, size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    reopened = Checkpoints(folder)
    step, restored = reopened.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12
    assert_trees_equal(restored, tree(12))
    reopened.save(16, tree(16))
    assert Checkpoints(folder).steps == [12, 16]


def _finish_array_after_its_event_loop() -> None:
    """Lets a tensorstore future report to an event loop that is closed."""
    promise, array = tensorstore.Promise.new()

    async def begin_to_wait() -> Any:
        return next(iter(array.__await__()))

    loop = asyncio.new_event_loop()
    pending = loop.run_until_complete(begin_to_wait())
    loop.close()
    promise.set_result(1)
    assert not pending.done()


def test_array_that_is_done_long_after_a_failure_prints_no_traceback(folder, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append(report.exc_value))
    damage_checkpoint(folder / "12", "missing")
    step, _ = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 8
    reports.clear()
    _finish_array_after_its_event_loop()
    assert reports == []
    another: Any = SimpleNamespace(exc_value=ValueError("another error"))
    sys.unraisablehook(another)
    assert [str(report) for report in reports] == ["another error"]


def test_folder_that_cannot_be_created_is_an_input_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(InputError, match=r"could not be saved .*: the run begins again$"):
        Checkpoints(tmp_path / "checkpoints").save(4, tree(4))
