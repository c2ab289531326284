"""Data sets of tensorflow_datasets by their name, prepared by the test, without TensorFlow."""

import builtins
import sys

import numpy as np
import pytest
from training.small_runs import SMALL_CONFIG, train

from rnnjax.config import parse
from rnnjax.data import corpora
from rnnjax.errors import InputError
from rnnjax.tasks.registry import find_task
from rnnjax.training import load_run

NUM_ROWS = {"train": 20, "test": 6}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The data folder of three data sets: with both splits, in two configs, with one split."""
    import tensorflow_datasets as tfds

    features = {
        "text": tfds.features.Text(),
        "source": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["neg", "pos"]),
        "stars": np.int32,
        "scores": tfds.features.Sequence(np.float32),
    }

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.9.0")
        splits = ("train", "test")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            del manager
            return {name: self._generate_examples(name) for name in self.splits}

        def _generate_examples(self, split):
            for index in range(NUM_ROWS[split]):
                label = int(index % 3 > 0)
                if split == "test" and self.name == "hidden_reviews":
                    label = -1
                row = {"text": f"Füm {index}", "source": split, "label": label}
                yield index, {**row, "stars": 9 + index % 2, "scores": []}

    class ConfigReviews(Reviews, skip_registration=True):
        BUILDER_CONFIGS = [  # noqa: RUF012
            tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("long", "short")
        ]

    folder = tmp_path_factory.mktemp("tfds")

    def prepare(name, version="1.9.0", splits=("train", "test"), kind=Reviews, **options):
        values = {"name": name, "VERSION": tfds.core.Version(version), "splits": splits}
        builder = type("Named", (kind,), values, skip_registration=True)
        builder(data_dir=folder, file_format="array_record", **options).download_and_prepare()

    prepare("reviews")
    prepare("reviews", "1.10.0")
    prepare("train_reviews", splits=("train",))
    prepare("test_reviews", splits=("test",))
    prepare("hidden_reviews")
    for config in ("long", "short"):
        prepare("config_reviews", kind=ConfigReviews, config=config)
    info = folder / "other_reviews" / "1.0.0" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    info.write_text('{"fileFormat": "tfrecord"}')
    return folder


def load(data_dir, name="reviews", **options):
    return corpora.load(name, str(data_dir), "", **{"text": "text", "label": "label", **options})


def test_rows_of_a_data_set(data_dir, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    real_import = builtins.__import__

    def import_module(name, *args, **options):
        assert name.split(".")[0] != "tensorflow"
        return real_import(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", import_module)
    corpus = load(data_dir, text="text+source")
    assert corpus.classes == ("neg", "pos")
    assert corpus.source == f"reviews 1.10.0 of tensorflow_datasets, prepared in {data_dir}."
    assert {name: len(split) for name, split in corpus.splits.items()} == NUM_ROWS
    for name, split in corpus.splits.items():
        texts = split.texts("text")
        expected = {f"Füm {index}": int(bool(index % 3)) for index in range(NUM_ROWS[name])}
        assert dict(zip(texts, split.labels.tolist(), strict=True)) == expected
        assert split.texts("source") == [name] * len(texts)
    again = load(data_dir, text="text+source")
    assert again.fingerprint == corpus.fingerprint != load(data_dir).fingerprint
    assert "tensorflow" not in sys.modules


def test_version_and_config_of_a_data_set(data_dir):
    assert load(data_dir, "reviews:1.9.0").source.startswith("reviews:1.9.0 1.9.0 of")
    assert len(load(data_dir, "config_reviews/short").splits["train"]) == NUM_ROWS["train"]
    with pytest.raises(InputError, match="several configs; expected one of config_reviews/long, "):
        load(data_dir, "config_reviews")


def test_other_labels_of_a_data_set(data_dir):
    corpus = load(data_dir, label="stars")
    assert corpus.classes == ("9", "10")
    texts, labels = corpus.splits["test"].texts("text"), corpus.splits["test"].labels
    assert dict(zip(texts, labels.tolist(), strict=True)) == {
        f"Füm {index}": index % 2 for index in range(NUM_ROWS["test"])
    }
    unlabelled = load(data_dir, label="").splits["train"]
    assert sorted(unlabelled.texts("text")) == sorted(load(data_dir).splits["train"].texts("text"))


def test_test_split_is_drawn_where_there_is_none(data_dir):
    corpus = load(data_dir, "train_reviews", test=0.3)
    counts = {name: np.bincount(split.labels).tolist() for name, split in corpus.splits.items()}
    assert counts == {"train": [5, 9], "test": [2, 4]}
    texts = [text for split in corpus.splits.values() for text in split.texts("text")]
    assert sorted(texts) == sorted(f"Füm {index}" for index in range(20))
    for split in corpus.splits.values():
        labels = [int(bool(int(text.split()[1]) % 3)) for text in split.texts("text")]
        assert labels == split.labels.tolist()


def test_data_set_trains_a_classifier_and_is_text_of_a_language_model(data_dir, tmp_path):
    data = {"dir": str(data_dir), "corpus": "reviews", "text": "text+source", "take": 8}
    config = {**SMALL_CONFIG, "epochs": 1, "data": {**data, "label": "label"}}
    result = train(parse(config), tmp_path / "run")
    assert (result["data"]["name"], result["data"]["classes"]) == ("reviews", ["neg", "pos"])
    file = tmp_path / "other.csv"
    file.write_text("label,source,text\npos,a,b\nneg,Füm,1\n", encoding="utf-8")
    assert load_run(tmp_path / "run").evaluate(str(file))["rows"] == 2
    task = find_task("language_modeling")
    text = task.load_corpus(parse({"task": "language_modeling", "data": {**data, "text": "text"}}))
    assert sorted(text.splits["test"]) == [f"Füm {index}" for index in range(NUM_ROWS["test"])]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reviews", {"text": "title"}, "has no text 'title'; its texts are 'source', 'text': set"),
        (
            "reviews",
            {"label": "scores"},
            "has no class 'scores'; .* are 'label', 'source', 'stars', 'text': set",
        ),
        ("reviews", {"label": "source"}, "every row of the split 'train' has the class 'train'"),
        ("reviews:3.0.0", {}, "and .* has reviews/1.10.0, reviews/1.9.0; name a version"),
        ("other_reviews", {}, "is prepared in .*other_reviews/1.0.0 as tfrecord; expected array_"),
        ("imdb_revews", {}, "nor tensorflow_datasets has .* name; .*did you mean 'imdb_reviews'"),
        ("imdb_reviews", {}, "is not prepared in .*; prepare it: .*tfds.builder.'imdb_reviews'"),
        ("test_reviews", {}, "has no split 'train'; its splits are 'test': choose"),
        ("hidden_reviews", {}, "'label' of row 0 of the split 'test' is -1, expected one of '0'"),
    ],
)
def test_unusable_data_sets(data_dir, name, options, message):
    with pytest.raises(InputError, match=message):
        load(data_dir, name, **options)
