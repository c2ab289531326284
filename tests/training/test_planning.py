"""The plan of a run against the run: shapes, compilations, padding, memory, exchange, advice."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import plan as command
from rnnjax.training import memory_advice, planning
from rnnjax.training.launch import build_steps
from rnnjax.training.memory_advice import fit_memory
from rnnjax.training.planning import load_unstarted, make_plan
from rnnjax.training.program_costs import count_flops, tree_bytes

from .small_runs import free_compilation, news_config, read_json


@pytest.fixture(scope="module", autouse=True)
def short_timings():
    """Several padded lengths, and timings of one step."""
    with free_compilation(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_ROUND_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def unstarted(news):
    """A run with an average and a validation split that is not started."""
    overrides = {"data__validation": 0.1, "averaging__decay": 0.9, "evaluate_every": 5}
    return load_unstarted(news_config(news, checkpoint__every=4, **overrides))


@pytest.fixture(scope="module")
def plan(unstarted):
    return make_plan(unstarted, memory_limit=2**40)


def test_plan_agrees_with_a_finished_run(news, finished):
    plan, result = (
        make_plan(load_unstarted(news_config(news)), 1),
        read_json(finished / "result.json"),
    )
    assert plan.parameters == result["parameters"]
    assert plan.compilations == result["compilations"]
    assert [list(shape.lengths) for shape in plan.shapes] == [[n] for n in result["buckets"]]
    assert plan.epochs * plan.steps_per_epoch == result["steps"]
    # It needs more memory than one byte, and is not timed.
    assert plan.time is None
    assert {shape.step_seconds for shape in plan.shapes} == {None}


def test_validations_and_checkpoints_are_those_of_the_loop(unstarted, plan):
    config, total = unstarted.config, plan.epochs * plan.steps_per_epoch
    due = [step for step in range(1, total + 1) if step % 5 == 0 or step == total]
    assert plan.validations == len(due)
    saved = [s for s in range(1, total + 1) if s % config.checkpoint.every == 0 or s == total]
    assert plan.checkpoints == len(saved)


def test_padding_is_that_of_all_batches_of_an_epoch(unstarted, plan):
    split, seed = unstarted.replicates[0].dataset.train, unstarted.config.seed
    masks = [split.batch_at(seed, step).mask for step in range(split.steps_per_epoch)]
    expected = 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)
    assert plan.padding == pytest.approx(expected)


def test_state_memory_is_that_of_its_arrays(unstarted, plan):
    state = build_steps(unstarted.config, None, unstarted.replicates, unstarted.task)
    leaves = jax.tree.leaves(state.initial.create())
    assert plan.memory.checkpoint == sum(leaf.nbytes for leaf in leaves)
    assert sum(plan.memory.state.values()) == pytest.approx(plan.memory.checkpoint, abs=64)
    assert set(plan.memory.state) == {"parameters", "optimizer", "average"}
    assert plan.memory.step.arguments > plan.memory.checkpoint
    assert plan.memory.step.outputs < plan.memory.checkpoint / 20  # the state is donated
    assert plan.memory.peak >= plan.memory.process + plan.memory.step.peak


def test_time_is_the_sum_of_its_parts(plan):
    assert all(shape.step_seconds > 0 for shape in plan.shapes)
    steps = plan.epochs * sum(shape.steps * shape.step_seconds for shape in plan.shapes)
    assert plan.time.steps == pytest.approx(steps)
    assert plan.time.total > steps + plan.time.validations > steps


@pytest.mark.parametrize("length", [3, 7])
def test_operations_of_a_loop_count_for_every_step(length):
    weights, rows = jnp.ones((4, 4)), jnp.ones((2, 4))

    def loss(weights):
        step = lambda hidden, _: (jnp.tanh(hidden @ weights), None)  # noqa: E731
        return jax.lax.scan(step, rows, None, length=length)[0].sum()

    # Forward, and backward for the weights and for the states.
    expected = 3 * length * 2 * 2 * 4 * 4
    assert count_flops(jax.make_jaxpr(jax.grad(loss))(weights)) == expected


def test_exchange_is_that_of_the_gradients(plan, unstarted):
    two, four, *_ = plan.exchanges
    params = jax.eval_shape(unstarted.task.init, jax.random.key(0))
    assert 0 < two.reduced_bytes <= tree_bytes(params)
    assert (two.devices, two.sent_bytes) == (2, two.reduced_bytes)
    assert four.sent_bytes == 1.5 * two.reduced_bytes
    assert four.flops == two.flops / 2
    assert four.step_seconds == pytest.approx(two.step_seconds / 2)


def test_the_largest_batch_that_fits_is_found(unstarted, plan):
    limit = int(1.5 * plan.memory.step.peak)
    fit = fit_memory(unstarted, plan, limit, overhead=0)
    (remedy,) = fit.remedies
    assert remedy.fits
    assert remedy.changes["batch_size"] > unstarted.config.batch_size
    assert 0.7 * limit < remedy.peak <= limit


def test_remedies_of_a_run_that_does_not_fit(unstarted, plan):
    state = plan.memory.checkpoint
    fit = fit_memory(unstarted, plan, state + (plan.memory.step.peak - state) // 2, overhead=0)
    assert not fit.fits
    assert [set(remedy.changes) for remedy in fit.remedies[:2]] == [{"model.remat"}, {"batch_size"}]
    assert fit.remedies[1].changes["batch_size"] < unstarted.config.batch_size


def test_text_and_json(unstarted, plan):
    fit = memory_advice.MemoryFit(2**30, 2**31, [memory_advice.Remedy({"batch_size": 8}, 9, True)])
    text = command.format_plan(unstarted.config, plan, fit)
    assert "2.0 GiB of 1.0 GiB: does NOT fit\n  --config.batch_size=8: 9 B, fits" in text
    assert f"{plan.parameters:,}" in text
    hopeless = memory_advice.MemoryFit(1, 2, [])
    assert "no batch size fits" in command.format_plan(unstarted.config, plan, hopeless)
    values = json.loads(json.dumps(plan.values()))
    assert (values["peak_bytes"], values["seconds"]) == (plan.memory.peak, plan.time.total)
    assert np.sum([shape["steps"] for shape in values["shapes"]]) == values["steps_per_epoch"]


def test_memory_is_a_positive_number(run_in_process):
    result = run_in_process("plan", "--config=bilstm", "--memory=-1")
    assert (result.status, "expected a number of GiB above 0" in result.err) == (2, True)
    result = run_in_process("plan")
    assert (result.status, "--config is missing" in result.err) == (2, True)
