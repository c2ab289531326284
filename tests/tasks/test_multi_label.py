"""Texts with any number of labels, and weights of classes: training, scores, predictions."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.small_runs import SMALL_CONFIG, make_config, read_json, train, train_until_killed

import rnnjax
from rnnjax.cells import GRUCell
from rnnjax.cli.launcher import run_command
from rnnjax.data.batches import Batch, Batches
from rnnjax.data.sequences import Sequences
from rnnjax.errors import InputError
from rnnjax.tasks.classification import multi_label
from rnnjax.tasks.classification.data import load_corpus, make_dataset, weigh_classes
from rnnjax.tasks.classification.model import Classifier
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.testing.tasks import check_task

TARGETS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]], bool)
PROBABILITIES = np.array([[0.9, 0.2, 0.8], [0.4, 0.1, 0.6], [0.3, 0.5, 0.1], [0.7, 0.9, 0.3]])
LOG_PROBABILITIES = np.log(PROBABILITIES).astype(np.float32)


def test_scores_by_hand():
    losses = -np.log(np.where(TARGETS, PROBABILITIES, 1 - PROBABILITIES))
    assert multi_label.compute_metrics(TARGETS, LOG_PROBABILITIES) == {
        "loss": pytest.approx(losses.mean(), rel=1e-6),
        "accuracy": 2 / 4,  # the second row has a label too many, and .5 is not above .5
        "macro_f1": pytest.approx((1 + 2 / 3 + 2 / 3) / 3),
        "micro_f1": pytest.approx(2 * 4 / (5 + 5)),
        "rows": 4,
    }
    nothing = multi_label.compute_metrics(np.zeros((2, 3), bool), LOG_PROBABILITIES[1:3] - 1)
    assert (nothing["accuracy"], nothing["macro_f1"], nothing["micro_f1"]) == (1.0, 0.0, 0.0)


def test_loss_is_that_of_the_logits_where_they_are_large():
    logits = np.array([[40.0, -40.0], [200.0, 15.0]], np.float32)
    targets = np.array([[False, True], [True, False]])
    expected = np.asarray(multi_label.binary_cross_entropy(jnp.asarray(logits), targets))
    log_probabilities = np.asarray(jax.nn.log_sigmoid(logits))
    loss = multi_label.compute_metrics(targets, log_probabilities)["loss"]
    assert loss == pytest.approx(expected.mean(), rel=1e-6)
    assert expected.mean() == pytest.approx((40 + 7.5) / 2, rel=1e-6)


def test_analysis_names_labels():
    rows = multi_label.worst_mistakes(TARGETS, LOG_PROBABILITIES)
    analysis = multi_label.analyze(
        TARGETS, LOG_PROBABILITIES, np.array([3, 1, 2, 4]), "abc", rows, ["second", "third"]
    )
    assert analysis["worst_mistakes"] == [
        {"text": "second", "label": "(no label)", "predicted": "c"},
        {"text": "third", "label": "b", "predicted": "(no label)"},
    ]
    assert [row["rows"] for row in analysis["per_class"]] == [2, 2, 1]
    assert sum(row["rows"] for row in analysis["accuracy_by_length"]) == 4


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 2, 2, 0], np.int32)
    np.testing.assert_allclose(weigh_classes("balanced", labels, "abc"), [6 / 8, 3.0, 6 / 4])
    np.testing.assert_allclose(weigh_classes("{'b': 0.5}", labels, "abc"), [1, 0.5, 1])
    with pytest.raises(InputError, match="given a weight of 'd', expected classes of the data"):
        weigh_classes("{'d': 0.5}", labels, "abc")


def test_weights_of_examples_are_those_of_the_batch():
    sequences = Sequences.from_lists([[1, 2], [3], [4]])
    weights = np.array([0.5, 2, 3], np.float32)
    targets = np.array([0, 1, 1], np.int32)
    batches = Batches(sequences, targets, 2, bucketing=False, shuffle=False)
    weighted = Batches(
        sequences, targets, 2, bucketing=False, shuffle=False, example_weights=weights
    )
    assert [weighted.batch_at(0, step).weights.tolist() for step in (0, 1)] == [[0.5, 2], [3, 0]]
    assert batches.batch_at(0, 1).weights.tolist() == [1, 0]
    stepwise = Batches(
        sequences, sequences, 2, bucketing=False, shuffle=False, example_weights=weights
    )
    assert stepwise.batch_at(0, 0).weights.tolist() == [[0.5, 0.5], [2, 0]]


def write_rows(path, count=60):
    """Writes texts whose words are their labels, and filling ones."""
    generator = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            labels = [name for name in ("red", "green", "blue") if generator.random() < 0.5]
            words = generator.permutation([*labels, "a", "the"]).tolist()
            file.write(json.dumps({"text": " ".join(words), "label": labels}) + "\n")
    return str(path)


def config_of(tmp_path, **keys):
    data = {"data__file": write_rows(tmp_path / "rows.jsonl"), "data__text": "text"}
    return make_config(SMALL_CONFIG, **data, data__multi_label=True, **keys)


def test_labels_are_learnt_and_all_of_them_predicted(tmp_path, capsys):
    path, workdir = write_rows(tmp_path / "rows.jsonl", 200), tmp_path / "run"
    flags = [f"--config.data.file={path}", "--config.data.text=text", "--config.epochs=40"]
    flags += ["--config.data.multi_label=True", "--config.learning_rate=0.03"]
    flags += ["--config.data.vocabulary.text=", "--config.data.vocabulary.size=20"]
    flags += ["--config.acknowledged.test_leak=few words"]
    assert not run_command("train", ["--config=gru", f"--workdir={workdir}", *flags])
    run = rnnjax.load(workdir)
    test = run.result["test"]
    assert test["micro_f1"] > 0.9
    assert test["accuracy"] > 0.8
    capsys.readouterr()
    assert not run_command("predict", [f"--workdir={workdir}", "blue the red", "a the"])
    both, none = capsys.readouterr().out.splitlines()
    assert re.match(r"(red|blue) [.\d]+, (red|blue) [.\d]+  \(green [.\d]+\)  blue the red", both)
    assert none.startswith("(no label)  (")
    (prediction,) = run.predictions(["green"])
    assert prediction.values["labels"] == ["green"]
    scores = run.evaluate(path)
    assert scores["rows"] == 200
    assert scores["micro_f1"] > 0.9
    assert "have exactly the right labels; micro F1 is" in run.report()


def test_replicates_resume_and_compare(tmp_path, run_in_process):
    options = {"epochs": 2, "data__buckets": 1, "checkpoint__every": 3, "log_every": 2, "seed": 0}
    single = [
        train(config_of(tmp_path, **{**options, "seed": seed}), tmp_path / f"gru-{seed}")
        for seed in (0, 1)
    ]
    train(config_of(tmp_path, replicates=2, **options), tmp_path / "both")
    for seed, expected in enumerate(single):
        result = read_json(tmp_path / "both" / f"seed-{seed}" / "result.json")
        assert result["test"] == pytest.approx(expected["test"], rel=1e-4)
        assert result["test"]["micro_f1"] > 0
    train_until_killed(config_of(tmp_path, **options), tmp_path / "resumed", 4)
    resumed = train(config_of(tmp_path, **options), tmp_path / "resumed")
    assert resumed["test"] == single[0]["test"]
    compared = run_in_process("compare", str(tmp_path / "gru-0"), str(tmp_path / "both" / "seed-1"))
    assert compared.status == 0, compared.err
    assert "accuracy" in compared.out


def test_task_of_several_labels_conforms(tmp_path):
    report = check_task(config_of(tmp_path))
    assert {result.status for result in report.results} <= {"passed", "not applicable"}


def test_weighted_loss_is_the_weighted_mean(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "x,a\n" * 30 + "y,b\n" * 10, encoding="utf-8")
    keys = {"data__file": str(path), "data__text": "text", "data__validation": 0.2}
    config = make_config(SMALL_CONFIG, **keys, data__class_weights="balanced")
    dataset = make_dataset(config, load_corpus(config.data))
    assert dataset.validation is not None
    # 27 and 9 rows of the training part, of which a fifth of each class is for validation.
    assert np.bincount(dataset.train.targets).tolist() == [22, 7]
    assert np.bincount(dataset.validation.targets).tolist() == [5, 2]
    expected = np.where(dataset.train.targets == 0, 36 / 54, 36 / 18)
    assert dataset.train.example_weights is not None
    np.testing.assert_allclose(dataset.train.example_weights, expected, rtol=1e-6)
    assert dataset.validation.example_weights is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"multi_label": True}, r"data\.multi_label is True and data\.file is ''"),
        ({"class_weights": "a=-1"}, "given -1 for 'a', expected a number above 0"),
        ({"class_weights": "nonsense"}, "given 'nonsense', expected a dict"),
        ({"class_weights": "a='x'"}, "given 'x' for 'a', expected a number above 0"),
        (
            {"file": "x.csv", "multi_label": True, "class_weights": "balanced"},
            r"data\.class_weights is 'balanced' and data\.multi_label is True",
        ),
    ],
)
def test_invalid_options_are_refused(values, message):
    keys = {f"data__{key}": value for key, value in values.items()}
    with pytest.raises(InputError, match=message):
        make_config(SMALL_CONFIG, **keys)


def test_weights_are_text_or_a_dict():
    assert make_config(SMALL_CONFIG, data__class_weights="a=2").data.class_weights == "{'a': 2}"
    weights = {"Sci/Tech": 0.5}
    config = make_config(SMALL_CONFIG, data__class_weights=weights)
    assert config.data.class_weights == "{'Sci/Tech': 0.5}"


def test_logged_sums_are_those_of_the_scores():
    model = Classifier(vocabulary=9, classes=3, cell=GRUCell(4), embedding=3)
    task = ClassificationTask(model, is_multi_label=True)
    tokens = np.arange(12, dtype=np.int32).reshape(4, 3) % 9
    batch = Batch(tokens, tokens >= 0, TARGETS, np.array([1, 1, 1, 0], np.float32))
    params = task.init(jax.random.key(0))
    params["score"]["bias"] = jnp.array([0.5, -2.0, 3.0])
    _, (sums, _) = task.loss(params, batch, None, jax.random.key(1))
    outputs, _ = task.evaluate_batch(params, batch, None)
    scores = multi_label.compute_metrics(TARGETS[:3], np.asarray(outputs)[:3])
    assert scores["accuracy"] == pytest.approx(1 / 3)
    for name in ("loss", "accuracy"):
        assert float(sums[name]) / 3 == pytest.approx(scores[name], rel=1e-5)
