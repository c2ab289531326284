"""Tagging: training on small files, predictions, scores, report and the conformance kit."""

import json
import random
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.small_runs import make_config, read_json, train

from rnnjax.data.batches import Batch
from rnnjax.errors import InputError
from rnnjax.tasks.tagging import crf
from rnnjax.tasks.tagging.data import Encoder, fit_vocabulary
from rnnjax.tasks.tagging.task import TaggingTask
from rnnjax.testing.tasks import check_task
from rnnjax.training import load_run

NAMES = {"PER": ["Ada Lovelace", "Alan Turing", "Grace"], "LOC": ["Paris", "New York"]}
FILLERS = ["visited", "saw", "left", "the", "old", "new", "in", "near"]
SMALL = {
    "task": "tagging",
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 0.02,
    "data": {"buckets": 2, "vocabulary": {"size": 60}},
    "model": {"cell": "GRUCell", "features": 10, "embedding": {"features": 8}},
}


def write_columns(path: Path, texts: int, seed: int) -> None:
    """Writes texts of words and names with their labels."""
    generator = random.Random(seed)
    lines = []
    for _ in range(texts):
        for _ in range(generator.randint(1, 5)):
            if generator.random() < 0.4:
                kind = generator.choice(list(NAMES))
                words = generator.choice(NAMES[kind]).split()
                lines += [f"{word} {'I' if n else 'B'}-{kind}" for n, word in enumerate(words)]
            else:
                lines.append(f"{generator.choice(FILLERS)} O")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conll")
    write_columns(folder / "train.txt", 80, 0)
    write_columns(folder / "test.txt", 21, 1)
    return {"data__file": str(folder / "train.txt"), "data__test_file": str(folder / "test.txt")}


@pytest.mark.parametrize(
    "options",
    [
        {"model__bidirectional": True},
        {"tagging__output": "crf", "tagging__character_features": 4},
    ],
)
def test_names_are_learned(files, tmp_path, options):
    config = make_config(SMALL, **files, **options)
    scores = train(config, tmp_path / "run")["test"]
    assert scores["span_f1"] > 0.9
    run = load_run(tmp_path / "run")
    assert run.evaluate(files["data__test_file"]) == pytest.approx(scores)
    (answer,) = run.predict(["Ada Lovelace saw Paris"])
    assert answer["labels"] == ["B-PER", "I-PER", "O", "B-LOC"]
    assert answer["tokens"] == ["Ada", "Lovelace", "saw", "Paris"]
    lines = run.predict(Path(files["data__test_file"]))
    assert len(lines) == scores["rows"] == 21
    report = run.report()
    assert "is the F1 of spans in 21 test texts" in report
    assert report.count('<pre class="sample"') == 20


def test_validation_file_is_the_validation_split(files, tmp_path):
    config = make_config(SMALL, **files, epochs=1, data__validation_file=files["data__test_file"])
    result = train(config, tmp_path / "run")
    assert result["data"]["rows"] == {"train": 80, "validation": 21, "test": 21}
    assert result["validation"]["span_f1"] == result["test"]["span_f1"]


def test_characters_are_labelled(tmp_path, run_in_process, monkeypatch):
    monkeypatch.setattr("rnnjax.tasks.tagging.python_sources._FILES_PER_LIBRARY", 2)
    config = make_config(SMALL, epochs=1, data__take=40)
    train(config, tmp_path / "run")
    result = run_in_process("predict", f"--workdir={tmp_path / 'run'}", "x = 1", "--json")
    answer = json.loads(result.out)
    assert answer["tokens"] == list("x = 1")
    assert len(answer["labels"]) == 5
    assert "macro_f1" in read_json(tmp_path / "run" / "result.json")["test"]
    inspection = load_run(tmp_path / "run").inspect(["x = 1"])
    assert inspection.texts[0].probabilities.shape == (5, 7)


def test_network_that_reads_characters_is_not_inspected(files, tmp_path):
    config = make_config(SMALL, **files, epochs=1, tagging__character_features=3)
    train(config, tmp_path / "run")
    with pytest.raises(InputError, match=r"character_features: given a network that reads"):
        load_run(tmp_path / "run").inspect(["Ada"])


def test_stream_of_a_text_gives_the_labels_of_one_pass(files, tmp_path):
    config = make_config(SMALL, **files, epochs=1)
    train(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    stream = run.stream()
    labels = [run.outcomes[stream.feed(word).argmax()] for word in ["Ada", "saw", "Paris"]]
    assert labels == run.predict(["Ada saw Paris"])[0]["labels"]


def test_text_without_a_token_is_refused(files, tmp_path):
    train(make_config(SMALL, **files, epochs=1), tmp_path / "run")
    with pytest.raises(InputError, match="text 2: has no token"):
        load_run(tmp_path / "run").predict(["Ada", "  "])


@pytest.mark.parametrize("characters", [0, 3])
@pytest.mark.parametrize("output", ["linear", "crf"])
def test_task_conforms(files, output, characters):
    options = {"tagging__output": output, "tagging__character_features": characters}
    config = make_config(SMALL, **files, **options, data__take=24)
    report = check_task(config, file=Path(files["data__test_file"]))
    failed = [result for result in report.results if result.status == "failed"]
    assert not failed, failed
    skipped = {result.check for result in report.results if result.status == "not applicable"}
    assert "accuracy_of_predictions" not in skipped


def test_loss_of_a_random_field_is_its_likelihood(files):
    config = make_config(SMALL, **files, tagging__output="crf")
    corpus = TaggingTask.load_corpus(config)
    dataset = TaggingTask.make_dataset(config, corpus)
    task = TaggingTask.from_config(config, dataset.vocab_size, dataset.describe())
    params = task.init(jax.random.key(0))
    generator = np.random.default_rng(0)
    params = {**params, "transitions": generator.normal(size=params["transitions"].shape)}
    batch = dataset.test.batch_at(0, 0)
    assert isinstance(batch, Batch)
    sums, _ = task.batch_sums(params, batch, None)
    outputs: Any = task.model.apply({"params": params}, batch.inputs, batch.mask)
    targets, mask = jnp.asarray(batch.targets), jnp.asarray(batch.mask)
    losses = crf.negative_log_likelihood(outputs[0], targets, mask, outputs[1])
    assert float(sums["loss"]) == pytest.approx(float(losses.sum()), rel=1e-6)
    assert float(sums["weight"]) == batch.mask.sum()


def test_tokens_are_encoded_as_they_stand():
    vocabulary = fit_vocabulary([["a", ",", "New York", "[PAD]"], ["a", "A"]], 5)
    assert vocabulary.words == ["[PAD]", "[UNK]", "a", ",", "New York"]
    encoder = Encoder(vocabulary, ["O"], "aN", 3)
    values = encoder.inputs([["a", "A"], ["[PAD]", "New York"]]).values
    assert values[:, 0].tolist() == [2, 1, 1, 4]
    assert values[:, 1:].tolist() == [[2, 0, 0], [1, 0, 0], [1, 1, 1], [3, 1, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__file": "a.txt"}, r"data\.file is 'a\.txt' and data\.test_file ''"),
        ({"data__validation_file": "a.txt"}, r"data\.validation_file is set and data\.file is ''"),
        ({"tagging__output": "softmax"}, r"tagging\.output"),
        ({"data__corpus": "docstrings"}, r"data\.corpus"),
    ],
)
def test_config_is_checked(values, message):
    with pytest.raises(InputError, match=message):
        make_config(SMALL, **values)
