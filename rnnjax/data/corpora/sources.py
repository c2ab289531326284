"""From the name of a corpus to the corpus: where AG News may lie, and what stands in for it."""

import dataclasses
import json
import os
import textwrap
from pathlib import Path

from rnnjax import cache as shared_cache
from rnnjax import paths
from rnnjax.data.corpora import docstrings
from rnnjax.data.corpora import prepared as kept_corpora
from rnnjax.data.corpora.corpus import Corpus
from rnnjax.data.corpora.csv_files import read_classes, read_csv
from rnnjax.data.corpora.download import DownloadError, download
from rnnjax.errors import InputError
from rnnjax.input_files import digest, load_text, parse_json, reading
from rnnjax.reporting.progress import write_message

_SUBSET = Path("ag_news_subset", "1.0.0")
_PARTS = ("train", "test")
_WAYS = (
    "a folder with train.csv and test.csv in the original layout, or a folder of "
    f"tensorflow_datasets that holds {_SUBSET.as_posix()} prepared as array_record"
)


def load(corpus: str, directory: str, fallback: str, cache: Path | None = None) -> Corpus:
    """Returns a corpus, prepared on first use and mapped from the cache from then on.

    Args:
      corpus: 'ag_news_subset' or 'docstrings'.
      directory: where AG News is: a folder with train.csv and test.csv in the original layout, or
        a folder of tensorflow_datasets that holds a prepared ag_news_subset. With '' the default
        folder of tensorflow_datasets is looked at, and AG News is downloaded if it is not there.
      fallback: 'docstrings' to return that corpus, with a loud notice on stderr, if AG News cannot
        be downloaded; '' for an error. A directory that is given and unusable is always an error.
      cache: the cache's folder; None for $RNNJAX_CACHE, $XDG_CACHE_HOME/rnnjax or ~/.cache/rnnjax.

    Raises:
      InputError: there is no such corpus, it cannot be had, or what the folder holds is not it.
    """
    if corpus not in ("ag_news_subset", "docstrings") or fallback not in ("", "docstrings"):
        raise InputError(
            f"corpus {corpus!r} with fallback {fallback!r}: there is no such corpus; use "
            "'ag_news_subset' or 'docstrings', and as the fallback 'docstrings' or ''"
        )
    root = shared_cache.cache_directory(cache)
    if corpus == "docstrings":
        if directory:
            raise InputError(
                f"data.dir is {directory!r} and data.corpus is 'docstrings', which is read from "
                "the installed libraries: set data.dir='', or data.corpus='ag_news_subset'"
            )
        return _docstrings(root)
    if directory:
        return _in_folder(directory, root)
    downloaded = root / "tensorflow_datasets"
    for data_dir in (_default_data_dir(), downloaded):
        if _file_format(data_dir) == "array_record":
            return _subset(data_dir, "", root)
    try:
        download(downloaded)
    except DownloadError as error:
        if not fallback:
            raise InputError(
                f"AG News is not on this machine, and {error}. Set data.dir to {_WAYS}; or "
                "data.corpus to 'docstrings'"
            ) from None
        _announce(str(error))
        return dataclasses.replace(_docstrings(root), fallback="docstrings")
    return _subset(downloaded, "", root)


def _docstrings(root: Path) -> Corpus:
    versions = docstrings.versions()

    def prepare(scratch: Path) -> kept_corpora.PreparedCorpus:
        from rnnjax.data.corpora import builders

        source = kept_corpora.PreparedCorpus(docstrings.CLASSES, docstrings.collect())
        return builders.prepare(builders.Docstrings, source, scratch)

    key = kept_corpora.key_of([json.dumps(versions).encode()])
    kept = kept_corpora.keep(root, "docstrings", key, prepare)
    read = ", ".join(f"{name} {version}" for name, version in versions.items())
    return _corpus("docstrings", f"Docstrings in the installed source files of {read}.", kept)


