"""Checkpoints: what was saved comes back, and what was damaged is noticed."""

import itertools
import json
import math
import random
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.training.checkpoint import Checkpoints, Owner

from .small import DAMAGES, assert_same, damage, damage_file

# What tensorstore still has under way when one array cannot be read.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def tree(step, size=300):
    noise = np.random.default_rng(step).standard_normal(size).astype(np.float32)
    return {
        "params": {"kernel": jnp.asarray(noise), "bias": jnp.float32(step)},
        "step": jnp.int32(step),
    }


def shapes(of):
    return jax.eval_shape(lambda: of)


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (4, 8, 12):
        checkpoints.save(step, tree(step))
    return checkpoints.folder


def test_the_newest_of_those_kept_comes_back_bit_for_bit(folder):
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps == [8, 12]
    step, found = checkpoints.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12
    assert_same(found, tree(12))


def test_a_part_can_be_read_alone(folder):
    template = {"params": shapes(tree(0))["params"]}
    step, found = Checkpoints(folder).restore(template) or pytest.fail("nothing was restored")
    assert step == 12
    assert_same(found, {"params": tree(12)["params"]})


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(shapes(tree(0))) is None
    assert not (tmp_path / "none").exists()


def test_what_an_interrupted_save_leaves_is_passed_over(folder):
    (folder / "16.orbax-checkpoint-tmp-7").mkdir()
    (folder / "note.txt").write_text("mine")
    step, _ = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12


@pytest.mark.parametrize("how", ["cut", "flipped", "missing", "checksum"])
def test_a_damaged_one_is_reported_and_the_one_before_it_is_taken(folder, capfd, how):
    damage(folder / "12", how)
    checkpoints = Checkpoints(folder)
    step, found = checkpoints.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 8
    assert_same(found, tree(8))
    said = capfd.readouterr().err
    assert f"WARNING: {folder}: the checkpoint of step 12 is damaged" in said
    assert "Traceback" not in said
    assert checkpoints.steps == [8, 12]


def test_whatever_happens_to_whatever_file_nothing_wrong_is_read(folder, tmp_path, capfd):
    newest, draw, told = folder / "12", random.Random(0), set()
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    for file, how in itertools.product(files, DAMAGES):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        damage_file(draw, copy / "12" / file, how)
        step, found = Checkpoints(copy).restore(shapes(tree(0))) or pytest.fail("nothing came")
        assert_same(found, tree(step))
        said = capfd.readouterr().err
        assert ("step 12 is damaged" in said) == (step == 8), (file, how)
        assert "Traceback" not in said
        told.add((file.parts[0], step))
    assert {("arrays", 8), ("checksums", 8)} <= told


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("arrays", '(Item "arrays" was not found in the checkpoint.'),
        ("checksums", '(Item "checksums" was not found in the checkpoint.'),
        ("checksums/metadata", "(its checksums are not what was saved)"),
    ],
)
def test_what_is_lacking_or_means_nothing_is_told_in_words(folder, capfd, part, said):
    path = folder / "12" / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("[]")
    step, _ = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 8
    assert f"the checkpoint of step 12 is damaged {said}" in capfd.readouterr().err


def test_a_damaged_time_of_a_checkpoint_is_refused_by_its_folder(folder):
    path = folder / "12" / "_CHECKPOINT_METADATA"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "commit_timestamp_nsecs": 10**40}))
    with pytest.raises(InputError, match="a checkpoint is damaged"):
        Checkpoints(folder).restore(shapes(tree(0)))


