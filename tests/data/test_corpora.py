"""Loading a corpus by name: folders, downloads, the cache and the fallback."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rnnjax import cache
from rnnjax.data import corpora
from rnnjax.data.corpora import CsvRow, docstrings, download
from rnnjax.data.corpora.parallel_text import read_parallel_text
from rnnjax.errors import InputError

NEWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "ag_news_csv"
TRAIN = '"3","Oil \\ up","It rose."\n"1","Vote","ü counted."\n"4","","Only this"\n"2","Goal",""\n'
TEST = '"2","Match #39;s over","Two nil."\n"1","Talks","They ended."\n'


@pytest.fixture(autouse=True)
def isolated_sources(tmp_path, monkeypatch):
    """An empty cache, no data sets, no network."""
    monkeypatch.setenv("RNNJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(download, "HOST", "https://host.invalid")


@pytest.fixture
def few_docstrings(monkeypatch):
    """Every twentieth source file, so that preparing takes a second."""
    source_files = docstrings.source_files
    monkeypatch.setattr(docstrings, "source_files", lambda name: source_files(name)[::20])


@pytest.fixture
def news(tmp_path):
    """A folder with small files in the original layout."""
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "train.csv").write_text(TRAIN)
    (folder / "test.csv").write_text(TEST)
    return folder


@pytest.fixture
def internet(tmp_path, monkeypatch):
    """The archive of AG News arrives; the public builder does the rest."""
    import tensorflow_datasets as tfds

    folder = tmp_path / "archive" / "ag_news_csv"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(TRAIN)
    (folder / "test.csv").write_text(TEST)
    monkeypatch.setattr(download, "_unreachable", lambda: "")
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, urls: dict.fromkeys(urls, folder.parent),
    )


def rows_of(split):
    return [
        CsvRow(int(label), *texts)
        for label, *texts in zip(
            split.labels, split.fields["title"], split.fields["description"], strict=True
        )
    ]


def entries(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "corpora").iterdir())


def test_csv_folder_keeps_rows_and_order(news, capfd):
    corpus = corpora.load("ag_news_subset", str(news), "docstrings")
    assert corpus.name == "ag_news_csv"
    assert corpus.fallback == ""
    assert corpus.source == f"AG News from train.csv and test.csv in {news}."
    assert corpus.classes == ("World", "Sports", "Business", "Sci/Tech")
    assert rows_of(corpus.splits["train"]) == [
        CsvRow(2, "Oil \\ up", "It rose."),
        CsvRow(0, "Vote", "ü counted."),
        CsvRow(3, "", "Only this"),
        CsvRow(1, "Goal", ""),
    ]
    assert rows_of(corpus.splits["test"]) == [
        CsvRow(1, "Match #39;s over", "Two nil."),
        CsvRow(0, "Talks", "They ended."),
    ]
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line.startswith("Preparing the corpus ag_news_csv") for line in
            printed.err.splitlines()] == [True]  # fmt: skip


def test_split_texts(news):
    train = corpora.load("ag_news_subset", str(news), "").splits["train"]
    assert len(train) == 4
    assert train.labels.dtype == np.int32
    assert train.texts("title") == ["Oil \\ up", "Vote", "", "Goal"]
    assert train.texts("title+description") == [
        "Oil \\ up It rose.", "Vote ü counted.", " Only this", "Goal "]  # fmt: skip
    assert train.texts("description+title", [1, 0, 1]) == [
        "ü counted. Vote", "It rose. Oil \\ up", "ü counted. Vote"]  # fmt: skip
    assert train.texts("title", slice(1, None, 2)) == ["Vote", "Goal"]
    assert train.texts("title", np.array([3, -3])) == ["Goal", "Vote"]
    with pytest.raises(IndexError):
        train.texts("title", [4])
    with pytest.raises(InputError, match="no field 'headline'; use 'title' or 'description'"):
        train.texts("title+headline")


def test_empty_texts_are_loaded(news):
    (news / "test.csv").write_text("1,,\n2,,\n")
    test = corpora.load("ag_news_subset", str(news), "").splits["test"]
    assert test.texts("title") == ["", ""]
    assert rows_of(test) == [CsvRow(0, "", ""), CsvRow(1, "", "")]


def test_edited_file_changes_the_fingerprint(news, tmp_path):
    first = corpora.load("ag_news_subset", str(news), "")
    cached = corpora.load("ag_news_subset", str(news), "")
    assert cached.fingerprint == first.fingerprint
    assert len(entries(tmp_path)) == 1
    (news / "train.csv").write_text(TRAIN.replace("Vote", "Veto"))
    edited = corpora.load("ag_news_subset", str(news), "")
    assert edited.splits["train"].texts("title")[1] == "Veto"
    (news / "classes.txt").write_text("a\nb\nc\nd\n")
    renamed = corpora.load("ag_news_subset", str(news), "")
    assert renamed.classes == ("a", "b", "c", "d")
    fingerprints = {first.fingerprint, edited.fingerprint, renamed.fingerprint}
    assert len(fingerprints) == 3


def test_fingerprint_depends_on_contents_only(news, tmp_path):
    corpus = corpora.load("ag_news_subset", str(news), "", tmp_path / "elsewhere")
    requoted = tmp_path / "requoted"
    requoted.mkdir()
    (requoted / "train.csv").write_text("\ufeff" + TRAIN.replace('"3"', "3"))
    (requoted / "test.csv").write_text("\n" + TEST)
    assert corpora.load("ag_news_subset", str(requoted), "").fingerprint == corpus.fingerprint
    # An independent copy of the recipe pins it: runs record this value.
    digest = hashlib.sha256(json.dumps(list(corpus.classes)).encode())
    for name in ("test", "train"):
        split = corpus.splits[name]
        digest.update(f"{name} {len(split)}".encode() + split.labels.astype("<i4").tobytes())
        for column in (split.fields["title"], split.fields["description"]):
            sizes = [len(text.encode()) for text in column]
            digest.update(np.cumsum([0, *sizes]).astype("<i8").tobytes())
            digest.update("".join(column).encode())
    assert corpus.fingerprint == digest.hexdigest()


def test_cached_corpus_needs_no_tensorflow_datasets(news, tmp_path):
    corpora.load("ag_news_subset", str(news), "")
    code = (
        "import sys, time; from rnnjax.data import corpora; start = time.perf_counter();"
        f"corpora.load('ag_news_subset', {str(news)!r}, '');"
        "assert time.perf_counter() - start < 0.3;"
        "print({'tensorflow', 'tensorflow_datasets', 'jax'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
    assert run.stderr == ""


def test_invalid_rows_leave_the_cache_empty(news, tmp_path, capfd):
    (news / "test.csv").write_text(TEST + '"7","a","b"\n')
    with pytest.raises(InputError, match=r"test\.csv, line 3: the class is '7'"):
        corpora.load("ag_news_subset", str(news), "docstrings")
    assert entries(tmp_path) == []
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_folder_without_test_file_is_refused(news):
    (news / "test.csv").unlink()
    with pytest.raises(InputError, match=r"test\.csv: there is no such file"):
        corpora.load("ag_news_subset", str(news), "docstrings")


def test_overlong_folder_name_is_refused():
    for read in (
        lambda: corpora.load("ag_news_subset", "a/" * 3_000, ""),
        lambda: read_parallel_text(Path("a/" * 3_000), "de", "en"),
    ):
        with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
            read()


def test_unsuitable_folder_is_refused_with_its_listing(tmp_path):
    for directory, message in [("none", "there is no such folder"), ("empty", "it is empty"),
                            ("full", "it holds b0, b1, b2, b3, b4, b5 and 2 more"),
                            ("file", "it is a file")]:  # fmt: skip
        path = tmp_path / directory
        if directory == "file":
            path.write_text("")
        elif directory != "none":
            path.mkdir()
        if directory == "full":
            for number in range(8):
                (path / f"b{number}").write_text("")
        with pytest.raises(InputError) as caught:
            corpora.load("ag_news_subset", str(path), "docstrings")
        assert f"{str(path)!r}: {message}; expected a folder with train.csv" in str(caught.value)


def test_public_builder_is_downloaded_once(internet, tmp_path, monkeypatch, capfd):
    corpus = corpora.load("ag_news_subset", "", "docstrings")
    assert corpus.name == "ag_news_subset"
    assert corpus.fallback == ""
    assert sorted(rows_of(corpus.splits["train"])) == [
        CsvRow(0, "Vote", "ü counted."),
        CsvRow(1, "Goal", ""),
        CsvRow(2, "Oil \\ up", "It rose."),
        CsvRow(3, "", "Only this"),
    ]
    assert len(corpus.splits["test"]) == 2
    assert capfd.readouterr().out == ""

    # From here on a download would be an error.
    monkeypatch.setattr(download, "_unreachable", lambda: "no network")
    cached = corpora.load("ag_news_subset", "", "")
    assert cached.fingerprint == corpus.fingerprint
    downloaded = tmp_path / "cache" / "tensorflow_datasets"
    explicit = corpora.load("ag_news_subset", str(downloaded), "", tmp_path / "second")
    assert explicit.fingerprint == corpus.fingerprint
    assert explicit.source.endswith(f"prepared in {downloaded}.")
    monkeypatch.setenv("TFDS_DATA_DIR", str(downloaded))
    default = corpora.load("ag_news_subset", "", "", tmp_path / "third")
    assert default.fingerprint == corpus.fingerprint

    version = downloaded / "ag_news_subset" / "1.0.0"
    info = json.loads((version / "dataset_info.json").read_text())
    (version / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match="prepared there as tfrecord; expected array_record"):
        corpora.load("ag_news_subset", str(downloaded), "docstrings")
    (version / "dataset_info.json").write_text(json.dumps(info))
    features = (version / "features.json").read_text()
    (tmp_path / "stranger.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    text = "tensorflow_datasets.core.features.text_feature.Text"
    (version / "features.json").write_text(features.replace(text, "stranger.Text"))
    with pytest.raises(InputError, match=r"features\.json: names the class stranger\.Text"):
        corpora.load("ag_news_subset", str(downloaded), "docstrings")
    (version / "features.json").write_text(features)
    next(version.glob("*train*")).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        corpora.load("ag_news_subset", str(downloaded), "docstrings")


def test_quiet_restores_the_log_level():
    from rnnjax.data.corpora import builders

    logger = logging.getLogger("absl")
    level = logger.level
    with builders._quiet():
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    assert logger.level == level


def test_docstrings_are_the_announced_fallback(few_docstrings, capfd, tmp_path):
    corpus = corpora.load("ag_news_subset", "", "docstrings")
    printed = capfd.readouterr()
    for message in ("THIS IS NOT AG NEWS", "https://host.invalid cannot be reached",
                 "--config.data.dir=FOLDER", "--config.data.fallback=''"):  # fmt: skip
        assert message in " ".join(printed.err.replace("|", " ").split())
    assert printed.out == ""
    assert (corpus.name, corpus.fallback) == ("docstrings", "docstrings")
    assert corpus.classes == ("Python", "NumPy", "SciPy", "JAX")
    assert set(corpus.splits["train"].labels.tolist()) == {0, 1, 2, 3}
    assert len(corpus.splits["train"]) > 5 * len(corpus.splits["test"]) > 50

    requested = corpora.load("docstrings", "", "")
    assert (requested.name, requested.fallback) == ("docstrings", "")
    assert requested.fingerprint == corpus.fingerprint
    assert capfd.readouterr().err == ""
    assert len(entries(tmp_path)) == 1


def test_docstrings_depend_on_library_versions(few_docstrings, tmp_path, monkeypatch):
    corpora.load("docstrings", "", "")
    monkeypatch.setattr(docstrings, "versions", lambda: dict.fromkeys(docstrings.CLASSES, "1.0"))
    assert "JAX 1.0." in corpora.load("docstrings", "", "").source
    assert len(entries(tmp_path)) == 2


def test_missing_network_without_fallback_is_refused():
    with pytest.raises(InputError, match=r"host\.invalid cannot be reached .* Set data\.dir to"):
        corpora.load("ag_news_subset", "", "")


def test_failed_download_is_reported(internet, monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(self, urls):
        raise RuntimeError("quota\nand a long page")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", refuse)
    with pytest.raises(InputError, match=r"the download failed: RuntimeError: quota\. Set"):
        corpora.load("ag_news_subset", "", "")


def test_silent_host_times_out(monkeypatch):
    import requests

    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    monkeypatch.setattr(requests, "head", lambda *_, **__: time.sleep(2))
    assert "does not answer within 0.1 seconds" in download._unreachable()


def test_contacted_host_is_that_of_the_downloads(monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.undo()
    urls = list(tfds.builder_cls("ag_news_subset").url_infos or ())
    assert urls
    assert all(url.startswith(download.HOST + "/") for url in urls)


@pytest.mark.parametrize(
    ("corpus", "directory", "fallback", "message"),
    [
        (
            "ag_news",
            "",
            "",
            "data set of that name; .* 'docstrings'; did you mean 'ag_news_subset'.",
        ),
        ("ag_news_subset", "", "wikipedia", "given 'wikipedia', expected"),
        ("docstrings", "somewhere", "", "data.dir is 'somewhere'"),
    ],
)
def test_invalid_request_is_refused(corpus, directory, fallback, message):
    with pytest.raises(InputError, match=message):
        corpora.load(corpus, directory, fallback)


def test_cache_directory_follows_environment(tmp_path, monkeypatch):
    assert cache.cache_directory(tmp_path / "argument") == tmp_path / "argument"
    assert cache.cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("RNNJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_directory() == tmp_path / "rnnjax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_directory() == tmp_path / ".cache" / "rnnjax"


def test_unwritable_cache_is_refused(news, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written .*RNNJAX_CACHE"):
        corpora.load("ag_news_subset", str(news), "")


@pytest.mark.skipif(not NEWS.is_dir(), reason="needs ../shared/data/ag_news_csv")
def test_real_news_loaded_by_two_processes(tmp_path):
    code = (
        f"from rnnjax.data import corpora; c = corpora.load('ag_news_subset', {str(NEWS)!r}, '');"
    )
    code += "print(c.fingerprint, len(c.splits['train']), len(c.splits['test']))"
    command = [sys.executable, "-c", code]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert outputs[0] == outputs[1]
    assert outputs[0].split()[1:] == ["48809", "7600"]
    assert len(entries(tmp_path)) == 1
    assert os.environ["RNNJAX_CACHE"] == str(tmp_path / "cache")