def _in_folder(directory: str, root: Path) -> Corpus:
    folder = Path(directory)
    with reading(folder):  # the system may refuse the name
        has_csv = any((folder / f"{part}.csv").exists() for part in _PARTS)
    if has_csv:
        return _csv(folder, directory, root)
    found = _file_format(folder)
    if found == "array_record":
        return _subset(folder, directory, root)
    if found:
        raise InputError(
            f"data.dir {directory!r}: {_SUBSET.as_posix()} is prepared there as {found}; expected "
            "array_record, which is read without TensorFlow. Prepare it in another folder: "
            "`import tensorflow_datasets as tfds; tfds.builder('ag_news_subset', "
            "data_dir='FOLDER', file_format='array_record').download_and_prepare()`, and set "
            "data.dir to FOLDER"
        )
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
    else:
        names = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        state = f"it holds {shown}" if names else "it is empty"
    raise InputError(f"data.dir {directory!r}: {state}; expected {_WAYS}: set data.dir to one")


def _csv(folder: Path, directory: str, root: Path) -> Corpus:
    paths = {part: folder / f"{part}.csv" for part in _PARTS}
    classes = read_classes(folder)

    def prepare(scratch: Path) -> kept_corpora.PreparedCorpus:
        rows = {part: list(read_csv(path, classes)) for part, path in paths.items()}
        from rnnjax.data.corpora import builders

        source = kept_corpora.PreparedCorpus(classes, rows)
        return builders.prepare(builders.AgNewsCsv, source, scratch)

    contents = [json.dumps(classes).encode(), *map(digest, paths.values())]
    kept = kept_corpora.keep(root, "ag_news_csv", kept_corpora.key_of(contents), prepare)
    return _corpus("ag_news_csv", f"AG News from train.csv and test.csv in {directory}.", kept)


def _subset(data_dir: Path, directory: str, root: Path) -> Corpus:
    place = data_dir / _SUBSET

    def prepare(scratch: Path) -> kept_corpora.PreparedCorpus:
        from rnnjax.data.corpora import builders

        try:
            return builders.read(place)
        except InputError:
            raise
        # Damaged files raise whatever the readers of records and of their format happen to raise.
        except Exception as error:
            raise InputError(
                f"{place}: this prepared data set cannot be read ({type(error).__name__}: "
                f"{error}); delete the folder and prepare it again"
            ) from error

    contents = (digest(path) for path in sorted(place.iterdir()) if not path.is_dir())
    kept = kept_corpora.keep(root, "ag_news_subset", kept_corpora.key_of(contents), prepare)
    where = f", prepared in {directory}" if directory else ""
    source = f"AG News, ag_news_subset {_SUBSET.name} of tensorflow_datasets{where}."
    return _corpus("ag_news_subset", source, kept)


def _corpus(name: str, source: str, kept: kept_corpora.CachedCorpus) -> Corpus:
    return Corpus(name, source, "", kept.fingerprint, kept.classes, kept.splits)


def _default_data_dir() -> Path:
    try:
        return Path(paths.expand(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))
    except InputError as error:
        raise InputError(f"the environment variable TFDS_DATA_DIR: {error}") from None


def _file_format(data_dir: Path) -> str:
    """Returns the format in which ag_news_subset is prepared in a folder; '' if it is not."""
    try:
        return parse_json(load_text(data_dir / _SUBSET / "dataset_info.json"))["fileFormat"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _announce(problem: str) -> None:
    lines = [
        "THIS IS NOT AG NEWS.",
        f"Missing: ag_news_subset is not on this machine, and {problem}.",
        "Instead: the docstrings of Python, NumPy, SciPy and JAX. Results on them say nothing "
        "about results on the news; every file of the run is marked 'docstrings'.",
        f"For the news: --config.data.dir=FOLDER, {_WAYS}.",
        "For an error in place of this: --config.data.fallback=''",
    ]
    width = 76
    wrapped = [
        part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)
    ]
    edge = "+" + "=" * (width + 2) + "+"
    box = [edge, *(f"| {line:{width}} |" for line in wrapped), edge]
    write_message("\n".join(["", *box, ""]))
