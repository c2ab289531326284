"""Non-finite numbers: never saved or evaluated, and traced to their source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import training
from rnnjax.cells import SimpleCell
from rnnjax.errors import InputError
from rnnjax.training import finite
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.run_folder import RunFolder

from .small_runs import initial_state, news_config, restore_state

MODULE = __name__


class NormCell(SimpleCell):
    """Divides by a norm that has no derivative at zero, which is what padding makes of it."""

    def project(self, inputs):
        """Returns the projection, scaled to a norm of 1."""
        projected = super().project(inputs)
        norm = jnp.linalg.norm(projected, axis=-1, keepdims=True)
        return projected / jnp.maximum(norm, 1e-6)


class LogCell(SimpleCell):
    """Takes the logarithm of a sum that is negative for some tokens."""

    def project(self, inputs):
        """Returns the projection, not a number for some inputs."""
        total = inputs.sum(axis=-1, keepdims=True)
        return super().project(inputs) + jnp.where(total < -0.12, jnp.log(total), 0.0)


class RootCell(SimpleCell):
    """Takes a root of zero at every step."""

    def project(self, inputs):
        """Returns the projection, without a derivative."""
        projected = super().project(inputs)
        return projected + jnp.sqrt(0.0 * projected)


def run(config, workdir):
    return training.train(config, "small", workdir, "python -m rnnjax.main")


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("every", [0, 1])
def test_diverging_step_is_an_error_and_saves_nothing(news, tmp_path, every):
    config = news_config(news, data__take=16, epochs=1, learning_rate=1e39, checkpoint__every=every)
    with pytest.raises(InputError, match=r"not finite after step 1: the training has diverged"):
        run(config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps == []
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "report.html").exists()


def test_non_finite_test_scores_leave_no_result(news, tmp_path):
    config = news_config(news, data__take=16, epochs=1, learning_rate=3e38)
    for _ in range(2):
        with pytest.raises(InputError, match=r"test part: the scores are not finite \(loss nan\)"):
            run(config, tmp_path)
        assert not (tmp_path / "result.json").exists()
    network = training.load_run(tmp_path)
    with pytest.raises(InputError, match="text 1: the answer is not a number"):
        network.predict(["goal"])


def test_every_array_of_a_state_is_checked(news):
    changes = {"data__validation": 0.2, "early_stopping__patience": 2, "averaging__decay": 0.9}
    state = initial_state(news_config(news, **changes))
    finite.check_state(state)
    leaves, structure = jax.tree.flatten(state)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    for index, path in enumerate(paths):
        if leaves[index].dtype != jnp.float32 or path == ".best.loss":
            continue
        damaged = [*leaves]
        damaged[index] = leaves[index].at[(0,) * leaves[index].ndim].set(jnp.nan)
        with pytest.raises(finite.NonFiniteError):
            finite.check_state(jax.tree.unflatten(structure, damaged))


def test_non_finite_scores_end_a_run(news, tmp_path, monkeypatch):
    def compute_metrics(self, split, outputs):
        return {"loss": float("nan"), "accuracy": 0.25, "rows": 16}

    monkeypatch.setattr(
        "rnnjax.tasks.classification.task.ClassificationTask.compute_metrics", compute_metrics
    )
    config = news_config(news, data__take=16, epochs=1)
    with pytest.raises(InputError, match=r"test part: the scores are not finite \(loss nan\)"):
        run(config, tmp_path)
    assert not (tmp_path / "result.json").exists()
    config = news_config(news, data__take=32, epochs=1, data__validation=0.5)
    with pytest.raises(InputError, match="the validation loss is nan at step 1"):
        run(config, tmp_path / "validated")


def test_non_finite_parameters_are_not_loaded(news, tmp_path):
    config = news_config(news, data__take=16, epochs=1)
    run(config, tmp_path)
    state = restore_state(config, tmp_path)
    params = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
    state = state.replace(params=params, step=state.step + 1)
    RunFolder(tmp_path).open_checkpoints().save(2, state)
    with pytest.raises(InputError, match="the parameters are not finite"):
        training.load_run(tmp_path)


def test_diverged_parameters_suggest_a_lower_learning_rate(news, tmp_path):
    config = news_config(news, data__take=48, epochs=1, learning_rate=3e38, checkpoint__every=1)
    with pytest.raises(InputError, match="at the parameters of step 1 already") as caught:
        run(config, tmp_path)
    assert "no learning rate helps" not in str(caught.value)
    assert "Lower config.learning_rate" in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "part", "cause"),
    [
        (
            "NormCell",
            "the outputs are finite, and the gradients of recurrent/layers_0/cell/input/bias",
            r"Padding brings it: row \d+ alone is finite when it is cut to its \d+ real",
        ),
        (
            "LogCell",
            "the first output that is not finite is that of recurrent/layers_0",
            r"The data brings it, not the padding: \d+ of 16 rows are not finite by themselves",
        ),
        (
            "RootCell",
            "gradients of recurrent/layers_0/cell/input",
            "The network brings it, on every row",
        ),
    ],
)
def test_error_names_the_source_in_the_network(news, tmp_path, cell, part, cause):
    config = news_config(news, data__take=48, epochs=1, model__cell=f"{MODULE}:{cell}")
    with pytest.raises(InputError, match=cause) as caught:
        run(config, tmp_path)
    message = str(caught.value)
    assert "at the first parameters already, on the batch of step 1" in message
    assert part in message
    assert "no learning rate helps" in message
    assert "Lower config.learning_rate" not in message