def test_what_a_killed_process_left_is_cleared_away_by_the_run_alone(folder):
    unfinished = folder / "16.orbax-checkpoint-tmp"
    (unfinished / "arrays").mkdir(parents=True)
    note = folder / "17.orbax-checkpoint-tmp"  # no save leaves a file of such a name
    note.write_text("mine")
    Checkpoints(folder).restore(shapes(tree(0)))
    assert unfinished.exists()  # a reader does not know whether it is still being written
    Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    assert not unfinished.exists()
    assert note.read_text() == "mine"


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_one_that_a_kill_has_left_half_deleted_is_in_nobodys_way(folder, share):
    Checkpoints(folder, keep=3).save(16, tree(16))  # for which that of 8 was to go
    files = [path for path in sorted((folder / "8").rglob("*")) if path.is_file()]
    for path in files[: math.ceil(share * len(files))]:
        path.unlink()
    checkpoints = Checkpoints(folder)
    step, found = checkpoints.restore(shapes(tree(0)), repair=True) or pytest.fail("nothing came")
    assert step == 16
    assert_same(found, tree(16))
    assert sorted(path.name for path in folder.iterdir()) == ["12", "16"]
    checkpoints.save(20, tree(20))
    assert Checkpoints(folder).steps == [16, 20]


def test_a_repaired_folder_takes_the_damaged_step_again(folder):
    damage(folder / "12", "flipped")
    Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps == [8]
    checkpoints.save(12, tree(12))
    step, found = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 12
    assert_same(found, tree(12))


def test_where_all_are_damaged_all_are_named_and_none_is_deleted(folder):
    for step in (8, 12):
        damage(folder / str(step), "flipped")
    with pytest.raises(InputError, match=r"every .* is damaged \(steps 8, 12; of the newest: "):
        Checkpoints(folder).restore(shapes(tree(0)), repair=True)
    assert Checkpoints(folder).steps == [8, 12]


def other_type(of):
    kernel = jax.ShapeDtypeStruct((300,), jnp.bfloat16)
    return {**of, "params": {**of["params"], "kernel": kernel}}


@pytest.mark.parametrize(
    ("owner", "change", "says"),
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
def test_a_checkpoint_of_another_run_seed_or_dtype_is_refused(tmp_path, owner, change, says):
    Checkpoints(tmp_path, owner=Owner("ours", 3)).save(4, tree(4))
    template = shapes(tree(0))
    assert Checkpoints(tmp_path, owner=Owner("ours", 3)).restore(template)
    with pytest.raises(InputError, match=says):
        Checkpoints(tmp_path, owner=owner).restore(change(template) if change else template)


def test_a_renamed_checkpoint_and_swapped_ones_are_refused(folder, capfd):
    (folder / "12").rename(folder / "16")
    step, found = Checkpoints(folder).restore(shapes(tree(0))) or pytest.fail("nothing came")
    assert step == 8
    assert_same(found, tree(8))
    assert "step 16 is damaged (it was saved as that of step 12)" in capfd.readouterr().err
    (folder / "8").rename(folder / "12")
    (folder / "16").rename(folder / "8")
    with pytest.raises(InputError, match=r"steps 8, 12; .* it was saved as that of step 8"):
        Checkpoints(folder).restore(shapes(tree(0)))


def test_a_state_of_another_step_than_it_was_saved_as_is_refused(tmp_path):
    Checkpoints(tmp_path).save(4, tree(5))
    with pytest.raises(InputError, match="its state is of step 5"):
        Checkpoints(tmp_path).restore(shapes(tree(0)))


def test_a_step_is_saved_in_the_place_of_another_of_that_step(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(12, tree(12, size=20))
    _, found = Checkpoints(folder).restore(shapes(tree(0, size=20))) or pytest.fail("nothing came")
    assert_same(found, tree(12, size=20))


def test_arrays_of_other_shapes_are_not_taken_for_those_asked_for(folder):
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        Checkpoints(folder).restore(shapes(tree(0, size=200)))


def test_a_save_that_fails_says_so_and_leaves_the_one_before_whole(folder):
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
    again = Checkpoints(folder)
    step, found = again.restore(shapes(tree(0))) or pytest.fail("nothing was restored")
    assert step == 12
    assert_same(found, tree(12))
    again.save(16, tree(16))
    assert Checkpoints(folder).steps == [12, 16]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(InputError, match=r"could not be saved .*: the run begins again$"):
        Checkpoints(tmp_path / "checkpoints").save(4, tree(4))
