"""Loads a corpus by its name: AG News, the docstrings as its fallback, and other data sets."""

import dataclasses
import json
import textwrap
from pathlib import Path

from rnnjax import cache as cache_folder
from rnnjax.data.corpora import docstrings
from rnnjax.data.corpora.corpus import Corpus
from rnnjax.data.corpora.csv_files import CsvRow, read_classes, read_csv
from rnnjax.data.corpora.data_sets import (
    default_data_dir,
    file_format,
    load_data_set,
    load_prepared,
    preparation_command,
)
from rnnjax.data.corpora.download import DownloadError, download_ag_news
from rnnjax.data.corpora.prepared import CachedCorpus, PreparedCorpus, cache_key, load_or_prepare
from rnnjax.errors import InputError
from rnnjax.input_files import digest, reading
from rnnjax.reporting.progress import write_message

_SUBSET = Path("ag_news_subset", "1.0.0")
_SPLITS = ("train", "test")
_EXPECTED = (
    "a folder with train.csv and test.csv in the original layout, or a folder of "
    f"tensorflow_datasets that holds {_SUBSET.as_posix()} prepared as array_record"
)


def load(
    corpus: str,
    directory: str,
    fallback: str,
    cache: Path | None = None,
    *,
    text: str = "title+description",
    label: str = "label",
    test: float = 0.1,
) -> Corpus:
    """Loads a corpus, prepared on first use and mapped from the cache from then on.

    Args:
      corpus: 'ag_news_subset', 'docstrings', or another data set of tensorflow_datasets, as for
        `load_data_set`.
      directory: of AG News: a folder with train.csv and test.csv in the original layout, or a
        folder of tensorflow_datasets that holds a prepared ag_news_subset. With '' AG News is taken
        from the default folder of tensorflow_datasets, or else downloaded. Of other data sets, the
        folder of tensorflow_datasets.
      fallback: 'docstrings' to return that corpus, with a loud notice on stderr, if AG News cannot
        be downloaded; '' for an error. An unusable directory is always an error.
      cache: the cache's folder; None for $RNNJAX_CACHE, $XDG_CACHE_HOME/rnnjax or ~/.cache/rnnjax.
      text: features of another data set, joined by '+'.
      label: its feature of the class; '' for none.
      test: share of its test split, where it has none.

    Raises:
      InputError: no such corpus exists, it cannot be had, or the folder does not hold it.
    """
    if fallback not in ("", "docstrings"):
        raise InputError(f"fallback: given {fallback!r}, expected 'docstrings' or ''")
    root = cache_folder.cache_directory(cache)
    if corpus == "docstrings":
        if directory:
            raise InputError(
                f"data.dir is {directory!r} and data.corpus is 'docstrings', which is read from "
                "the installed libraries: set data.dir='', or data.corpus='ag_news_subset'"
            )
        return _load_docstrings(root)
    if corpus != "ag_news_subset":
        fields = list(dict.fromkeys(text.split("+")))
        return load_data_set(corpus, directory, root, fields, label, test)
    if directory:
        return _load_folder(directory, root)
    downloaded = root / "tensorflow_datasets"
    for data_dir in (default_data_dir(), downloaded):
        if file_format(data_dir / _SUBSET) == "array_record":
            return _load_subset(data_dir, "", root)
    try:
        download_ag_news(downloaded)
    except DownloadError as error:
        if not fallback:
            raise InputError(
                f"AG News is not on this machine, and {error}. Set data.dir to {_EXPECTED}; or "
                "data.corpus to 'docstrings'"
            ) from None
        _announce_fallback(str(error))
        return dataclasses.replace(_load_docstrings(root), fallback="docstrings")
    return _load_subset(downloaded, "", root)


def _load_docstrings(root: Path) -> Corpus:
    versions = docstrings.versions()

    def prepare() -> PreparedCorpus:
        return PreparedCorpus(docstrings.CLASSES, docstrings.collect())

    key = cache_key("docstrings", [json.dumps(versions).encode()])
    cached = load_or_prepare(root, "docstrings", key, prepare)
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    source = f"Docstrings in the installed source files of {libraries}."
    return _corpus("docstrings", source, cached)


def _load_folder(directory: str, root: Path) -> Corpus:
    folder = Path(directory)
    with reading(folder):  # the system may refuse the name
        has_csv = any((folder / f"{split}.csv").exists() for split in _SPLITS)
    if has_csv:
        return _load_csv(folder, directory, root)
    subset_format = file_format(folder / _SUBSET)
    if subset_format == "array_record":
        return _load_subset(folder, directory, root)
    if subset_format:
        raise InputError(
            f"data.dir {directory!r}: {_SUBSET.as_posix()} is prepared there as {subset_format}; "
            "expected array_record, which is read without TensorFlow. Prepare it in another "
            f"folder: {preparation_command('ag_news_subset')}, and set data.dir to FOLDER"
        )
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
    else:
        names = sorted(path.name for path in folder.iterdir())
        listing = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        state = f"it holds {listing}" if names else "it is empty"
    raise InputError(f"data.dir {directory!r}: {state}; expected {_EXPECTED}: set data.dir to one")


def _load_csv(folder: Path, directory: str, root: Path) -> Corpus:
    paths = {split: folder / f"{split}.csv" for split in _SPLITS}
    classes = read_classes(folder)

    def prepare() -> PreparedCorpus:
        rows = {split: list(read_csv(path, classes)) for split, path in paths.items()}
        return PreparedCorpus(classes, rows)

    key = cache_key("ag_news_csv", [json.dumps(classes).encode(), *map(digest, paths.values())])
    cached = load_or_prepare(root, "ag_news_csv", key, prepare)
    return _corpus("ag_news_csv", f"AG News from train.csv and test.csv in {directory}.", cached)


def _load_subset(data_dir: Path, directory: str, root: Path) -> Corpus:
    fields = CsvRow._fields[1:]
    cached = load_prepared(data_dir / _SUBSET, "ag_news_subset", root, fields, "label")
    place = f", prepared in {directory}" if directory else ""
    source = f"AG News, ag_news_subset {_SUBSET.name} of tensorflow_datasets{place}."
    return _corpus("ag_news_subset", source, cached)


def _corpus(name: str, source: str, cached: CachedCorpus) -> Corpus:
    return Corpus(name, source, "", cached.fingerprint, cached.classes, cached.splits)


def _announce_fallback(problem: str) -> None:
    lines = [
        "THIS IS NOT AG NEWS.",
        f"Missing: ag_news_subset is not on this machine, and {problem}.",
        "Instead: the docstrings of Python, NumPy, SciPy and JAX. Results on them say nothing "
        "about results on the news; every file of the run is marked 'docstrings'.",
        f"For the news: --config.data.dir=FOLDER, {_EXPECTED}.",
        "For an error in place of this: --config.data.fallback=''",
    ]
    width = 76
    wrapped = [
        part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)
    ]
    edge = "+" + "=" * (width + 2) + "+"
    box = [edge, *(f"| {line:{width}} |" for line in wrapped), edge]
    write_message("\n".join(["", *box, ""]))
