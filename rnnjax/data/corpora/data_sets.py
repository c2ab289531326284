"""Text data sets of tensorflow_datasets by their name, prepared as array_record on this machine."""

import difflib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from rnnjax import paths
from rnnjax.data.batches import TEST
from rnnjax.data.corpora.corpus import Corpus
from rnnjax.data.corpora.prepared import CachedCorpus, PreparedCorpus, cache_key, load_or_prepare
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError
from rnnjax.input_files import digest, load_text, parse_json


def load_data_set(
    name: str, directory: str, root: Path, fields: Sequence[str], label: str, test: float
) -> Corpus:
    """Loads a data set that was prepared with `file_format="array_record"`, without TensorFlow.

    Without a split 'test', a share of each class of the split 'train' is the test split, the same
    for every seed.

    Args:
      name: as tensorflow_datasets has it: 'imdb_reviews', 'glue/sst2' or 'glue/sst2:2.0.0'.
      directory: data folder of tensorflow_datasets; '' for $TFDS_DATA_DIR, or its default.
      root: the cache's folder.
      fields: text features to read.
      label: feature of the class; '' for texts without classes.
      test: share of the test split.

    Raises:
      InputError: there is no such data set, it is not prepared, it is damaged, or it lacks a
        feature or the split 'train'.
    """
    folder = _find(name, Path(directory) if directory else default_data_dir())
    cached = load_prepared(folder, name, root, fields, label)
    splits = dict(cached.splits)
    if "test" not in splits:
        train = splits["train"]
        rows = stratified_split(train.labels, test, TEST, key="config.data.test")
        splits = {
            name: train.take(part) for name, part in zip(("train", "test"), rows, strict=True)
        }
    place = f", prepared in {directory}" if directory else ""
    source = f"{name} {folder.name} of tensorflow_datasets{place}."
    fingerprint = cached.fingerprint
    return Corpus(name, source, "", fingerprint, cached.classes, splits, is_stratified=bool(label))


def load_prepared(
    folder: Path, name: str, root: Path, fields: Sequence[str], label: str
) -> CachedCorpus:
    """Loads the rows of a prepared data set, from the cache if they were read before.

    Args:
      folder: the one named by its version.
      name: of the corpus.
      root: the cache's folder.
      fields: as for `load_data_set`.
      label: as for `load_data_set`.

    Raises:
      InputError: it is damaged, or lacks a feature or split.
    """

    def prepare() -> PreparedCorpus:
        from rnnjax.data.corpora import builders

        try:
            return builders.read(folder, fields, label)
        except InputError:
            raise
        # Damaged files raise whatever the readers of records and of their format happen to raise.
        except Exception as error:
            raise InputError(
                f"{folder}: this prepared data set cannot be read ({type(error).__name__}: "
                f"{error}); delete the folder and prepare it again"
            ) from error

    digests = [digest(path) for path in sorted(folder.iterdir()) if not path.is_dir()]
    key = cache_key(name, [json.dumps([*fields, label]).encode(), *digests])
    return load_or_prepare(root, re.sub(r"\W+", "_", name), key, prepare)


def default_data_dir() -> Path:
    """Returns the data folder of tensorflow_datasets.

    Raises:
      InputError: $TFDS_DATA_DIR is no path, or the user has no home folder.
    """
    try:
        return Path(paths.expand(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))
    except InputError as error:
        raise InputError(f"the environment variable TFDS_DATA_DIR: {error}") from None


def file_format(folder: Path) -> str:
    """Returns the file format of a data set prepared in a folder; '' without one."""
    try:
        return parse_json(load_text(folder / "dataset_info.json"))["fileFormat"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def preparation_command(name: str, folder: str = "FOLDER") -> str:
    """Returns the Python code that prepares a data set."""
    return (
        f"`import tensorflow_datasets as tfds; tfds.builder({name!r}, data_dir={folder!r}, "
        "file_format='array_record').download_and_prepare()`"
    )


def _find(name: str, data_dir: Path) -> Path:
    """Returns the folder of the newest prepared version of a data set.

    A data set with configs may be named without one where only one of them is prepared.
    """
    path, _, version = name.partition(":")
    base = data_dir / path
    folders = [*base.glob("*"), *([] if "/" in path else base.glob("*/*"))]
    prepared = sorted(
        folder
        for folder in folders
        if re.fullmatch(r"\d+\.\d+\.\d+", folder.name) and file_format(folder)
    )
    named = [folder for folder in prepared if folder.name == (version or folder.name)]
    readable = [folder for folder in named if file_format(folder) == "array_record"]
    if not readable:
        raise _not_prepared(name, data_dir, prepared, named)
    if len(configs := sorted({folder.parent.name for folder in readable})) > 1:
        listed = ", ".join(f"{path}/{config}" for config in configs)
        raise InputError(
            f"config.data.corpus: given {name!r}, of which {data_dir} has several configs; "
            f"expected one of {listed}"
        )
    return max(readable, key=lambda folder: [int(part) for part in folder.name.split(".")])


def _not_prepared(
    name: str, data_dir: Path, prepared: Sequence[Path], named: Sequence[Path]
) -> InputError:
    if named:
        return InputError(
            f"config.data.corpus: {name!r} is prepared in {named[0]} as {file_format(named[0])}; "
            "expected array_record, which is read without TensorFlow. Prepare it in another "
            f"folder: {preparation_command(name)}, and set config.data.dir to FOLDER"
        )
    if prepared:
        listed = ", ".join(str(folder.relative_to(data_dir)) for folder in prepared)
        return InputError(
            f"config.data.corpus: given {name!r}, and {data_dir} has {listed}; name a version "
            "that is there, or none for the newest"
        )
    from rnnjax.data.corpora import builders

    names = builders.names()
    if (base := re.split("[/:]", name)[0]) not in names:
        similar = difflib.get_close_matches(base, sorted({"docstrings", *names}), n=3)
        guess = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        return InputError(
            f"config.data.corpus: given {name!r}, and neither {data_dir} nor tensorflow_datasets "
            "has a data set of that name; expected one that tensorflow_datasets has, "
            f"'ag_news_subset' or 'docstrings'{guess}"
        )
    return InputError(
        f"config.data.corpus: {name!r} is not prepared in {data_dir}; prepare it: "
        f"{preparation_command(name, str(data_dir))}, or set config.data.dir to the folder in "
        "which it is prepared"
    )
